//! BUNDLE: which sections share a stream, what is written of a group, and the ways that its packets
//! go.

use ng::request::{IceMode, RtcpMux, Signal};
use ng::sdp::{HashFunction, MediaSection, Sdp};

use super::browser::{Browser, plain, print, to_browser, to_trunk, world};
use super::world::{A, B, WorkerStream, World, read, signal};
use crate::relay::command::MAX_ROUTES;
use crate::session::outcome::Refused;
use crate::session::rekey::{Act, Wish};

/// A transport as a browser says it, under credentials of one letter.
fn transport(generation: char, setup: &str) -> String {
    let (ufrag, pwd) = (generation.to_string().repeat(4), generation.to_string().repeat(24));
    let fingerprint = print(HashFunction::Sha256, 1);
    format!(
        "a=rtcp-mux\r\na=setup:{setup}\r\na=fingerprint:{fingerprint}\r\na=ice-ufrag:{ufrag}\r\n\
         a=ice-pwd:{pwd}\r\na=candidate:1 1 udp 2130706431 {A} 4000 typ host\r\n"
    )
}

/// A browser's section; what it is without a transport of its own is `rest`.
fn section(mid: usize, port: u16, rest: &str) -> String {
    let (kind, formats) = [("audio", "111 0"), ("video", "96 97"), ("video", "98")][mid];
    format!(
        "m={kind} {port} UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=ssrc:{mid}001 cname:x\r\n{rest}"
    )
}

/// The sections under a group of these `mid`s.
fn body(group: &str, sections: &[String]) -> String {
    let group = match group {
        "" => String::new(),
        mids => format!("a=group:BUNDLE {mids}\r\n"),
    };
    let head = format!("v=0\r\no=- 5 7 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{group}");
    sections.iter().fold(head, |body, section| body + section)
}

/// Audio and video as a browser offers them first: each with a transport of its own.
fn balanced() -> String {
    let sections =
        [('a', 0), ('b', 1)].map(|(own, mid)| section(mid, 9, &transport(own, "actpass")));
    body("0 1", &sections)
}

/// The same where it has one transport.
fn max_bundle() -> String {
    let audio = section(0, 9, &transport('a', "actpass"));
    body("0 1", &[audio, section(1, 0, "a=bundle-only\r\n")])
}

/// An answer with one transport for all of the group.
fn bundled_answer(mids: &[usize]) -> String {
    let all: Vec<String> = mids.iter().map(usize::to_string).collect();
    let sections = mids.iter().map(|mid| section(*mid, 9, &transport('z', "active")));
    body(&all.join(" "), &sections.collect::<Vec<_>>())
}

/// A trunk's sections at these ports.
fn trunk(ports: &[u16]) -> String {
    let section = |(at, port): (usize, &u16)| {
        let (kind, format) = [("audio", 0), ("video", 96), ("video", 98)][at];
        format!("m={kind} {port} RTP/AVP {format}\r\nc=IN IP4 {B}\r\n")
    };
    let sections: Vec<String> = ports.iter().enumerate().map(section).collect();
    body("", &sections)
}

fn groups(sdp: &Sdp) -> Vec<Vec<&[u8]>> {
    let groups = sdp.session.bundles.iter();
    groups.map(|group| group.mids.iter().map(|mid| &mid[..]).collect()).collect()
}

fn ports(sdp: &Sdp) -> Vec<u16> {
    sdp.media.iter().map(|section| section.port).collect()
}

fn ways(stream: &WorkerStream) -> Vec<usize> {
    stream.ways().collect()
}

fn offered(world: &mut World, request: Signal) -> Sdp {
    read(&world.offer(&request).unwrap())
}

fn answered(world: &mut World, request: Signal) -> Sdp {
    read(&world.answer(&request).unwrap())
}

/// A call of a browser to a trunk that takes both sections, and the browser's answer.
fn to_a_trunk(body: &str) -> (World, Sdp) {
    let mut world = world();
    offered(&mut world, to_trunk(signal("a", None, body)));
    let answer = answered(&mut world, signal("a", Some("b"), &trunk(&[5000, 5002])));
    (world, answer)
}

