//! `ng.compat = "rtpengine"`: keys that pass from leg to leg, when they do, and when not.

use ng::request::{Flags, Signal};
use ng::sdp::{CryptoAttribute, Protocol};

use super::world::{A, B, Key, World, audio, crypto, read, section, settings, signal, towards};
use crate::session::{Compat, Settings};

fn world() -> World {
    World::with(Settings { compat: Compat::Rtpengine, ..settings() })
}

fn srtp(from: &str, to: Option<&str>, address: &str, attributes: &[&str]) -> Signal {
    signal(from, to, &audio(address, 5000, "RTP/SAVP", attributes))
}

fn plain(from: &str, to: Option<&str>, address: &str) -> Signal {
    signal(from, to, &audio(address, 5000, "RTP/AVP", &[]))
}

/// What a phone's own line says.
fn attribute(line: &str) -> CryptoAttribute {
    let sdp = audio(A, 5000, "RTP/SAVP", &[line]);
    ng::sdp::Sdp::parse(&sdp.into()).unwrap().media.remove(0).crypto.remove(0)
}

/// Offers under the first line, answers under the second; what each side was shown.
fn call(world: &mut World, offer: &Signal, answer: &Signal) -> [Vec<CryptoAttribute>; 2] {
    let offered = read(&world.offer(offer).unwrap()).media.remove(0).crypto;
    let answered = section(&world.answer(answer).unwrap());
    assert_ne!(answered.port, 0, "the section was rejected");
    [offered, answered.crypto]
}

/// A call from A with key `A` under tag 4 to B with key `B`.
fn passing(world: &mut World) {
    let answer = srtp("a", Some("b"), B, &[&crypto(4, 'B')]);
    call(world, &srtp("a", None, A, &[&crypto(4, 'A')]), &answer);
    assert!(passes(world));
}

fn passes(world: &World) -> bool {
    let [a, b] = world.streams() else { panic!("two streams") };
    let clear = |key: &Key| *key == Key::Clear;
    (a.peer, b.peer) == (Some(1), Some(0))
        && [&a.receive_key, &a.send_key, &b.receive_key, &b.send_key].into_iter().all(clear)
}

/// Both legs are opened and sealed, with keys of ours towards both.
fn encrypts_again(world: &World, theirs: &[&str]) -> bool {
    let [a, b] = world.streams() else { panic!("two streams") };
    let own = |key: &Key| match key {
        Key::Srtp(key) => theirs.iter().all(|line| attribute(line).key.master != *key),
        Key::None | Key::Clear => false,
    };
    (a.peer, b.peer) == (Some(1), Some(0)) && own(&a.send_key) && own(&b.send_key)
}

fn flagged(signal: Signal, flags: Flags) -> Signal {
    Signal { flags, ..signal }
}

#[test]
fn both_parties_get_each_others_key_and_their_packets_pass_as_they_are() {
    let mut world = world();
    let offer = srtp("a", None, A, &[&crypto(4, 'A')]);
    let answer = srtp("a", Some("b"), B, &[&crypto(4, 'B')]);
    let [offered, answered] = call(&mut world, &offer, &answer);
    assert_eq!(offered.len(), 4);
    assert_eq!(offered[0], attribute(&crypto(4, 'A')));
    assert_eq!(answered, [attribute(&crypto(4, 'B'))]);
    assert!(passes(&world));

    let again = section(&world.answer(&answer).unwrap());
    assert_eq!(again.crypto, answered);
    assert!(passes(&world), "a 183 and a 200 agree");
}

#[test]
fn a_suite_that_only_we_offered_is_encrypted_again() {
    let mut world = world();
    let offered = read(&world.offer(&srtp("a", None, A, &[&crypto(4, 'A')])).unwrap());
    let ours = offered.media[0].crypto.iter().find(|c| c.profile().rtp_overhead() == 4).unwrap();
    let line = crypto(ours.tag, 'B').replace("_80", "_32");
    world.answer(&srtp("a", Some("b"), B, &[&line])).unwrap();
    assert!(encrypts_again(&world, &[&crypto(4, 'A'), &line]));
}

