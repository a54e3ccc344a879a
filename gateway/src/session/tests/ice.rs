//! ICE: when it is offered and answered, who controls, what is written, restarts.

use ng::request::{AddressFamily, IceLite, IceMode, Signal};
use ng::sdp::{CandidateKind, Direction, MediaSection};

use super::browser::{Browser, plain, to_browser, to_trunk, with_agents, world};
use super::world::{A, B, World, audio, read, section, signal, text};
use crate::session::Refused;
use crate::webrtc::plan::{IceAgent, IcePlan, IceRole, LegNewsKind};

fn ice(world: &World, stream: u16) -> &IcePlan {
    world.leg(stream).unwrap().ice.as_ref().unwrap()
}

fn has_ice(section: &MediaSection) -> bool {
    section.ice.credentials().is_some()
}

#[test]
fn a_browser_is_shown_credentials_and_a_candidate_for_each_component() {
    let mut world = world();
    let offered = section(&world.offer(&to_browser(signal("a", None, &plain(A)))).unwrap());
    let credentials = offered.ice.credentials().unwrap();
    assert_eq!((credentials.ufrag.len(), credentials.pwd.len()), (8, 26));
    let [candidate] = &offered.ice.candidates[..] else { panic!("rtcp-mux is required") };
    assert_eq!((candidate.component, candidate.kind), (1, CandidateKind::Host));
    assert_eq!(candidate.address, ([10, 0, 0, 2], offered.port).into());
    assert_eq!(candidate.priority, 2_130_706_431);
    assert_eq!(candidate.foundation.len(), 16);
    assert!(offered.ice.options.trickle && offered.ice.end_of_candidates);
    let plan = ice(&world, 1);
    assert_eq!(plan.local, credentials);
    assert_eq!((plan.remote.as_ref(), plan.role), (None, IceRole::Controlling));

    let answer = to_trunk(Browser::answering().signal("a", Some("b")));
    world.answer(&answer).unwrap();
    let plan = ice(&world, 1);
    assert_eq!(plan.remote.as_ref().unwrap().ufrag.as_ref(), "aaaa");
    assert_eq!((plan.candidates.len(), plan.complete), (1, true));
    assert_eq!((plan.role, plan.agent), (IceRole::Controlling, IceAgent::Full));
}

#[test]
fn ice2_is_said_where_it_is_asked_for_and_to_a_party_that_says_it() {
    let mut world = world();
    let mut offer = Browser::offering();
    offer.further.push("ice-options:ice2".into());
    let offered = to_browser(offer.signal("a", None));
    let first = section(&world.offer(&offered).unwrap()).ice.options;
    assert_eq!((first.trickle, first.ice2), (true, false), "nobody asked for it");
    let mut asked = offered;
    asked.ice.ice2 = true;
    assert!(section(&world.offer(&asked).unwrap()).ice.options.ice2);
    let answered = section(&world.answer(&Browser::answering().signal("a", Some("b"))).unwrap());
    assert_eq!((answered.ice.options.trickle, answered.ice.options.ice2), (false, true));
}

#[test]
fn on_ipv6_a_leg_s_candidates_are_of_ipv6() {
    let mut world = world();
    let mut offer = to_browser(signal("a", None, &plain(A)));
    offer.address_family = Some(AddressFamily::V6);
    let offered = section(&world.offer(&offer).unwrap());
    let [candidate] = &offered.ice.candidates[..] else { panic!("rtcp-mux is required") };
    assert!(candidate.address.is_ipv6() && candidate.address.port() == offered.port);
    assert_eq!(offered.connection, Some(candidate.address.ip()));
    let mut answer = Browser::answering();
    answer.further = vec![
        "candidate:1 1 udp 2130706431 198.51.100.9 4000 typ host".to_owned(),
        "candidate:2 1 udp 2130706430 2001:db8::9 4000 typ host".to_owned(),
    ];
    world.answer(&answer.signal("a", Some("b"))).unwrap();
    let named = world.streams()[1].tap.unwrap().named;
    assert!(named.contains("[2001:db8::9]:4000".parse().unwrap()));
    assert!(!named.contains("198.51.100.9:4000".parse().unwrap()), "our socket reaches none");
}

