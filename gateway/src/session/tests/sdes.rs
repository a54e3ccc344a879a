//! SDES: what is offered, what is answered, which keys stay.

use ng::request::{Sdes, Signal};
use ng::sdp::{Protocol, Sdp};
use srtp::{Lifetimes, Mki, Profile};

use super::world::{
    A, B, Key, World, audio, crypto, read, rotating, section, settings, signal, text, towards,
};
use crate::session::{Compat, Refused, Settings};

const GCM_256: Profile = Profile::AeadAes256Gcm;
const GCM_128: Profile = Profile::AeadAes128Gcm;
const CM_80: Profile = Profile::AesCm128HmacSha1_80;
const CM_32: Profile = Profile::AesCm128HmacSha1_32;

fn suites(sdp: &Sdp) -> Vec<(u32, Profile)> {
    sdp.media[0].crypto.iter().map(|crypto| (crypto.tag, crypto.profile())).collect()
}

fn plain_offer() -> Signal {
    signal("a", None, &plain_offer_body())
}

fn plain_offer_body() -> String {
    audio(A, 4000, "RTP/AVP", &[])
}

fn srtp(from: &str, to: Option<&str>, address: &str, attributes: &[&str]) -> Signal {
    signal(from, to, &audio(address, 5000, "RTP/SAVP", attributes))
}

fn short(tag: u32) -> String {
    crypto(tag, 'S').replace("_80", "_32")
}

#[test]
fn an_srtp_offer_lists_the_strongest_suite_first_and_the_short_tag_last() {
    let mut world = World::new();
    let offered = world.offer(&towards(plain_offer(), Protocol::RtpSavp)).unwrap();
    let sdp = read(&offered);
    assert_eq!(suites(&sdp), [(1, GCM_256), (2, GCM_128), (3, CM_80), (4, CM_32)]);
    assert_eq!(sdp.media[0].protocol, Protocol::RtpSavp);
    assert!(world.streams().iter().all(|stream| stream.keyed.0 == usize::from(stream.sends)));
}

#[test]
fn the_callees_choice_sets_both_keys_and_the_caller_gets_its_transport_back() {
    let mut world = World::new();
    let offered = world.offer(&towards(plain_offer(), Protocol::RtpSavp)).unwrap();
    let answer = srtp("a", Some("b"), B, &[&crypto(3, 'B')]);
    let answered = section(&world.answer(&answer).unwrap());
    assert_eq!(answered.protocol, Protocol::RtpAvp);
    assert!(answered.crypto.is_empty());
    let [a, b] = world.streams() else { panic!("two streams") };
    assert_eq!((&a.receive_key, &a.send_key), (&Key::Clear, &Key::Clear));
    let ours = read(&offered).media.remove(0).crypto.remove(2).key.master;
    assert_eq!(b.send_key, Key::Srtp(ours));
    let theirs = section_of(&answer).crypto.remove(0).key.master;
    assert_eq!(b.receive_key, Key::Srtp(theirs));
}

fn section_of(signal: &Signal) -> ng::sdp::MediaSection {
    Sdp::parse(&signal.sdp).unwrap().media.remove(0)
}

#[test]
fn an_srtp_caller_is_answered_under_its_tag_with_a_key_of_our_own() {
    let mut world = World::new();
    let offer = srtp("a", None, A, &[&short(7), &crypto(9, 'A')]);
    let offered = world.offer(&towards(offer.clone(), Protocol::RtpAvp)).unwrap();
    assert!(!text(&offered).contains("crypto"));
    let answer = signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", &[]));
    let answered = section(&world.answer(&answer).unwrap());
    assert_eq!(answered.protocol, Protocol::RtpSavp);
    // The 32-bit tag was offered first; it is taken only when there is nothing else.
    assert_eq!((answered.crypto.len(), answered.crypto[0].tag), (1, 9));
    assert_ne!(answered.crypto[0].key, section_of(&offer).crypto[1].key);
    assert_eq!(
        world.streams()[0].send_key,
        Key::Srtp(answered.crypto.into_iter().next().unwrap().key.master)
    );
}

#[test]
fn between_srtp_legs_tags_are_kept_and_keys_are_not() {
    let mut world = World::new();
    let offer = srtp("a", None, A, &[&short(3), &crypto(4, 'A')]);
    let sdp = read(&world.offer(&offer).unwrap());
    assert_eq!(suites(&sdp), [(4, CM_80), (5, GCM_256), (6, GCM_128), (3, CM_32)]);
    assert_ne!(sdp.media[0].crypto[0].key, section_of(&offer).crypto[1].key);

    let mut world = World::with(Settings { compat: Compat::Rtpengine, ..settings() });
    let sdp = read(&world.offer(&offer).unwrap());
    assert_eq!(suites(&sdp), [(3, CM_32), (4, CM_80), (5, GCM_256), (6, GCM_128)]);
}

