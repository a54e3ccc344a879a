//! Who talks to whom, and where: tags, branches, re-INVITEs, late offers, addresses.

use bytes::Bytes;
use ng::request::{AddressFamily, Signal};
use ng::sdp::Protocol;

use super::world::{
    A, B, World, answer_of, audio, branch, crypto, delete, offer_of, read, section, signal, text,
    towards,
};
use crate::session::DeleteEffect;

#[test]
fn a_plain_call_is_written_in_the_incumbents_order() {
    let mut world = World::new();
    let offer = offer_of("a", 4000);
    let offered = world.offer(&offer).unwrap();
    assert_eq!(
        text(&offered),
        "v=0\r\no=- 5 7 IN IP4 198.51.100.1\r\ns=-\r\nt=0 0\r\n\
         m=audio 30004 RTP/AVP 0 101\r\nc=IN IP4 10.0.0.2\r\na=rtpmap:0 PCMU/8000\r\n\
         a=sendrecv\r\na=rtcp:30005\r\n"
    );
    let answered = world.answer(&answer_of("a", "b", 5000)).unwrap();
    assert!(text(&answered).contains("m=audio 30002 RTP/AVP 0 101\r\nc=IN IP4 10.0.0.2\r\n"));
    let [a, b] = world.streams() else { panic!("two streams") };
    assert_eq!((a.peer, b.peer), (Some(1), Some(0)));
    assert_eq!(a.remote.unwrap().rtp, Some("198.51.100.1:4000".parse().unwrap()));
    assert_eq!(a.remote.unwrap().rtcp, Some("198.51.100.1:4001".parse().unwrap()));
    assert_eq!(b.remote.unwrap().rtp, Some("203.0.113.9:5000".parse().unwrap()));
}

#[test]
fn early_media_reaches_a_plain_caller_before_the_answer() {
    let mut world = World::new();
    world.offer(&offer_of("a", 4000)).unwrap();
    let [a, b] = world.streams() else { panic!("two streams") };
    assert_eq!((a.peer, b.peer), (None, Some(0)));
    assert!(a.sends);
    assert_eq!(a.remote.unwrap().rtp, Some("198.51.100.1:4000".parse().unwrap()));
}

#[test]
fn an_answer_that_comes_again_changes_nothing() {
    let mut world = World::new();
    world.offer(&offer_of("a", 4000)).unwrap();
    let first = world.answer(&answer_of("a", "b", 5000)).unwrap();
    let again = world.answer(&answer_of("a", "b", 5000)).unwrap();
    assert_eq!(first.sdp, again.sdp);
    for stream in world.streams() {
        assert!(stream.plan.contains("remote: None, "), "{}", stream.plan);
        assert!(stream.plan.contains("receive_key: Keep, send_key: Keep"), "{}", stream.plan);
    }
}

#[test]
fn a_reinvite_from_either_side_keeps_ports() {
    let mut world = World::new();
    let offered = world.offer(&offer_of("a", 4000)).unwrap();
    let answered = world.answer(&answer_of("a", "b", 5000)).unwrap();
    let ports = world.ports_open();

    let back = signal("b", Some("a"), &audio(B, 5002, "RTP/AVP", &[]));
    let reoffered = world.offer(&back).unwrap();
    assert_eq!(section(&reoffered).port, section(&answered).port);
    // The callee's new address holds once its offer is answered.
    assert_eq!(world.streams()[1].remote.unwrap().rtp.unwrap().port(), 5000);
    let reanswer = signal("b", Some("a"), &audio(A, 4000, "RTP/AVP", &[]));
    let reanswered = world.answer(&reanswer).unwrap();
    assert_eq!(section(&reanswered).port, section(&offered).port);
    assert_eq!(world.streams()[1].remote.unwrap().rtp.unwrap().port(), 5002);
    assert_eq!(world.ports_open(), ports);
}