#[test]
fn recrypt_and_no_passthrough_keep_every_leg_under_keys_of_ours() {
    for flags in [
        Flags { recrypt: true, ..Flags::default() },
        Flags { no_passthrough: true, ..Flags::default() },
    ] {
        let mut world = world();
        let offer = flagged(srtp("a", None, A, &[&crypto(4, 'A')]), flags);
        let answer = srtp("a", Some("b"), B, &[&crypto(4, 'B')]);
        let [offered, answered] = call(&mut world, &offer, &answer);
        assert!(offered.iter().all(|c| c.key != attribute(&crypto(4, 'A')).key));
        assert_ne!(answered[0].key, attribute(&crypto(4, 'B')).key);
        assert!(encrypts_again(&world, &[&crypto(4, 'A'), &crypto(4, 'B')]));
    }
}

#[test]
fn by_default_no_key_passes() {
    let mut world = World::new();
    let answer = srtp("a", Some("b"), B, &[&crypto(4, 'B')]);
    call(&mut world, &srtp("a", None, A, &[&crypto(4, 'A')]), &answer);
    assert!(encrypts_again(&world, &[&crypto(4, 'A'), &crypto(4, 'B')]));
}

#[test]
fn between_rtp_and_srtp_the_srtp_leg_has_keys_of_its_own() {
    let mut world = world();
    let offer = towards(srtp("a", None, A, &[&crypto(4, 'A')]), Protocol::RtpAvp);
    let [_, answered] = call(&mut world, &offer, &plain("a", Some("b"), B));
    assert_ne!(answered[0].key, attribute(&crypto(4, 'A')).key);
    let [a, b] = world.streams() else { panic!("two streams") };
    assert!(matches!((&a.receive_key, &a.send_key), (Key::Srtp(_), Key::Srtp(_))));
    assert_eq!((&b.receive_key, &b.send_key), (&Key::Clear, &Key::Clear));
}

#[test]
fn a_reinvite_from_either_side_stays_in_passthrough_also_with_a_new_key() {
    let mut world = world();
    passing(&mut world);
    let offer = srtp("b", Some("a"), B, &[&crypto(2, 'B')]);
    let answer = srtp("b", Some("a"), A, &[&crypto(2, 'A')]);
    let [offered, answered] = call(&mut world, &offer, &answer);
    assert_eq!(
        (&offered[0], &answered[0]),
        (&attribute(&crypto(2, 'B')), &attribute(&crypto(2, 'A')))
    );
    assert!(passes(&world));

    let offer = srtp("a", Some("b"), A, &[&crypto(4, 'C')]);
    let answer = srtp("a", Some("b"), B, &[&crypto(4, 'B')]);
    let [offered, _] = call(&mut world, &offer, &answer);
    assert!(offered.iter().all(|c| c.key != attribute(&crypto(4, 'A')).key), "an old key");
    assert_eq!(offered[0], attribute(&crypto(4, 'C')));
    assert!(passes(&world));
}

#[test]
fn a_reinvite_with_recrypt_leaves_passthrough_on_both_legs_at_the_answer() {
    let mut world = world();
    passing(&mut world);
    let offer = srtp("a", Some("b"), A, &[&crypto(4, 'A')]);
    let offer = flagged(offer, Flags { recrypt: true, ..Flags::default() });
    let offered = read(&world.offer(&offer).unwrap());
    assert!(offered.media[0].crypto.iter().all(|c| c.key != attribute(&crypto(4, 'A')).key));
    assert!(passes(&world), "what was agreed holds until the answer");
    let tag =
        offered.media[0].crypto.iter().find(|c| c.profile().rtp_overhead() == 10).unwrap().tag;
    world.answer(&srtp("a", Some("b"), B, &[&crypto(tag, 'B')])).unwrap();
    assert!(encrypts_again(&world, &[&crypto(4, 'A'), &crypto(tag, 'B')]));

    // Our packet indexes cannot be handed over: once encrypted again, always encrypted again.
    let [offered, _] = call(
        &mut world,
        &srtp("a", Some("b"), A, &[&crypto(4, 'A')]),
        &srtp("a", Some("b"), B, &[&crypto(tag, 'B')]),
    );
    assert!(offered.iter().all(|c| c.key != attribute(&crypto(4, 'A')).key));
    assert!(encrypts_again(&world, &[&crypto(4, 'A'), &crypto(tag, 'B')]));
}