#[test]
fn the_sdes_options_shape_the_offer() {
    let none = Sdes::default();
    for (sdes, expected) in [
        (Sdes { no: vec![GCM_256, CM_32], ..none.clone() }, vec![(1, GCM_128), (2, CM_80)]),
        (Sdes { only: vec![CM_32], no: vec![CM_32], ..none.clone() }, vec![(1, CM_32)]),
        (
            Sdes { order: vec![CM_32, CM_80], ..none.clone() },
            vec![(1, CM_32), (2, CM_80), (3, GCM_256), (4, GCM_128)],
        ),
        // Nothing to pass on: nonew cannot mean no encryption at all.
        (
            Sdes { no_new: true, ..none.clone() },
            vec![(1, GCM_256), (2, GCM_128), (3, CM_80), (4, CM_32)],
        ),
    ] {
        let mut world = World::new();
        let offer = Signal { sdes: sdes.clone(), ..towards(plain_offer(), Protocol::RtpSavp) };
        assert_eq!(suites(&read(&world.offer(&offer).unwrap())), expected, "{sdes:?}");
    }
    let mut world = World::new();
    let sdes = Sdes { no_new: true, only: vec![GCM_256], ..none };
    let offer = Signal { sdes, ..srtp("a", None, A, &[&crypto(4, 'A')]) };
    assert_eq!(suites(&read(&world.offer(&offer).unwrap())), [(4, CM_80)]);
}

#[test]
fn padding_and_lifetime_are_printed_when_asked() {
    let mut world = World::new();
    let sdes = Sdes { pad: true, lifetime: true, only: vec![GCM_128], ..Sdes::default() };
    let offer = Signal { sdes, ..towards(plain_offer(), Protocol::RtpSavp) };
    let offered = text(&world.offer(&offer).unwrap());
    assert!(offered.contains("==|2^31\r\n"), "{offered}");
}

#[test]
fn the_offerers_preference_decides_the_answer() {
    let mut world = World::new();
    let offer = srtp("a", None, A, &[&crypto(1, 'A'), &short(2)]);
    world.offer(&towards(offer, Protocol::RtpAvp)).unwrap();
    let mut answer = signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", &[]));
    answer.sdes.offerer_preference = vec![CM_32];
    let answered = section(&world.answer(&answer).unwrap());
    assert_eq!(answered.crypto[0].tag, 2);
}

#[test]
fn a_reinvite_keeps_our_keys_and_sets_only_what_the_peer_changed() {
    let mut world = World::new();
    let offer = srtp("a", None, A, &[&crypto(1, 'A')]);
    let sdp = read(&world.offer(&offer).unwrap());
    let callee_tag = sdp.media[0].crypto[0].tag;
    let first =
        section(&world.answer(&srtp("a", Some("b"), B, &[&crypto(callee_tag, 'B')])).unwrap());

    // The caller comes again with a new key under a new tag, the callee repeats its own.
    let again = srtp("a", Some("b"), A, &[&crypto(6, 'C')]);
    let reoffered = read(&world.offer(&again).unwrap());
    assert_eq!(reoffered.media[0].crypto[0], sdp.media[0].crypto[0]);
    assert_eq!(world.streams()[0].keyed, (1, 1), "the old key holds until the answer");
    let second =
        section(&world.answer(&srtp("a", Some("b"), B, &[&crypto(callee_tag, 'B')])).unwrap());
    assert_eq!(second.crypto[0].key, first.crypto[0].key);
    assert_eq!(second.crypto[0].tag, 6);
    let [a, b] = world.streams() else { panic!("two streams") };
    assert_eq!((a.keyed, b.keyed), ((2, 1), (1, 1)));

    // The callee comes: what we offer the caller begins with what it has.
    let back = srtp("b", Some("a"), B, &[&crypto(1, 'B')]);
    let reoffered = read(&world.offer(&back).unwrap());
    assert_eq!(reoffered.media[0].crypto[0].key, first.crypto[0].key);
}

#[test]
fn a_provisional_and_a_final_answer_agree_on_the_same_keys() {
    let mut world = World::new();
    let offered = read(&world.offer(&srtp("a", None, A, &[&crypto(1, 'A')])).unwrap());
    let tag = offered.media[0].crypto[0].tag;
    let provisional = world.answer(&srtp("a", Some("b"), B, &[&crypto(tag, 'B')])).unwrap();
    let last = world.answer(&srtp("a", Some("b"), B, &[&crypto(tag, 'B')])).unwrap();
    assert_eq!(provisional.sdp, last.sdp);
    assert!(world.streams().iter().all(|stream| stream.keyed == (1, 1)));

    // A device behind the same branch answers in its place, with a suite of its own choice.
    let other = section(&world.answer(&srtp("a", Some("c"), B, &[&short(4)])).unwrap());
    assert_eq!(other.crypto[0].tag, 1, "the caller's key stays");
    let [a, b] = world.streams() else { panic!("two streams") };
    assert_eq!((a.keyed, b.keyed), ((1, 1), (2, 2)));
}