#[test]
fn a_reinvite_with_the_same_addresses_opens_learning_again() {
    let mut world = World::new();
    world.offer(&offer_of("a", 4000)).unwrap();
    world.answer(&answer_of("a", "b", 5000)).unwrap();
    world.answer(&answer_of("a", "b", 5000)).unwrap();
    let learns_again = |world: &World| -> Vec<bool> {
        world.streams().iter().map(|stream| stream.plan.contains("remote: Some")).collect()
    };
    assert_eq!(learns_again(&world), [false, false], "an answer said again is no news");
    let again = signal("a", Some("b"), &audio(A, 4000, "RTP/AVP", &[]));
    world.offer(&again).unwrap();
    assert_eq!(learns_again(&world), [true, true], "a NAT may have moved either party");
}

#[test]
fn a_late_offer_comes_with_swapped_tags() {
    let mut world = World::new();
    // The offer is in the 200 of the callee, the answer in the caller's ACK.
    world.offer(&signal("callee", Some("caller"), &audio(B, 5000, "RTP/AVP", &[]))).unwrap();
    world.answer(&signal("callee", Some("caller"), &audio(A, 4000, "RTP/AVP", &[]))).unwrap();
    let [callee, caller] = world.streams() else { panic!("two streams") };
    assert_eq!((callee.peer, caller.peer), (Some(1), Some(0)));
    let back = signal("caller", Some("callee"), &audio(A, 4000, "RTP/AVP", &[]));
    world.offer(&back).unwrap();
    assert_eq!(world.streams().len(), 2);
}

#[test]
fn each_branch_has_its_own_callee_and_the_caller_follows_the_last_answer() {
    let mut world = World::new();
    let first = world.offer(&branch(offer_of("a", 4000), "v1")).unwrap();
    let second = world.offer(&branch(offer_of("a", 4000), "v2")).unwrap();
    assert_ne!(section(&first).port, section(&second).port);
    assert_eq!(world.streams().len(), 3, "the caller has one stream, each callee its own");

    let one = world.answer(&branch(answer_of("a", "b1", 5000), "v1")).unwrap();
    assert_eq!(world.streams()[0].peer, Some(1));
    let two = world.answer(&branch(answer_of("a", "b2", 6000), "v2")).unwrap();
    assert_eq!(section(&one).port, section(&two).port);
    assert_eq!(world.streams()[0].peer, Some(2));

    // The first branch goes; then the second, and with it the call.
    let deleted = world.delete(&delete(Some("b1"), None)).unwrap();
    assert!(matches!(deleted.effect, DeleteEffect::Branch(_)));
    assert_eq!(world.streams()[0].peer, Some(2));
    assert!(world.streams()[1].closed);
    let deleted = world.delete(&delete(Some("b2"), None)).unwrap();
    assert!(matches!(deleted.effect, DeleteEffect::Close));
    assert_eq!(world.ports_open(), 0);
}

#[test]
fn a_branch_is_deleted_by_its_via_branch_and_the_caller_falls_back() {
    let mut world = World::new();
    world.offer(&branch(offer_of("a", 4000), "v1")).unwrap();
    world.offer(&branch(offer_of("a", 4000), "v2")).unwrap();
    world.answer(&branch(answer_of("a", "b1", 5000), "v1")).unwrap();
    world.answer(&branch(answer_of("a", "b2", 6000), "v2")).unwrap();
    let deleted = world.delete(&delete(Some("a"), Some("v2"))).unwrap();
    assert!(matches!(deleted.effect, DeleteEffect::Branch(_)));
    assert_eq!(world.streams()[0].peer, Some(1));
}

#[test]
fn another_to_tag_is_an_alias_of_the_callee_that_answered() {
    let mut world = World::new();
    world.offer(&offer_of("a", 4000)).unwrap();
    world.answer(&answer_of("a", "b1", 5000)).unwrap();
    world.answer(&answer_of("a", "b2", 6000)).unwrap();
    assert_eq!(world.streams().len(), 2);
    assert_eq!(world.streams()[1].remote.unwrap().rtp.unwrap().port(), 6000);
    let again = signal("b2", Some("a"), &audio(B, 6000, "RTP/AVP", &[]));
    let call = world.offer(&again).unwrap().call;
    assert_eq!(world.streams().len(), 2);
    let callee = world.calls.view(call).unwrap().parties.remove(1);
    assert_eq!((callee.tag, callee.aliases), (Some("b1".into()), vec!["b2".into()]));
}

