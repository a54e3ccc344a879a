//! Several keys of ours on a line: who gets them, how they are gone through by MKI, and what an offer
//! brings once the last is in use.

use std::time::Duration;

use ng::request::{Sdes, Signal};
use ng::sdp::{CryptoAttribute, Protocol};
use srtp::{Mki, Profile};

use super::world::{
    A, B, Key, World, audio, crypto, read, rotating, section, settings, signal, text, towards,
};
use crate::relay::command::StreamIndex;
use crate::session::rekey::{Act, OwnKeys, Switch, Way, Wish};
use crate::session::{Compat, Settings};

const ALL: Wish<'_> = Wish { tag: None, older_than: Duration::ZERO, act: Act::Mark };
/// What [`crypto`] and [`rotating`] are under.
const SUITE: Profile = Profile::AesCm128HmacSha1_80;
const CALLER: StreamIndex = StreamIndex(0);
const CALLEE: StreamIndex = StreamIndex(1);

/// A caller with several keys of its own.
fn offer() -> Signal {
    signal("a", None, &audio(A, 5000, "RTP/SAVP", &[&rotating(1, &[(1, 'A'), (2, 'C')])]))
}

fn plain_answer() -> Signal {
    signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", &[]))
}

/// Such a caller, answered by a plain callee; what it is shown.
fn called(world: &mut World) -> CryptoAttribute {
    world.offer(&towards(offer(), Protocol::RtpAvp)).unwrap();
    section(&world.answer(&plain_answer()).unwrap()).crypto.remove(0)
}

/// What a plain caller's offer shows an SRTP callee.
fn offered(world: &mut World, to: Option<&str>) -> Vec<CryptoAttribute> {
    let plain = signal("a", to, &audio(A, 4000, "RTP/AVP", &[]));
    section(&world.offer(&towards(plain, Protocol::RtpSavp)).unwrap()).crypto
}

/// The callee takes the line of its suite.
fn answer(world: &mut World, offered: &[CryptoAttribute]) {
    let tag = offered.iter().find(|line| line.profile() == SUITE).unwrap().tag;
    let body = audio(B, 5000, "RTP/SAVP", &[&crypto(tag, 'B')]);
    world.answer(&signal("a", Some("b"), &body)).unwrap();
}

fn mkis(line: &CryptoAttribute) -> Vec<&[u8]> {
    line.keys().map(|key| key.mki.as_bytes()).collect()
}

/// A step, by its MKIs and what is left then.
fn step(way: Way) -> (u8, u8, usize) {
    let Way::AtOnce(Switch { from, to: OwnKeys { mki, left } }) = way else { panic!("{way:?}") };
    (from.number(), mki.number(), left)
}

fn several_in_offers() -> Settings {
    Settings { offer_several_keys: true, ..settings() }
}

#[test]
fn a_party_that_names_several_keys_is_answered_with_several() {
    let mut world = World::new();
    let shown = called(&mut world);
    assert_eq!(mkis(&shown), [[1], [2]]);
    let worker = &world.streams()[0];
    let ours: Vec<_> = worker.send_keys.as_ref().unwrap().iter().collect();
    assert!(ours.iter().zip(shown.keys()).all(|(a, b)| a.mki == b.mki && a.master == b.master));
    assert_ne!(ours[0].master, ours[1].master);
    assert_eq!(worker.send_key, Key::Srtp(shown.key.master.dangerous_duplicate()), "the first");
}

#[test]
fn who_names_one_key_is_answered_with_one_whatever_its_mki() {
    for line in [crypto(1, 'A'), rotating(1, &[(1, 'A')])] {
        let mut world = World::with(Settings { keys_a_line: 4, ..settings() });
        let offer = signal("a", None, &audio(A, 5000, "RTP/SAVP", &[&line]));
        world.offer(&towards(offer, Protocol::RtpAvp)).unwrap();
        let shown = section(&world.answer(&plain_answer()).unwrap()).crypto.remove(0);
        assert_eq!(mkis(&shown), [[0_u8; 0]], "{line}");
    }
}

#[test]
fn where_one_key_a_line_is_wanted_nobody_gets_more() {
    let one = Settings { keys_a_line: 1, ..several_in_offers() };
    let mut world = World::with(one.clone());
    assert_eq!(mkis(&called(&mut world)), [[0_u8; 0]]);
    assert_eq!(world.rekey(ALL), [(CALLER, Way::NextOffer)]);
    let mut world = World::with(one);
    assert!(offered(&mut world, None).iter().all(|line| line.further.is_empty()));
}

