//! New keys by the next offer: which legs are marked, what the offer then shows, when the mark goes.

use std::time::Duration;

use ng::sdp::Protocol;

use super::browser::{Browser, plain, to_browser, to_trunk, world as with_agents};
use super::world::{A, B, Key, World, audio, crypto, read, section, signal, towards};
use crate::relay::command::{CallKey, StreamIndex};
use crate::session::rekey::{Act, Way, Wish};
use crate::webrtc::plan::{Epoch, LegNewsKind};

const ALL: Wish<'_> = Wish { tag: None, older_than: Duration::ZERO, act: Act::Mark };

fn call(world: &World) -> CallKey {
    *world.worker.keys().next().unwrap()
}

fn offer_to_srtp(world: &mut World, to: Option<&str>) -> ng::sdp::MediaSection {
    let body = audio(A, 4000, "RTP/AVP", &[]);
    section(&world.offer(&towards(signal("a", to, &body), Protocol::RtpSavp)).unwrap())
}

/// The callee takes what it was offered of its suite, and keeps its own key.
fn answer_srtp(world: &mut World, offered: &ng::sdp::MediaSection) {
    let suite = srtp::Profile::AesCm128HmacSha1_80;
    let tag = offered.crypto.iter().find(|line| line.profile() == suite).unwrap().tag;
    let body = audio(B, 5000, "RTP/SAVP", &[&crypto(tag, 'B')]);
    world.answer(&signal("a", Some("b"), &body)).unwrap();
}

/// A plain caller, and a callee under SDES.
fn called() -> World {
    let mut world = World::new();
    let offered = offer_to_srtp(&mut world, None);
    answer_srtp(&mut world, &offered);
    world
}

const CALLEE: StreamIndex = StreamIndex(1);

#[test]
fn without_a_mark_a_re_invite_keeps_the_key_in_force() {
    let mut world = called();
    let before = world.streams()[1].keyed;
    let offered = offer_to_srtp(&mut world, Some("b"));
    assert_eq!(
        Key::Srtp(offered.crypto[0].key.master.dangerous_duplicate()),
        world.streams()[1].send_key
    );
    answer_srtp(&mut world, &offered);
    assert_eq!(world.streams()[1].keyed, before);
}

#[test]
fn a_marked_leg_is_offered_another_key_and_has_it_once_that_is_answered() {
    let mut world = called();
    assert_eq!(world.rekey(ALL), [(CALLEE, Way::NextOffer)], "the plain leg has no keys");
    assert_eq!(world.rekey(ALL), [(CALLEE, Way::Due)]);
    let keyed = world.streams()[1].keyed;
    let offered = offer_to_srtp(&mut world, Some("b"));
    let is_in_force = |world: &World, section: &ng::sdp::MediaSection| {
        let shown = |crypto: &ng::sdp::CryptoAttribute| {
            Key::Srtp(crypto.key.master.dangerous_duplicate()) == world.streams()[1].send_key
        };
        section.crypto.iter().any(shown)
    };
    assert!(!is_in_force(&world, &offered), "the key in force is not shown again");
    assert_eq!(world.streams()[1].keyed, keyed, "and is used until the answer");
    // Asked twice: the same new keys are shown, since either offer may be the one answered.
    assert_eq!(offer_to_srtp(&mut world, Some("b")).crypto, offered.crypto);
    answer_srtp(&mut world, &offered);
    assert!(is_in_force(&world, &offered));
    assert_eq!(world.streams()[1].keyed, (keyed.0, keyed.1 + 1), "the party kept its own");
    assert_eq!(world.rekey(Wish { act: Act::Tell, ..ALL }), [(CALLEE, Way::NextOffer)]);
}

#[test]
fn a_mark_is_kept_over_an_answer_to_the_party_and_over_a_refused_offer() {
    let mut world = called();
    world.rekey(ALL);
    // The callee offers: what the answer shows it stays, as it would be in use before it is read.
    let keyed = world.streams()[1].keyed;
    let body = audio(B, 5000, "RTP/SAVP", &[&crypto(3, 'B')]);
    world.offer(&towards(signal("b", Some("a"), &body), Protocol::RtpAvp)).unwrap();
    world.answer(&signal("b", Some("a"), &audio(A, 4000, "RTP/AVP", &[]))).unwrap();
    assert_eq!(world.streams()[1].keyed, keyed);
    offer_to_srtp(&mut world, Some("b"));
    assert_eq!(world.rekey(ALL), [(CALLEE, Way::Due)], "until another key is in force");
}

#[test]
fn telling_marks_nothing_and_age_and_tag_choose() {
    let mut world = called();
    let tell = Wish { act: Act::Tell, ..ALL };
    assert_eq!(world.rekey(tell), [(CALLEE, Way::NextOffer)]);
    assert_eq!(world.rekey(tell), [(CALLEE, Way::NextOffer)]);
    assert_eq!(world.rekey(Wish { tag: Some(b"a"), ..tell }), []);
    assert_eq!(world.rekey(Wish { tag: Some(b"b"), ..tell }), [(CALLEE, Way::NextOffer)]);
    let old = Wish { older_than: Duration::from_secs(60), ..tell };
    assert_eq!(world.rekey(old), []);
    world.now += Duration::from_secs(60);
    assert_eq!(world.rekey(old), [(CALLEE, Way::NextOffer)]);
}