#[test]
fn serial_forking_reuses_the_callee_that_never_answered() {
    let mut world = World::new();
    let first = world.offer(&offer_of("a", 4000)).unwrap();
    let second = world.offer(&offer_of("a", 4000)).unwrap();
    assert_eq!(first.sdp, second.sdp);
    assert_eq!(world.ports_open(), 2);
}

#[test]
fn media_is_added_and_taken_away_at_its_index() {
    let mut world = World::new();
    world.offer(&offer_of("a", 4000)).unwrap();
    world.answer(&answer_of("a", "b", 5000)).unwrap();
    let video = |address, audio_port, port: u16| {
        format!("{}m=video {port} RTP/AVP 96\r\n", audio(address, audio_port, "RTP/AVP", &[]))
    };
    let added = world.offer(&signal("a", Some("b"), &video(A, 4000, 4010))).unwrap();
    assert_eq!(read(&added).media.len(), 2);
    world.answer(&signal("a", Some("b"), &video(B, 5000, 5010))).unwrap();
    assert_eq!(world.ports_open(), 4);

    let gone = world.offer(&signal("a", Some("b"), &video(A, 4000, 0))).unwrap();
    assert_eq!(read(&gone).media[1].port, 0);
    assert_eq!(world.ports_open(), 4, "the offer may yet be refused by the other side");
    let gone = world.answer(&signal("a", Some("b"), &video(B, 5000, 0))).unwrap();
    assert_eq!(read(&gone).media[1].port, 0);
    assert_eq!(world.ports_open(), 2);
    assert!(world.streams()[2].closed && world.streams()[3].closed);

    world.offer(&signal("a", Some("b"), &video(A, 4000, 4010))).unwrap();
    let back = world.answer(&signal("a", Some("b"), &video(B, 5000, 5010))).unwrap();
    assert_ne!(read(&back).media[1].port, 0);
    assert_eq!(world.ports_open(), 4);
}

#[test]
fn media_that_an_early_answer_declines_may_come_with_a_later_one() {
    let with_video = |address, port, video: u16, transport: &str| {
        let audio = audio(address, port, transport, &[&crypto(3, 'B')]);
        format!("{audio}m=video {video} {transport} 96\r\na={}\r\n", crypto(3, 'V'))
    };
    let mut world = World::new();
    let offer = signal("a", None, &with_video(A, 4000, 4010, "RTP/AVP"));
    world.offer(&towards(offer, Protocol::RtpSavp)).unwrap();
    // An announcement, then two devices: video is whose answer came last.
    for (tag, video) in [("x", 0), ("b", 5010), ("x", 0), ("b", 5010)] {
        let answer = signal("a", Some(tag), &with_video(B, 5000, video, "RTP/SAVP"));
        let answered = read(&world.answer(&answer).unwrap());
        assert_eq!(answered.media[1].port != 0, video != 0);
        assert_eq!(answered.media[1].protocol, Protocol::RtpAvp);
        let [_, _, caller, callee] = world.streams() else { panic!("four streams") };
        assert_eq!((caller.peer.is_some(), callee.peer.is_some()), (video != 0, video != 0));
    }
    assert_eq!(world.ports_open(), 4);

    // Declined in the end; a re-INVITE says so, and its ports are free.
    let declined = signal("a", Some("x"), &with_video(B, 5000, 0, "RTP/SAVP"));
    world.answer(&declined).unwrap();
    let without = signal("a", Some("x"), &with_video(A, 4000, 0, "RTP/AVP"));
    world.offer(&towards(without, Protocol::RtpSavp)).unwrap();
    world.answer(&declined).unwrap();
    assert_eq!(world.ports_open(), 2);
}

#[test]
fn a_section_that_a_reinvite_leaves_out_is_gone_with_its_answer() {
    let mut world = World::new();
    let two = |address, port: u16| {
        format!("{}m=video 7000 RTP/AVP 96\r\n", audio(address, port, "RTP/AVP", &[]))
    };
    world.offer(&signal("a", None, &two(A, 4000))).unwrap();
    world.answer(&signal("a", Some("b"), &two(B, 5000))).unwrap();
    assert_eq!(world.ports_open(), 4);
    world.offer(&signal("a", Some("b"), &audio(A, 4000, "RTP/AVP", &[]))).unwrap();
    world.answer(&answer_of("a", "b", 5000)).unwrap();
    assert_eq!(world.ports_open(), 2);
}