#[test]
fn offers_have_one_key_a_line_unless_the_operator_wants_more() {
    let mut world = World::new();
    assert!(offered(&mut world, None).iter().all(|line| mkis(line) == [[0_u8; 0]]));
    let mut world = World::with(Settings { keys_a_line: 3, ..several_in_offers() });
    let lines = offered(&mut world, None);
    assert!(lines.iter().all(|line| mkis(line) == [[1], [2], [3]]));
    let keys = || lines.iter().flat_map(CryptoAttribute::keys);
    let same = |key: &ng::sdp::InlineKey| keys().filter(|k| k.master == key.master).count();
    assert!(keys().all(|key| same(key) == 1), "no key twice");
    answer(&mut world, &lines);
    let worker = &world.streams()[1];
    assert_eq!(worker.send_keys.as_ref().unwrap().iter().count(), 3);
}

#[test]
fn each_of_several_keys_is_printed_with_its_lifetime_and_mki() {
    let mut world = World::with(several_in_offers());
    let plain = signal("a", None, &audio(A, 4000, "RTP/AVP", &[]));
    let sdes = Sdes { lifetime: true, ..Sdes::default() };
    let offer = Signal { sdes, ..towards(plain, Protocol::RtpSavp) };
    let offered = text(&world.offer(&offer).unwrap());
    assert!(offered.contains("|2^31|1:1;inline:"), "{offered}");
    assert!(offered.contains("|2^31|2:1\r\n"), "{offered}");
}

#[test]
fn keys_are_gone_through_once_each_then_the_next_offer_brings_fresh_ones() {
    let mut world = World::with(Settings { keys_a_line: 3, ..settings() });
    let shown = called(&mut world);
    let keyed = world.streams()[0].keyed;
    let [(CALLER, first)] = world.rekey(ALL)[..] else { panic!("one SRTP leg") };
    let [(CALLER, second)] = world.rekey(ALL)[..] else { panic!("one SRTP leg") };
    assert_eq!([step(first), step(second)], [(1, 2, 1), (2, 3, 0)]);
    let last = shown.further[1].master.dangerous_duplicate();
    assert_eq!(world.streams()[0].send_key, Key::Srtp(last));
    assert_eq!(world.streams()[0].keyed, keyed, "no key was set anew");
    assert_eq!(world.rekey(ALL), [(CALLER, Way::NextOffer)]);
    assert_eq!(world.rekey(ALL), [(CALLER, Way::Due)]);

    // The plain side offers: what the party may answer is other keys, under other MKIs.
    let back = signal("b", Some("a"), &audio(B, 5000, "RTP/AVP", &[]));
    let fresh = section(&world.offer(&towards(back, Protocol::RtpSavp)).unwrap()).crypto;
    assert!(fresh.iter().all(|line| mkis(line) == [[4], [5], [6]]), "{fresh:?}");
    let tag = fresh.iter().find(|line| line.profile() == SUITE).unwrap().tag;
    let body = audio(A, 5000, "RTP/SAVP", &[&crypto(tag, 'A')]);
    world.answer(&signal("b", Some("a"), &body)).unwrap();
    let [(CALLER, way)] = world.rekey(Wish { act: Act::Tell, ..ALL })[..] else { panic!("one") };
    assert_eq!(step(way), (4, 5, 1));
}

#[test]
fn a_re_invite_and_an_answer_again_show_the_same_line_and_undo_no_step() {
    let mut world = World::new();
    let shown = called(&mut world);
    world.rekey(ALL);
    let worker = &world.streams()[0];
    let (keyed, in_use) = (worker.keyed, worker.send_mki.clone());
    assert_eq!(in_use.as_bytes(), [2]);
    assert_eq!(
        section(&world.answer(&plain_answer()).unwrap()).crypto,
        [shown.dangerous_duplicate()]
    );
    let again = Signal { to_tag: Some("b".into()), ..towards(offer(), Protocol::RtpAvp) };
    world.offer(&again).unwrap();
    // A step between offer and answer is none back either.
    assert_eq!(
        section(&world.answer(&plain_answer()).unwrap()).crypto,
        [shown.dangerous_duplicate()]
    );
    // Nor does an offer the other way round begin the line again.
    let back = signal("b", Some("a"), &audio(B, 5000, "RTP/AVP", &[]));
    let offered = section(&world.offer(&towards(back, Protocol::RtpSavp)).unwrap()).crypto;
    assert_eq!(offered[0].keys().map(|key| &key.master).collect::<Vec<_>>(), {
        shown.keys().map(|key| &key.master).collect::<Vec<_>>()
    });
    let line = crypto(offered[0].tag, 'A');
    world.answer(&signal("b", Some("a"), &audio(A, 5000, "RTP/SAVP", &[&line]))).unwrap();
    assert_eq!((world.streams()[0].keyed.1, &world.streams()[0].send_mki), (keyed.1, &in_use));
    assert_eq!(world.rekey(ALL), [(CALLER, Way::NextOffer)], "the last is in use");
}