#[test]
fn an_offer_made_again_shows_the_keys_that_an_answer_to_the_first_may_choose() {
    let mut world = World::new();
    let offer = towards(plain_offer(), Protocol::RtpSavp);
    let first = read(&world.offer(&offer).unwrap());
    let again = read(&world.offer(&offer).unwrap());
    assert_eq!(again.media[0].crypto, first.media[0].crypto);
    world.answer(&srtp("a", Some("b"), B, &[&crypto(3, 'B')])).unwrap();
    let to_the_callee = Signal { to_tag: Some("b".into()), ..offer };
    let reoffered = read(&world.offer(&to_the_callee).unwrap());
    assert_eq!(suites(&reoffered), [(3, CM_80), (1, GCM_256), (2, GCM_128), (4, CM_32)]);
    assert_eq!(reoffered.media[0].crypto[0], first.media[0].crypto[2]);
}

#[test]
fn a_key_that_another_has_replaced_is_never_in_force_again() {
    let mut world = World::new();
    let offered = read(&world.offer(&towards(plain_offer(), Protocol::RtpSavp)).unwrap());
    let ours = |at: usize| Key::Srtp(offered.media[0].crypto[at].key.master.dangerous_duplicate());
    world.answer(&srtp("a", Some("b"), B, &[&crypto(3, 'B')])).unwrap();
    assert_eq!(world.streams()[1].send_key, ours(2));
    world.answer(&srtp("a", Some("c"), B, &[&short(4)])).unwrap();
    assert_eq!(world.streams()[1].send_key, ours(3));

    let reoffer = towards(signal("a", Some("c"), &plain_offer_body()), Protocol::RtpSavp);
    let reoffered = read(&world.offer(&reoffer).unwrap());
    let again = reoffered.media[0].crypto.iter().find(|crypto| crypto.profile() == CM_80);
    assert_ne!(again.unwrap().key, offered.media[0].crypto[2].key);

    let mut world = World::new();
    world.offer(&towards(plain_offer(), Protocol::RtpSavp)).unwrap();
    world.answer(&srtp("a", Some("b"), B, &[&crypto(3, 'B')])).unwrap();
    world.answer(&srtp("a", Some("c"), B, &[&short(4)])).unwrap();
    let back = world.answer(&srtp("a", Some("b"), B, &[&crypto(3, 'B')])).unwrap();
    assert_eq!(section(&back).port, 0);
    assert!(world.streams().iter().all(|stream| !stream.sends));
}

#[test]
fn an_mki_is_expected_of_the_peer_and_not_carried_by_us() {
    let mut world = World::new();
    world.offer(&towards(plain_offer(), Protocol::RtpSavp)).unwrap();
    let line = format!("{}|2^20|7:2", crypto(3, 'B'));
    world.answer(&srtp("a", Some("b"), B, &[&line])).unwrap();
    let theirs = &world.streams()[1].receive_keys.as_ref().unwrap().first;
    assert_eq!(theirs.mki.as_bytes(), [0, 7]);
    assert_eq!(Ok(theirs.lifetimes), Lifetimes::from_sdes(1 << 20));
    assert_eq!(world.streams()[1].send_mki, Mki::none());
}

fn received_mkis(world: &World, stream: usize) -> Vec<u8> {
    let keys = world.streams()[stream].receive_keys.as_ref().unwrap();
    keys.iter().map(|key| key.mki.as_bytes()[1]).collect()
}

#[test]
fn every_key_that_a_peer_names_reaches_the_worker_and_a_reinvite_tells_only_what_changed() {
    let mut world = World::new();
    let line = rotating(1, &[(1, 'A'), (2, 'C'), (3, 'D')]);
    world.offer(&towards(srtp("a", None, A, &[&line]), Protocol::RtpAvp)).unwrap();
    let answer = signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", &[]));
    let first = section(&world.answer(&answer).unwrap());
    assert_eq!(received_mkis(&world, 0), [1, 2, 3]);

    let changed = rotating(1, &[(2, 'C'), (3, 'D'), (4, 'E')]);
    world.offer(&towards(srtp("a", Some("b"), A, &[&changed]), Protocol::RtpAvp)).unwrap();
    assert_eq!(world.streams()[0].keyed, (1, 1), "the old keys hold until the answer");
    let second = section(&world.answer(&answer).unwrap());
    assert_eq!(first.crypto, second.crypto);
    assert_eq!(received_mkis(&world, 0), [2, 3, 4]);
    let [a, _] = world.streams() else { panic!("two streams") };
    assert_eq!(a.keyed, (2, 1));
    assert!(a.plan.contains("Change"), "{}", a.plan);

    world.answer(&answer).unwrap();
    assert_eq!(world.streams()[0].keyed, (2, 1), "a repeated answer changes nothing");
}