#[test]
fn what_is_not_rtp_passes_through_beside_what_is() {
    let mut world = World::new();
    let sdp = format!(
        "{}m=message 2855 TCP/MSRP *\r\na=path:msrp://x:2855/s;tcp\r\n",
        audio(A, 4000, "RTP/AVP", &[])
    );
    let offered = world.offer(&signal("a", None, &sdp)).unwrap();
    assert!(text(&offered).contains("m=message 2855 TCP/MSRP *\r\nc=IN IP4 198.51.100.1\r\n"));
    assert_eq!(world.ports_open(), 2);
}

#[test]
fn interfaces_advertised_addresses_and_families_follow_the_options() {
    let mut world = World::new();
    let direction = Some((Bytes::from_static(b"priv"), Bytes::from_static(b"pub")));
    let offer = Signal { direction: direction.clone(), ..offer_of("a", 4000) };
    assert_eq!(section(&world.offer(&offer).unwrap()).connection, "192.0.2.1".parse().ok());
    let answered = world.answer(&answer_of("a", "b", 5000)).unwrap();
    assert_eq!(section(&answered).connection, "10.0.0.2".parse().ok());

    let mut world = World::new();
    let offer = Signal { address_family: Some(AddressFamily::V6), ..offer_of("a", 4000) };
    assert_eq!(section(&world.offer(&offer).unwrap()).connection, "2001:db8::1".parse().ok());
    let answer = signal("a", Some("b"), &audio("2001:db8::99", 5000, "RTP/AVP", &[]));
    let answered = world.answer(&answer).unwrap();
    assert_eq!(section(&answered).connection, "10.0.0.2".parse().ok());

    let mut world = World::new();
    let offer =
        Signal { direction, address_family: Some(AddressFamily::V6), ..offer_of("a", 4000) };
    let fallen_back = world.offer(&offer).unwrap();
    assert_eq!(section(&fallen_back).connection, "192.0.2.1".parse().ok());
}

#[test]
fn a_party_that_moves_to_the_other_address_family_gets_ports_there() {
    let mut world = World::new();
    let offered = section(&world.offer(&offer_of("a", 4000)).unwrap());
    let first = section(&world.answer(&answer_of("a", "b", 5000)).unwrap());
    let reinvite = |world: &mut World, address| {
        let offer = signal("a", Some("b"), &audio(address, 4000, "RTP/AVP", &[]));
        let again = section(&world.offer(&offer).unwrap());
        assert_eq!(again.port, offered.port, "the other side keeps its port");
        section(&world.answer(&answer_of("a", "b", 5000)).unwrap())
    };
    let moved = reinvite(&mut world, "2001:db8::a");
    assert_eq!(moved.connection, "2001:db8::1".parse().ok());
    assert_eq!(world.streams()[2].remote.unwrap().rtp, "[2001:db8::a]:4000".parse().ok());
    assert_eq!((world.streams()[2].peer, world.streams()[1].peer), (Some(1), Some(2)));
    assert!(world.streams()[0].closed);
    for held_or_not in ["::", "2001:db8::b"] {
        assert_eq!(reinvite(&mut world, held_or_not).port, moved.port);
    }
    assert_eq!(reinvite(&mut world, A).connection, first.connection);
    assert_eq!(world.ports_open(), 2);
}

#[test]
fn each_section_of_an_offerer_is_met_in_its_own_address_family() {
    let mut world = World::new();
    let video = "m=video 4010 RTP/AVP 96\r\nc=IN IP6 2001:db8::a\r\n";
    let offer = audio(A, 4000, "RTP/AVP", &[]) + video;
    world.offer(&signal("a", None, &offer)).unwrap();
    let answer = audio(B, 5000, "RTP/AVP", &[]) + "m=video 5010 RTP/AVP 96\r\n";
    let answered = read(&world.answer(&signal("a", Some("b"), &answer)).unwrap());
    let shown = ["10.0.0.2", "2001:db8::1"].map(|address| address.parse().ok());
    assert_eq!([answered.media[0].connection, answered.media[1].connection], shown);
}