/// A call of a trunk to a browser that bundles all of it.
fn to_a_bundling_browser() -> World {
    let mut world = world();
    offered(&mut world, to_browser(signal("a", None, &trunk(&[5000, 5002]))));
    answered(&mut world, to_trunk(signal("a", Some("b"), &bundled_answer_to_generated(&[0, 1]))));
    world
}

/// The same with the `mid`s that we generate, which count from one.
fn bundled_answer_to_generated(mids: &[usize]) -> String {
    let all: Vec<String> = mids.iter().map(|mid| (mid + 1).to_string()).collect();
    let sections = mids
        .iter()
        .map(|mid| section(*mid, 9, &transport('z', "active")).replace("a=mid:", "a=mid:+"));
    let body = body(&all.join(" "), &sections.collect::<Vec<_>>());
    mids.iter().fold(body, |body, mid| {
        body.replace(&format!("a=mid:+{mid}\r"), &format!("a=mid:{}\r", mid + 1))
    })
}

#[test]
fn a_bundle_is_one_stream_and_its_far_side_one_for_each_section() {
    for offer in [balanced(), max_bundle()] {
        let (world, answer) = to_a_trunk(&offer);
        assert_eq!((world.streams().len(), world.ports_open(), world.legs.len()), (3, 3, 1));
        let [bundle, audio, video] = world.streams() else { panic!() };
        assert_eq!((ways(bundle), ways(audio), ways(video)), (vec![1, 2], vec![0], vec![0]));
        assert!(bundle.rtcp_mux && bundle.peer.is_none());
        let [first, second] = &bundle.routes[..] else { panic!() };
        assert_eq!((&*first.mid, first.mid_extension, &first.ssrcs[..]), (&b"0"[..], 4, &[1][..]));
        assert_eq!((&*second.mid, &second.ssrcs[..]), (&b"1"[..], &[1001][..]));
        assert_eq!((first.payload_types, second.payload_types), (1, 1 << 96), "those it answered");

        assert_eq!(groups(&answer), [[b"0", b"1"]]);
        let [audio, video] = &answer.media[..] else { panic!("two sections") };
        assert!(audio.port == video.port && audio.port != 0);
        assert!(audio.rtcp_mux && video.rtcp_mux && !video.bundle_only);
        assert_eq!(audio.ice.credentials(), video.ice.credentials());
        assert_eq!(audio.dtls, video.dtls);
        assert_eq!((audio.ice.candidates.len(), video.ice.candidates.len()), (1, 0));
    }
}

#[test]
fn a_trunk_sees_nothing_of_a_bundle() {
    let mut world = world();
    let offer = offered(&mut world, to_trunk(signal("a", None, &max_bundle())));
    assert!(offer.session.bundles.is_empty() && offer.media.iter().all(|media| media.port != 0));
    assert_ne!(offer.media[0].port, offer.media[1].port);
    assert!(offer.media.iter().all(|media| !media.bundle_only));
}

#[test]
fn the_transport_of_a_bundle_is_that_of_its_tagged_section() {
    for (group, credentials) in [("0 1", "aaaa"), ("1 0", "bbbb")] {
        let (world, answer) =
            to_a_trunk(&balanced().replace("BUNDLE 0 1", &format!("BUNDLE {group}")));
        let remote = world.leg(0).unwrap().ice.as_ref().unwrap().remote.as_ref();
        assert_eq!(&*remote.unwrap().ufrag, credentials);
        let mids: Vec<&[u8]> = group.split(' ').map(str::as_bytes).collect();
        assert_eq!(groups(&answer), [mids]);
    }
}