#[test]
fn a_data_channel_is_rejected_and_the_rest_of_its_offer_stands() {
    let mut world = world();
    let channel = |port: u16| {
        let credentials = format!("a=ice-ufrag:aaaa\r\na=ice-pwd:{}\r\n", "a".repeat(24));
        format!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel\r\n{credentials}")
    };
    let offered = Browser::offering().body() + &channel(9);
    let outcome = world.offer(&to_browser(signal("a", None, &offered))).unwrap();
    assert_eq!(outcome.warnings, [Refused::DATA_CHANNEL.0]);
    assert_eq!(read(&outcome).media[1].port, 0);
    let body = Browser::answering().body() + "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n";
    let answered = read(&world.answer(&to_browser(signal("a", Some("b"), &body))).unwrap());
    assert!(answered.media[0].port != 0 && answered.media[1].port == 0);

    let alone = format!("{}{}", &offered[..offered.find("m=audio").unwrap()], channel(9));
    let refused = self::world().offer(&signal("a", None, &alone)).unwrap_err();
    assert_eq!(refused, Refused::DATA_CHANNEL);
}

#[test]
fn without_rtcp_mux_rtcp_has_a_candidate_too() {
    let mut world = world();
    let mut offer = signal("a", None, &plain(A));
    offer.ice.mode = IceMode::Force;
    let offered = section(&world.offer(&offer).unwrap());
    let places: Vec<_> =
        offered.ice.candidates.iter().map(|c| (c.component, c.address.port())).collect();
    assert_eq!(places, [(1, offered.port), (2, offered.port + 1)]);
    assert_eq!(offered.ice.candidates[1].priority, offered.ice.candidates[0].priority - 1);
}

#[test]
fn ice_is_offered_as_the_word_says_and_answered_only_where_it_was_offered() {
    let browser = || Browser::offering().body();
    let cases: [(IceMode, String, bool); 8] = [
        (IceMode::Default, plain(A), false),
        (IceMode::Default, browser(), true),
        (IceMode::Remove, browser(), false),
        (IceMode::Force, plain(A), true),
        (IceMode::Force, browser(), true),
        (IceMode::Optional, plain(A), true),
        (IceMode::ForceRelay, plain(A), true),
        (IceMode::ForceRelay, browser(), true),
    ];
    for (mode, body, wanted) in cases {
        let mut world = world();
        let mut offer = signal("a", None, &body);
        offer.ice.mode = mode;
        let offered = section(&world.offer(&offer).unwrap());
        assert_eq!(has_ice(&offered), wanted, "{mode:?}");
        // Whoever we relay for is not shown where the other is.
        assert!(offered.ice.candidates.iter().all(|c| c.address.ip().to_string() == "10.0.0.2"));
        let kinds = offered.ice.candidates.iter().map(|candidate| candidate.kind);
        let relay = mode == IceMode::ForceRelay;
        assert!(kinds.into_iter().all(|kind| (kind == CandidateKind::Relayed) == relay));

        let from_browser = offered.protocol.is_dtls();
        let theirs = if from_browser { Browser::answering().body() } else { plain(B) };
        let mut answer = signal("a", Some("b"), &theirs);
        answer.ice.mode = IceMode::Force;
        let answered = section(&world.answer(&answer).unwrap());
        assert_eq!(has_ice(&answered), from_browser, "{mode:?}");
    }
}