#[test]
fn an_answer_without_usable_crypto_is_rejected_and_never_sent_in_clear() {
    let cases: [(&str, Vec<String>); 5] = [
        ("RTP/SAVP", vec![]),
        ("RTP/AVP", vec![]),
        ("RTP/SAVP", vec![crypto(9, 'B')]),
        ("RTP/SAVP", vec![crypto(1, 'B')]),
        ("RTP/SAVP", vec![format!("{} UNENCRYPTED_SRTP", crypto(3, 'B'))]),
    ];
    for (transport, attributes) in cases {
        let mut world = World::new();
        world.offer(&towards(plain_offer(), Protocol::RtpSavp)).unwrap();
        let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let answer = signal("a", Some("b"), &audio(B, 5000, transport, &attributes));
        let answered = world.answer(&answer).unwrap();
        let rejected = section(&answered);
        // RFC 3264 section 6: under the profile that the caller offered.
        assert_eq!((rejected.port, rejected.protocol), (0, Protocol::RtpAvp), "{transport}");
        assert!(!answered.warnings.is_empty());
        assert!(world.streams().iter().all(|stream| stream.closed && !stream.sends));
        assert_eq!(world.ports_open(), 0);
    }
}

#[test]
fn srtp_that_only_dtls_could_key_is_refused() {
    let mut world = World::new();
    let dtls = signal("a", None, &audio(A, 4000, "UDP/TLS/RTP/SAVPF", &["setup:actpass"]));
    assert_eq!(world.offer(&dtls).unwrap_err(), Refused::DTLS);
    let to_dtls = towards(plain_offer(), Protocol::UdpTlsRtpSavpf);
    assert_eq!(world.offer(&to_dtls).unwrap_err(), Refused::DTLS);
    let off = Signal {
        sdes: Sdes { off: true, ..Sdes::default() },
        ..towards(plain_offer(), Protocol::RtpSavp)
    };
    assert_eq!(world.offer(&off).unwrap_err(), Refused::DTLS);
    let keyless = srtp("a", None, A, &[]);
    assert_eq!(world.offer(&keyless).unwrap_err(), Refused::NO_KEY);
    assert_eq!((world.ports_open(), world.calls.len()), (0, 0));

    // Beside a section that can be had, only the other is rejected.
    let both = format!("{}m=video 4010 UDP/TLS/RTP/SAVPF 96\r\n", audio(A, 4000, "RTP/AVP", &[]));
    let offered = world.offer(&signal("a", None, &both)).unwrap();
    let ports: Vec<u16> = read(&offered).media.iter().map(|section| section.port).collect();
    assert_eq!(ports, [30004, 0]);
}

#[test]
fn secure_profiles_with_and_without_feedback_bridge_both_ways() {
    for (from, to) in [
        (Protocol::RtpAvp, Protocol::RtpSavpf),
        (Protocol::RtpAvpf, Protocol::RtpSavp),
        (Protocol::RtpSavpf, Protocol::RtpAvpf),
        (Protocol::RtpSavp, Protocol::RtpSavpf),
        (Protocol::RtpAvpf, Protocol::RtpAvp),
    ] {
        let mut world = World::new();
        let name = std::str::from_utf8(from.name()).unwrap();
        let key = crypto(1, 'A');
        let own: &[&str] = if from.is_srtp() { &[&key] } else { &[] };
        let offer = towards(signal("a", None, &audio(A, 4000, name, own)), to.clone());
        let offered = section(&world.offer(&offer).unwrap());
        assert_eq!(offered.protocol, to);
        let tag = offered.crypto.iter().find(|c| c.profile() == CM_80).map(|c| c.tag);
        let key = tag.map(|tag| crypto(tag, 'B'));
        let keys: Vec<&str> = key.iter().map(String::as_str).collect();
        let name = std::str::from_utf8(to.name()).unwrap();
        let answer = signal("a", Some("b"), &audio(B, 5000, name, &keys));
        let answered = section(&world.answer(&answer).unwrap());
        assert_eq!(answered.protocol, from);
        assert_eq!(answered.crypto.len(), usize::from(from.is_srtp()));
        let [a, b] = world.streams() else { panic!("two streams") };
        assert_eq!(matches!(a.send_key, Key::Srtp(_)), from.is_srtp());
        assert_eq!(matches!(b.send_key, Key::Srtp(_)), to.is_srtp());
    }
}