#[test]
fn a_group_may_begin_with_a_section_that_has_no_transport() {
    let (world, answer) = to_a_trunk(&max_bundle().replace("BUNDLE 0 1", "BUNDLE 1 0"));
    assert_eq!(groups(&answer), [[b"0", b"1"]]);
    assert!(ports(&answer).iter().all(|port| *port != 0));
    assert_eq!(ways(&world.streams()[0]), [1, 2]);
}

#[test]
fn a_party_that_refuses_the_tagged_section_leaves_the_next_one_tagged() {
    let mut world = world();
    offered(&mut world, to_trunk(signal("a", None, &balanced())));
    let answer = answered(&mut world, signal("a", Some("b"), &trunk(&[0, 5002])));
    assert_eq!((groups(&answer), answer.media[0].port), (vec![vec![&b"1"[..]]], 0));
    let remote = world.leg(0).unwrap().ice.as_ref().unwrap().remote.as_ref();
    assert_eq!(&*remote.unwrap().ufrag, "bbbb");
    // RFC 9143 section 7.3.1: what has no transport of its own cannot be tagged.
    let mut world = self::world();
    offered(&mut world, to_trunk(signal("a", None, &max_bundle())));
    let answer = answered(&mut world, signal("a", Some("b"), &trunk(&[0, 5002])));
    assert_eq!((groups(&answer).len(), ports(&answer)), (0, vec![0, 0]));
}

#[test]
fn one_section_refused_leaves_the_others_bundled() {
    let mut world = world();
    offered(&mut world, to_trunk(signal("a", None, &max_bundle())));
    let answer = answered(&mut world, signal("a", Some("b"), &trunk(&[5000, 0])));
    assert_eq!((groups(&answer), answer.media[1].port), (vec![vec![&b"0"[..]]], 0));
    assert_eq!(ways(&world.streams()[0]), [1]);
}

#[test]
fn a_party_that_bundles_what_it_is_offered_gives_ports_back() {
    let mut world = world();
    let offer = offered(&mut world, to_browser(signal("a", None, &trunk(&[5000, 5002]))));
    assert_eq!(groups(&offer), [[b"1", b"2"]]);
    let [audio, video] = &offer.media[..] else { panic!("two sections") };
    assert!(audio.port != video.port && !video.bundle_only);
    assert_ne!(audio.ice.credentials(), video.ice.credentials());
    assert_eq!((audio.ice.candidates.len(), video.ice.candidates.len()), (1, 1));
    assert_eq!((world.ports_open(), world.legs.len()), (4, 2));
    let answer = bundled_answer_to_generated(&[0, 1]);
    for _ in 0..2 {
        let told = answered(&mut world, to_trunk(signal("a", Some("b"), &answer)));
        assert!(told.session.bundles.is_empty());
        assert_eq!((world.ports_open(), world.legs.len()), (3, 1));
        let [from, bundle, other, ended] = world.streams() else { panic!() };
        assert_eq!((ways(from), ways(bundle), ways(other)), (vec![1], vec![0, 2], vec![1]));
        assert!(ended.closed && !bundle.closed);
    }
}

#[test]
fn a_party_may_bundle_some_or_none_of_what_it_is_offered() {
    for (group, legs) in [("1", 2), ("", 2)] {
        let mut world = world();
        offered(&mut world, to_browser(signal("a", None, &trunk(&[5000, 5002]))));
        let answer = bundled_answer_to_generated(&[0, 1])
            .replace("a=group:BUNDLE 1 2\r\n", &body(group, &[])[body("", &[]).len()..]);
        answered(&mut world, to_trunk(signal("a", Some("b"), &answer)));
        assert_eq!((world.ports_open(), world.legs.len()), (4, legs));
        assert!(world.streams().iter().all(|stream| stream.peer.is_some()));
    }
}