#[test]
fn ice_that_is_rejected_or_removed_is_not_answered() {
    let reject: fn(&mut Signal) = |signal| signal.flags.reject_ice = true;
    let remove: fn(&mut Signal) = |signal| signal.ice.mode = IceMode::Remove;
    let none: fn(&mut Signal) = |_| {};
    for (in_offer, in_answer) in [(reject, none), (none, remove)] {
        let mut world = world();
        let mut offer = to_trunk(Browser::offering().signal("a", None));
        in_offer(&mut offer);
        world.offer(&offer).unwrap();
        let mut answer = signal("a", Some("b"), &plain(B));
        in_answer(&mut answer);
        assert!(!has_ice(&section(&world.answer(&answer).unwrap())));
        assert!(world.leg(0).unwrap().ice.is_none());
    }
}

#[test]
fn a_party_that_declined_ice_is_not_asked_again_until_reset() {
    let mut world = world();
    let mut offer = signal("a", None, &plain(A));
    offer.ice.mode = IceMode::Force;
    world.offer(&offer).unwrap();
    assert!(world.leg(1).is_some());
    world.answer(&signal("a", Some("b"), &plain(B))).unwrap();
    assert!(world.leg(1).is_none(), "the agents forget it");
    offer.to_tag = Some("b".into());
    assert!(!has_ice(&section(&world.offer(&offer).unwrap())));
    offer.flags.reset = true;
    assert!(has_ice(&section(&world.offer(&offer).unwrap())));
}

#[test]
fn without_agents_ice_is_taken_out_and_the_zero_address_is_still_no_hold() {
    let mut world = World::new();
    let attributes = [
        "ice-ufrag:abcd",
        "ice-pwd:abcdefghijklmnopqrstuv",
        "candidate:1 1 UDP 1 198.51.100.1 4000 typ host",
    ];
    let mut offer = signal("a", None, &audio("0.0.0.0", 9, "RTP/AVP", &attributes));
    offer.ice.mode = IceMode::Force;
    let offered = world.offer(&offer).unwrap();
    let text = text(&offered);
    assert!(!text.contains("ice") && !text.contains("candidate"), "{text}");
    assert!(!offered.warnings.is_empty());
    let section = section(&offered);
    assert_eq!(section.direction, Direction::SendRecv);
    assert_eq!(section.connection, "10.0.0.2".parse().ok());
}

#[test]
fn the_full_one_controls_and_of_two_alike_who_offered() {
    use IceAgent::{Full, Lite};
    use IceRole::{Controlled, Controlling};
    // What we are, what the party is; our role when it offered, our role when we did.
    for (own, peer, answering, offering) in [
        (Full, Full, Controlled, Controlling),
        (Full, Lite, Controlling, Controlling),
        (Lite, Full, Controlled, Controlled),
        (Lite, Lite, Controlled, Controlling),
    ] {
        let mut settings = with_agents();
        settings.webrtc.as_mut().unwrap().ice = own;
        let mut world = World::with(settings);
        let lite = |mut browser: Browser| {
            browser.further.extend((peer == Lite).then(|| "ice-options:ice2".to_owned()));
            let session = if peer == Lite { "a=ice-lite\r\nm=" } else { "m=" };
            browser.body().replacen("m=", session, 1)
        };
        let offer = to_browser(signal("a", None, &lite(Browser::offering())));
        let offered = read(&world.offer(&offer).unwrap());
        assert_eq!(offered.session.ice.lite, own == Lite);
        let answer = to_browser(signal("a", Some("b"), &lite(Browser::answering())));
        let answered = read(&world.answer(&answer).unwrap());
        assert_eq!(answered.session.ice.lite, own == Lite);
        assert_eq!((ice(&world, 0).role, ice(&world, 1).role), (answering, offering));
        assert_eq!((ice(&world, 0).agent, ice(&world, 0).peer), (own, peer));
    }
}