#[test]
fn the_sip_source_wins_over_sdp_when_asked() {
    for (sip_source, expected) in [(false, "198.51.100.1:4000"), (true, "192.0.2.50:4000")] {
        let mut world = World::new();
        let mut offer = offer_of("a", 4000);
        offer.received_from = "192.0.2.50".parse().ok();
        offer.flags.sip_source_address = sip_source;
        world.offer(&offer).unwrap();
        assert_eq!(world.streams()[0].remote.unwrap().rtp, expected.parse().ok());
    }
}

#[test]
fn media_address_is_what_the_body_shows_and_not_where_a_party_is() {
    let mut world = World::new();
    let held = audio("0.0.0.0", 4000, "RTP/AVP", &[]);
    for (body, remote) in
        [(audio(A, 4000, "RTP/AVP", &[]), "198.51.100.1:4000".parse().ok()), (held, None)]
    {
        let mut offer = signal("a", None, &body);
        offer.media_address = "192.0.2.60".parse().ok();
        offer.replace.origin = true;
        offer.flags.full_rtcp_attribute = true;
        let offered = world.offer(&offer).unwrap();
        assert_eq!(section(&offered).connection, offer.media_address);
        assert!(text(&offered).contains("o=- 5 7 IN IP4 192.0.2.60\r\n"));
        assert_eq!(section(&offered).rtcp.unwrap().1, offer.media_address);
        assert_eq!(world.streams()[0].remote.unwrap().rtp, remote);
    }
    // It is the request's alone.
    let answered = world.answer(&answer_of("a", "b", 5000)).unwrap();
    assert_eq!(section(&answered).connection, "10.0.0.2".parse().ok());
}

#[test]
fn tos_is_the_offers_and_negative_keeps_it() {
    let mut world = World::new();
    world.offer(&offer_of("a", 4000)).unwrap();
    world.answer(&answer_of("a", "b", 5000)).unwrap();
    for (tos, expected) in [(184, 184), (-1, 184), (0, 0)] {
        let again = signal("a", Some("b"), &audio(A, 4000, "RTP/AVP", &[]));
        world.offer(&Signal { tos: Some(tos), ..again }).unwrap();
        world.answer(&Signal { tos: Some(8), ..answer_of("a", "b", 5000) }).unwrap();
        assert!(world.streams().iter().all(|stream| stream.tos == Some(expected)), "{tos}");
    }
}

#[test]
fn a_body_with_our_own_mark_passes_unchanged() {
    let mut world = World::new();
    let mut offer = offer_of("a", 4000);
    offer.flags.loop_protect = true;
    let offered = world.offer(&offer).unwrap();
    let looped = Signal { sdp: offered.sdp.clone(), ..offer };
    assert_eq!(world.offer(&looped).unwrap().sdp, offered.sdp);
    assert_eq!(world.ports_open(), 2);

    // Another gateway that the call passes has a mark of its own, and both know theirs.
    let mut next = World::new();
    let relayed = next.offer(&looped).unwrap();
    assert_eq!(text(&relayed).matches("a=rtpengine:").count(), 2);
    assert_eq!(next.ports_open(), 2, "not taken for its own");
    let looped = Signal { sdp: relayed.sdp.clone(), ..looped };
    assert_eq!(next.offer(&looped).unwrap().sdp, relayed.sdp);
    assert_eq!(world.offer(&looped).unwrap().sdp, relayed.sdp);
}

#[test]
fn the_version_counts_up_only_when_the_body_changes() {
    let mut world = World::new();
    let mut offer = offer_of("a", 4000);
    offer.replace.sdp_version = true;
    offer.replace.origin = true;
    let version = |world: &mut World, offer: &Signal| {
        let sdp = read(&world.offer(offer).unwrap());
        String::from_utf8(sdp.session.origin.to_vec()).unwrap()
    };
    assert_eq!(version(&mut world, &offer), "- 5 7 IN IP4 10.0.0.2");
    assert_eq!(version(&mut world, &offer), "- 5 7 IN IP4 10.0.0.2");
    offer.sdp = Bytes::from(audio(A, 4000, "RTP/AVP", &["sendonly"]));
    assert_eq!(version(&mut world, &offer), "- 5 8 IN IP4 10.0.0.2");
    assert_eq!(version(&mut world, &offer), "- 5 8 IN IP4 10.0.0.2");
}