#[test]
fn an_answerer_that_refuses_the_tagged_section_moves_the_tag() {
    let mut world = world();
    let offer = offered(&mut world, to_browser(signal("a", None, &trunk(&[5000, 5002, 5004]))));
    let answer = bundled_answer_to_generated(&[0, 1, 2])
        .replace("BUNDLE 1 2 3", "BUNDLE 2 3")
        .replace("m=audio 9", "m=audio 0");
    answered(&mut world, to_trunk(signal("a", Some("b"), &answer)));
    let plans: Vec<_> = world.legs.values().filter(|leg| leg.dtls.is_some()).collect();
    let [leg] = &plans[..] else { panic!("one transport is in force") };
    let shown = offer.media[1].ice.credentials().unwrap();
    assert_eq!(leg.ice.as_ref().unwrap().local, shown);
}

#[test]
fn an_answer_that_takes_a_section_out_of_a_bundle_has_no_transport_for_it() {
    let mut world = to_a_bundling_browser();
    let apart = bundled_answer_to_generated(&[0, 1]).replace("a=group:BUNDLE 1 2\r\n", "");
    let answer = answered(&mut world, to_trunk(signal("a", Some("b"), &apart)));
    assert_ne!(answer.media[0].port, 0);
    assert_eq!(answer.media[1].port, 0, "its ports were given back");
}

#[test]
fn a_new_section_joins_the_bundle_there_is() {
    let mut world = to_a_bundling_browser();
    let before = world.ports_open();
    let mut again = to_browser(signal("a", Some("b"), &trunk(&[5000, 5002, 5004])));
    again.ice.mode = IceMode::Force;
    let offer = offered(&mut world, again);
    assert_eq!(groups(&offer), [[b"1", b"2", b"3"]]);
    assert!(ports(&offer).iter().all(|port| *port == offer.media[0].port));
    assert_eq!(offer.media[0].ice.credentials(), offer.media[2].ice.credentials());
    assert_eq!(world.ports_open(), before + 1, "the trunk's alone");
    let answer = bundled_answer_to_generated(&[0, 1, 2]);
    answered(&mut world, to_trunk(signal("a", Some("b"), &answer)));
    assert_eq!(ways(&world.streams()[1]).len(), 3);
    assert_eq!((world.ports_open(), world.legs.len()), (before + 1, 1));
}

#[test]
fn a_browser_adds_a_section_to_its_bundle_and_takes_others_out() {
    let (mut world, first) = to_a_trunk(&max_bundle());
    let tagged = section(0, 9, &transport('a', "actpass"));
    let (second, third) = (section(1, 9, ""), section(2, 0, "a=bundle-only\r\n"));
    let offer = body("0 1 2", &[tagged, second, third.clone()]);
    offered(&mut world, to_trunk(signal("a", Some("b"), &offer)));
    let answer = answered(&mut world, signal("a", Some("b"), &trunk(&[5000, 5002, 5004])));
    assert_eq!(groups(&answer), [[b"0", b"1", b"2"]]);
    assert!(ports(&answer).iter().all(|port| *port == first.media[0].port));
    assert_eq!((ways(&world.streams()[0]).len(), world.ports_open()), (3, 4));

    // The tagged section goes, and its transport stays with another.
    let tagged = section(1, 9, &transport('a', "actpass"));
    let offer = body("1 2", &[section(0, 0, ""), tagged, section(2, 9, "")]);
    let before = world.streams()[0].routes.clone();
    offered(&mut world, to_trunk(signal("a", Some("b"), &offer)));
    assert_eq!(world.streams()[0].routes, before, "the answer may never come");
    let answer = answered(&mut world, signal("a", Some("b"), &trunk(&[0, 5002, 5004])));
    assert_eq!(groups(&answer), [[b"1", b"2"]]);
    assert_eq!(ports(&answer), [0, first.media[0].port, first.media[0].port]);
    assert_eq!((ways(&world.streams()[0]).len(), world.ports_open()), (2, 3));
    assert_eq!(world.leg(0).unwrap().dtls.as_ref().unwrap().epoch.0, 1, "the same association");
}