#[test]
fn a_reinvite_that_makes_one_leg_plain_gives_the_other_a_key_of_ours() {
    let mut world = world();
    passing(&mut world);
    let offer = towards(plain("a", Some("b"), A), Protocol::RtpSavp);
    let offered = read(&world.offer(&offer).unwrap());
    let tag =
        offered.media[0].crypto.iter().find(|c| c.profile().rtp_overhead() == 10).unwrap().tag;
    world.answer(&srtp("a", Some("b"), B, &[&crypto(tag, 'B')])).unwrap();
    let [a, b] = world.streams() else { panic!("two streams") };
    assert_eq!((&a.receive_key, &a.send_key), (&Key::Clear, &Key::Clear));
    assert!(matches!((&b.receive_key, &b.send_key), (Key::Srtp(_), Key::Srtp(_))));
}

#[test]
fn a_plain_call_enters_passthrough_once_both_sides_are_srtp() {
    let mut world = world();
    call(&mut world, &plain("a", None, A), &plain("a", Some("b"), B));
    passing_again(&mut world);
}

fn passing_again(world: &mut World) {
    let offer = srtp("a", Some("b"), A, &[&crypto(4, 'A')]);
    let answer = srtp("a", Some("b"), B, &[&crypto(4, 'B')]);
    let [offered, answered] = call(world, &offer, &answer);
    assert_eq!(offered[0], attribute(&crypto(4, 'A')));
    assert_eq!(answered, [attribute(&crypto(4, 'B'))]);
    assert!(passes(world));
}

#[test]
fn a_plain_branch_sends_nothing_to_a_party_whose_keys_pass() {
    let mut world = world();
    passing(&mut world);
    let offer = towards(srtp("a", None, A, &[&crypto(4, 'A')]), Protocol::RtpAvp);
    world.offer(&offer).unwrap();
    let [a, b, branch] = world.streams() else { panic!("three streams") };
    assert_eq!((a.peer, b.peer), (Some(1), Some(0)));
    assert_eq!((&branch.receive_key, branch.peer), (&Key::Clear, None), "early media in clear");
}

#[test]
fn packets_with_an_mki_do_not_pass_as_they_are() {
    let mut world = world();
    let line = format!("{}|2^20|7:2", crypto(4, 'A'));
    let offered = section(&world.offer(&srtp("a", None, A, &[&line])).unwrap());
    assert!(offered.crypto.iter().all(|c| c.key != attribute(&line).key));

    let mut world = self::world();
    world.offer(&srtp("a", None, A, &[&crypto(4, 'A')])).unwrap();
    let line = format!("{}|2^20|7:2", crypto(4, 'B'));
    let answered = world.answer(&srtp("a", Some("b"), B, &[&line])).unwrap();
    assert_eq!(section(&answered).port, 0);
    assert!(!answered.warnings.is_empty());
}

#[test]
fn a_plain_offer_gets_no_srtp_answer_under_a_key_passed_on() {
    let mut world = world();
    world.offer(&srtp("a", Some("c"), A, &[&crypto(3, 'A')])).unwrap();
    let plain = audio(B, 5000, "RTP/AVP", &[]);
    world.offer(&signal("b", None, &plain)).unwrap();
    let answered = world.answer(&srtp("b", Some("c"), B, &[&crypto(3, 'B')])).unwrap();
    assert_eq!((section(&answered).port, section(&answered).crypto.len()), (0, 0));
}