#[test]
fn a_key_near_its_limit_is_replaced_by_the_next_offer() {
    let mut world = called();
    let key = call(&world);
    let now = world.now;
    let (unnamed, other) = (srtp::Mki::none(), srtp::Mki::new(&[1]).unwrap());
    assert_eq!(world.calls.rekey_leg(key, CALLEE, &other, now), None, "of a line before");
    assert_eq!(world.calls.rekey_leg(key, CALLEE, &unnamed, now), Some(Way::NextOffer));
    assert_eq!(world.calls.rekey_leg(key, StreamIndex(9), &unnamed, now), None);
    assert_eq!(world.rekey(ALL), [(CALLEE, Way::Due)]);
}

/// Under which handshakes are done here.
const PROFILE: srtp::Profile = srtp::Profile::AeadAes128Gcm;

fn secured(epoch: u32) -> LegNewsKind {
    LegNewsKind::Secured { epoch: Epoch(epoch), profile: PROFILE }
}

/// A plain trunk that called a browser, answered and secured.
fn to_a_browser(browser: &Browser) -> World {
    let mut world = with_agents();
    world.offer(&to_browser(signal("a", None, &plain(A)))).unwrap();
    world.answer(&to_trunk(browser.signal("a", Some("b")))).unwrap();
    world.hear(1, secured(1));
    world
}

#[test]
fn a_marked_dtls_leg_is_offered_another_tls_id_and_begins_anew() {
    let peer = |tls_id| Browser { tls_id: Some(tls_id), ..Browser::answering() };
    let mut world = to_a_browser(&peer("0123456789abcdef0123"));
    let again = |world: &mut World| {
        section(&world.offer(&to_browser(signal("a", Some("b"), &plain(A)))).unwrap())
    };
    let before = again(&mut world);
    assert_eq!(world.rekey(ALL), [(CALLEE, Way::NextOffer)]);
    let offered = again(&mut world);
    assert_ne!(offered.dtls.tls_id, before.dtls.tls_id);
    assert_eq!(offered.ice.credentials(), before.ice.credentials(), "a tls-id is enough");
    assert_eq!(again(&mut world).dtls.tls_id, offered.dtls.tls_id, "asked twice");
    world.answer(&to_trunk(peer("another-0123456789ab").signal("a", Some("b")))).unwrap();
    assert_eq!(world.leg(1).unwrap().dtls.as_ref().unwrap().epoch, Epoch(2));
    assert_eq!(world.rekey(ALL), [(CALLEE, Way::Due)], "until the handshake is done");
    assert_eq!(again(&mut world).dtls.tls_id, offered.dtls.tls_id, "which is not begun again");
    world.hear(1, secured(2));
    assert_eq!(world.rekey(ALL), [(CALLEE, Way::NextOffer)]);
}

#[test]
fn where_a_party_goes_on_with_its_association_the_mark_and_the_age_stay() {
    let mut world = to_a_browser(&Browser::answering());
    world.rekey(ALL);
    world.now += Duration::from_secs(60);
    world.offer(&to_browser(signal("a", Some("b"), &plain(A)))).unwrap();
    let restarted = Browser { generation: 'b', ..Browser::answering() };
    world.answer(&to_trunk(restarted.signal("a", Some("b")))).unwrap();
    let tell = Wish { act: Act::Tell, ..ALL };
    let old = Wish { older_than: Duration::from_secs(60), ..tell };
    let kept = LegNewsKind::Continued { epoch: Epoch(2), profile: PROFILE };
    for news in [kept, secured(1)] {
        assert_eq!(world.rekey(old), [(CALLEE, Way::Due)], "before {news:?}");
        world.hear(1, news);
    }
    assert_eq!(world.rekey(old), [(CALLEE, Way::Due)]);
    // It begins anew after all.
    world.hear(1, secured(2));
    assert_eq!(world.rekey(old), []);
    assert_eq!(world.rekey(tell), [(CALLEE, Way::NextOffer)]);
}

#[test]
fn to_a_party_without_tls_id_ice_restarts_too() {
    let mut world = to_a_browser(&Browser::answering());
    world.rekey(ALL);
    let before = world.leg(1).unwrap().ice.clone().unwrap().local;
    let offered = world.offer(&to_browser(signal("a", Some("b"), &plain(A)))).unwrap();
    let shown = read(&offered).media.remove(0).ice.credentials().unwrap();
    assert_ne!(shown, before);
    let restarted = Browser { generation: 'b', ..Browser::answering() };
    world.answer(&to_trunk(restarted.signal("a", Some("b")))).unwrap();
    let plan = world.leg(1).unwrap();
    assert_eq!(plan.ice.as_ref().unwrap().local, shown);
    assert_eq!(plan.dtls.as_ref().unwrap().epoch, Epoch(2));
}

#[test]
fn a_party_with_neither_tls_id_nor_ice_cannot_be_rekeyed_and_why_is_told() {
    let mut world = with_agents();
    let mut offer = to_browser(signal("a", None, &plain(A)));
    offer.ice.mode = ng::request::IceMode::Remove;
    world.offer(&offer).unwrap();
    world.answer(&to_trunk(Browser::answering().signal("a", Some("b")))).unwrap();
    let [(CALLEE, Way::NotPossible(reason))] = world.rekey(ALL)[..] else { panic!("one leg") };
    assert!(reason.contains("tls-id"), "{reason}");
    assert!(matches!(world.rekey(ALL)[..], [(_, Way::NotPossible(_))]));
}