#[test]
fn sections_that_were_apart_are_joined_by_the_answer_and_parted_by_the_offer() {
    let apart = balanced().replace("a=group:BUNDLE 0 1\r\n", "");
    let (mut world, _) = to_a_trunk(&apart);
    assert_eq!((world.ports_open(), world.legs.len()), (4, 2));
    offered(&mut world, to_trunk(signal("a", Some("b"), &balanced())));
    assert_eq!(world.ports_open(), 4, "the answer may never come");
    answered(&mut world, signal("a", Some("b"), &trunk(&[5000, 5002])));
    assert_eq!((world.ports_open(), world.legs.len()), (3, 1));
    offered(&mut world, to_trunk(signal("a", Some("b"), &apart)));
    let answer = answered(&mut world, signal("a", Some("b"), &trunk(&[5000, 5002])));
    assert_ne!(answer.media[0].port, answer.media[1].port);
    assert_eq!((world.ports_open(), world.legs.len()), (4, 2));
}

#[test]
fn two_browsers_that_bundle_alike_have_one_way_each() {
    let mut world = world();
    let offer = offered(&mut world, to_browser(signal("a", None, &balanced())));
    assert_eq!(groups(&offer), [[b"0", b"1"]]);
    let answer = answered(&mut world, to_browser(signal("a", Some("b"), &bundled_answer(&[0, 1]))));
    assert_eq!((groups(&answer), world.legs.len()), (vec![vec![&b"0"[..], b"1"]], 2));
    let [from, to, ended] = world.streams() else { panic!() };
    assert_eq!((from.peer, to.peer, ended.closed), (Some(1), Some(0), true));
    assert!(from.routes.is_empty() && to.routes.is_empty());
}

#[test]
fn an_ice_restart_of_a_bundle_is_one() {
    let (mut world, first) = to_a_trunk(&max_bundle());
    let again = max_bundle().replace("aaaa", "cccc");
    offered(&mut world, to_trunk(signal("a", Some("b"), &again)));
    let answer = answered(&mut world, signal("a", Some("b"), &trunk(&[5000, 5002])));
    let own = |section: &MediaSection| section.ice.credentials();
    assert_ne!(own(&answer.media[0]), own(&first.media[0]));
    assert_eq!(own(&answer.media[0]), own(&answer.media[1]));
    assert_eq!(ports(&answer), ports(&first));
    assert_eq!(world.legs.len(), 1);
}

#[test]
fn what_cannot_share_a_port_is_not_bundled() {
    let without_mux = balanced().replace("a=rtcp-mux\r\n", "");
    let mut refused = to_trunk(signal("a", None, &balanced()));
    refused.rtcp_mux.reject = true;
    for request in [to_trunk(signal("a", None, &without_mux)), refused] {
        let mut world = world();
        offered(&mut world, request);
        let answer = answered(&mut world, signal("a", Some("b"), &trunk(&[5000, 5002])));
        assert_eq!((groups(&answer).len(), world.legs.len()), (0, 2));
        assert_ne!(answer.media[0].port, answer.media[1].port);
    }
}

#[test]
fn no_group_is_offered_without_rtcp_mux() {
    let mut request = to_browser(signal("a", None, &trunk(&[5000])));
    request.rtcp_mux = RtcpMux::default();
    let offer = offered(&mut world(), request);
    assert!(!offer.media[0].rtcp_mux && offer.media[0].ice.credentials().is_some());
    assert_eq!(groups(&offer).len(), 0);
}