#[test]
fn ice_lite_holds_towards_the_side_that_it_names() {
    use IceAgent::{Full, Lite};
    for (word, from, to) in [
        (None, Full, Full),
        (Some(IceLite::Forward), Full, Lite),
        (Some(IceLite::Backward), Lite, Full),
        (Some(IceLite::Both), Lite, Lite),
        (Some(IceLite::Off), Full, Full),
    ] {
        let mut world = world();
        let mut offer = to_browser(Browser::offering().signal("a", None));
        offer.ice.lite = word;
        world.offer(&offer).unwrap();
        world.answer(&to_browser(Browser::answering().signal("a", Some("b")))).unwrap();
        assert_eq!((ice(&world, 0).agent, ice(&world, 1).agent), (from, to), "{word:?}");
    }
}

#[test]
fn a_restart_of_the_party_is_answered_with_new_credentials_and_keeps_the_role() {
    let mut world = world();
    world.offer(&to_trunk(Browser::offering().signal("a", None))).unwrap();
    let answer = signal("a", Some("b"), &plain(B));
    let first = section(&world.answer(&answer).unwrap());
    let again = world.offer(&to_trunk(Browser::offering().signal("a", Some("b")))).unwrap();
    assert!(again.legs.is_empty());
    let second = section(&world.answer(&answer).unwrap());
    assert_eq!(first.ice.credentials(), second.ice.credentials());

    let restart = Browser { generation: 'r', ..Browser::offering() };
    let restarted = world.offer(&to_trunk(restart.signal("a", Some("b")))).unwrap();
    assert!(restarted.legs.is_empty(), "a re-INVITE may yet be refused");
    let third = section(&world.answer(&answer).unwrap());
    assert_ne!(first.ice.credentials(), third.ice.credentials());
    let plan = ice(&world, 0);
    assert_eq!(Some(&plan.local), third.ice.credentials().as_ref());
    assert_eq!(plan.remote.as_ref().unwrap().ufrag.as_ref(), "rrrr");
    assert_eq!(plan.role, IceRole::Controlled);
}

#[test]
fn an_offer_of_who_controls_names_the_pair_chosen_once_ice_is_complete() {
    let mut world = world();
    let offer = to_browser(signal("a", None, &plain(A)));
    world.offer(&offer).unwrap();
    world.answer(&to_trunk(Browser::answering().signal("a", Some("b")))).unwrap();
    let again = Signal { to_tag: Some("b".into()), ..offer };
    let before = section(&world.offer(&again).unwrap());
    assert!(before.ice.remote_candidates.is_empty());
    let (local, remote) = ("10.0.0.2:30006".parse().unwrap(), "203.0.113.9:1234".parse().unwrap());
    world.hear(1, LegNewsKind::Connected { local, remote });
    let after = section(&world.offer(&again).unwrap());
    let [chosen] = &after.ice.remote_candidates[..] else { panic!("the pair chosen") };
    assert_eq!((chosen.component, chosen.address), (1, remote));
    world.hear(1, LegNewsKind::Disconnected { reason: "consent was lost" });
    assert!(section(&world.offer(&again).unwrap()).ice.remote_candidates.is_empty());
}

#[test]
fn what_a_browser_has_gathered_so_far_is_no_hold() {
    let mut world = world();
    let offered =
        section(&world.offer(&to_browser(Browser::offering().signal("a", None))).unwrap());
    assert_eq!(offered.direction, Direction::SendRecv);
    assert_eq!(offered.connection, "10.0.0.2".parse().ok());
    assert_ne!(offered.port, 9);
}

#[test]
fn the_uplink_of_a_call_is_one_of_the_threads() {
    let mut world = world();
    for id in ["one", "two", "three"] {
        let mut offer = to_browser(signal("a", None, &plain(A)));
        offer.call_id = id.into();
        world.offer(&offer).unwrap();
    }
    let mut uplinks: Vec<u16> = world
        .worker
        .iter()
        .map(|(call, streams)| {
            let uplink = streams[1].tap.unwrap().uplink;
            assert_eq!(u64::from(uplink), call.0 % 2);
            uplink
        })
        .collect();
    uplinks.sort_unstable();
    assert_eq!(uplinks, [0, 0, 1]);
}