#[test]
fn a_step_between_an_offer_and_its_answer_is_kept() {
    let mut world = World::with(several_in_offers());
    let first = offered(&mut world, None);
    answer(&mut world, &first);
    let again = offered(&mut world, Some("b"));
    let [(CALLEE, way)] = world.rekey(ALL)[..] else { panic!("one SRTP leg") };
    assert_eq!(step(way), (1, 2, 0));
    answer(&mut world, &again);
    assert_eq!(world.streams()[1].keyed.1, 1);
    assert_eq!(world.rekey(ALL), [(CALLEE, Way::NextOffer)]);
}

#[test]
fn telling_takes_no_step_and_a_key_near_its_limit_gives_way_to_the_next() {
    let mut world = World::new();
    called(&mut world);
    for _ in 0..2 {
        let [(CALLER, way)] = world.rekey(Wish { act: Act::Tell, ..ALL })[..] else {
            panic!("one")
        };
        assert_eq!(step(way), (1, 2, 0));
    }
    world.now += Duration::from_secs(60);
    let old = Wish { older_than: Duration::from_secs(60), ..ALL };
    let call = *world.worker.keys().next().unwrap();
    assert_eq!(world.rekey(Wish { act: Act::Tell, ..old }).len(), 1);
    let now = world.now;
    let [first, second] = [1, 2].map(|mki| Mki::new(&[mki]).unwrap());
    let way = world.calls.rekey_leg(call, CALLER, &first, now).unwrap();
    assert_eq!(step(way), (1, 2, 0));
    assert_eq!(world.rekey(old), [], "the key in use is new");
    assert_eq!(world.calls.rekey_leg(call, CALLER, &first, now), None, "told before the step");
    assert_eq!(world.calls.rekey_leg(call, CALLER, &second, now), Some(Way::NextOffer));
}

#[test]
fn a_key_that_the_worker_went_on_to_by_itself_counts_as_in_use_and_one_behind_does_not() {
    let mut world = World::with(Settings { keys_a_line: 3, ..settings() });
    called(&mut world);
    let call = *world.worker.keys().next().unwrap();
    let now = world.now;
    let mut met = |mki| {
        let mki = Mki::new(&[mki]).unwrap();
        world.calls.rekey_leg(call, CALLER, &mki, now)
    };
    assert_eq!(met(2).map(step), Some((2, 3, 0)), "the first was exhausted");
    assert_eq!(met(1), None, "the worker went back to it");
    assert_eq!(met(3), Some(Way::NextOffer));
    assert_eq!(met(1), None);
    assert_eq!(world.rekey(ALL), [(CALLER, Way::Due)]);
}

#[test]
fn under_reset_fresh_keys_have_mkis_that_the_party_holds_no_old_ones_under() {
    let mut world = World::with(several_in_offers());
    let first = offered(&mut world, None);
    answer(&mut world, &first);
    let plain = signal("a", Some("b"), &audio(A, 4000, "RTP/AVP", &[]));
    let mut reset = towards(plain, Protocol::RtpSavp);
    reset.flags.reset = true;
    let fresh = section(&world.offer(&reset).unwrap()).crypto;
    assert!(fresh.iter().all(|line| mkis(line) == [[3], [4]]), "{fresh:?}");
}

#[test]
fn a_key_that_passes_from_party_to_party_is_alone_on_its_line() {
    let incumbent = Settings { compat: Compat::Rtpengine, ..several_in_offers() };
    let mut world = World::with(incumbent);
    let srtp = |from, to, address, line: &str| {
        signal(from, to, &audio(address, 5000, "RTP/SAVP", &[line]))
    };
    let offered = read(&world.offer(&srtp("a", None, A, &crypto(4, 'A'))).unwrap());
    let lines = &offered.media[0].crypto;
    assert_eq!(lines[0].tag, 4);
    assert_eq!(mkis(&lines[0]), [[0_u8; 0]]);
    assert!(lines[1..].iter().all(|line| mkis(line) == [[1], [2]]), "ours, where they do not pass");
    let answer = srtp("a", Some("b"), B, &crypto(4, 'B'));
    let answered = section(&world.answer(&answer).unwrap());
    assert_eq!(mkis(&answered.crypto[0]), [[0_u8; 0]]);
    let ways = world.rekey(ALL);
    assert!(ways.iter().all(|(_, way)| matches!(way, Way::NotPossible(_))), "{ways:?}");
}

#[test]
fn mkis_count_on_and_begin_again_before_they_end() {
    let mut world = World::with(Settings { keys_a_line: 8, ..several_in_offers() });
    let mut first_of_each = Vec::new();
    let mut to = None;
    for _ in 0..33 {
        let lines = offered(&mut world, to);
        let line = lines.iter().find(|line| line.profile() == SUITE).unwrap();
        first_of_each.push(mkis(line)[0][0]);
        assert!(mkis(line).iter().all(|mki| mki[0] > 0));
        answer(&mut world, &lines);
        to = Some("b");
        for _ in 0..8 {
            world.rekey(ALL);
        }
    }
    assert_eq!(first_of_each[..3], [1, 9, 17]);
    assert_eq!(first_of_each[30..], [241, 1, 9]);
}