#[test]
fn a_group_has_no_more_sections_than_a_worker_knows_ways() {
    let section = |at: usize| format!("m=audio {} RTP/AVP {at}\r\nc=IN IP4 {B}\r\n", 5000 + 2 * at);
    let sections: Vec<String> = (0..=MAX_ROUTES).map(section).collect();
    let mut world = world();
    let offer = offered(&mut world, to_browser(signal("a", None, &body("", &sections))));
    assert_eq!((groups(&offer)[0].len(), offer.media.len()), (MAX_ROUTES, MAX_ROUTES + 1));

    // Of an offer: what has no transport but the group's is rejected.
    let section = |at: usize| {
        let transport = transport('a', "actpass");
        format!("m=audio 9 UDP/TLS/RTP/SAVPF {at}\r\nc=IN IP4 0.0.0.0\r\na=mid:{at}\r\n{transport}")
    };
    let sections: Vec<String> = (0..=MAX_ROUTES).map(section).collect();
    let mids: Vec<String> = (0..=MAX_ROUTES).map(|at| at.to_string()).collect();
    let mut world = self::world();
    let outcome = world.offer(&to_trunk(signal("a", None, &body(&mids.join(" "), &sections))));
    let outcome = outcome.unwrap();
    let rejected = ports(&read(&outcome)).iter().filter(|port| **port == 0).count();
    assert_eq!((rejected, &outcome.warnings[..]), (1, &[Refused::BUNDLE_FULL.0][..]));
}

#[test]
fn sections_whose_packets_look_alike_are_not_offered_as_a_group() {
    let mut world = world();
    let alike = trunk(&[5000, 5002]).replace("RTP/AVP 0", "RTP/AVP 96");
    let offer = offered(&mut world, to_browser(signal("a", None, &alike)));
    assert_eq!(groups(&offer), [[b"1"]]);
}

#[test]
fn a_bundle_is_one_leg_to_rekey_and_to_ask_for() {
    let (mut world, _) = to_a_trunk(&max_bundle());
    let key = *world.worker.keys().next().unwrap();
    let wish = Wish { tag: None, older_than: std::time::Duration::ZERO, act: Act::Mark };
    let legs = world.calls.rekey(key, wish, world.now);
    assert_eq!((legs.len(), legs[0].media), (1, 1));
    let view = world.calls.view(key).unwrap();
    let shared: Vec<_> = view.parties[0].media.iter().map(|media| media.bundled_with).collect();
    assert_eq!(shared, [None, Some(0)]);
    assert!(view.parties[1].media.iter().all(|media| media.bundled_with.is_none()));
}

#[test]
fn a_browser_finds_its_group_and_its_mid_in_an_answer_whose_party_has_neither() {
    let mut world = world();
    let body = Browser::offering().body().replace("m=audio", "a=group:BUNDLE 0\r\nm=audio");
    world.offer(&to_trunk(signal("a", None, &body))).unwrap();
    let answered = read(&world.answer(&signal("a", Some("b"), &plain(B))).unwrap());
    assert_eq!(groups(&answered), [[b"0"]]);
    assert_eq!(answered.media[0].mid.as_deref(), Some(&b"0"[..]));
}

#[test]
fn an_offer_to_a_browser_has_a_group_of_its_one_section() {
    let mut world = world();
    let offered = read(&world.offer(&to_browser(signal("a", None, &plain(A)))).unwrap());
    assert_eq!(groups(&offered), [[b"1"]]);
    assert_eq!(offered.media[0].mid.as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_trunk_that_offers_again_meets_the_mids_that_the_browser_knows() {
    let named = max_bundle()
        .replace("BUNDLE 0 1", "BUNDLE mic cam")
        .replace("a=mid:0", "a=mid:mic")
        .replace("a=mid:1", "a=mid:cam");
    let (mut world, _) = to_a_trunk(&named);
    let back = to_browser(signal("b", Some("a"), &trunk(&[5000, 5002])));
    let offer = offered(&mut world, back);
    assert_eq!(groups(&offer), [[b"mic", b"cam"]]);
    assert_eq!(offer.media[1].mid.as_deref(), Some(&b"cam"[..]));
    assert_eq!(offer.media[0].port, offer.media[1].port);
    let answer = bundled_answer(&[0, 1])
        .replace("BUNDLE 0 1", "BUNDLE mic cam")
        .replace("a=mid:0", "a=mid:mic")
        .replace("a=mid:1", "a=mid:cam");
    let told = answered(&mut world, to_trunk(signal("b", Some("a"), &answer)));
    assert!(told.media.iter().all(|media| media.port != 0));
    assert_eq!(ways(&world.streams()[0]), [1, 2]);
}
