//! Trickled candidates: fragments between offers and answers.

use ng::request::Signal;

use super::browser::{Browser, plain, to_browser, to_trunk, world};
use super::world::{A, B, World, signal};
use crate::session::Refused;

fn fragment(from: &str, to: Option<&str>, generation: &str, lines: &str) -> Signal {
    let body = format!(
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{lines}",
        generation.repeat(4),
        generation.repeat(24)
    );
    let mut fragment = signal(from, to, &body);
    fragment.flags.fragment = true;
    fragment
}

fn candidate(port: u16) -> String {
    format!(
        "a=candidate:2 1 udp 1694498815 198.51.100.77 {port} typ srflx raddr 0.0.0.0 rport 0\r\n"
    )
}

/// Ports of the candidates that a stream's agents know of, and whether these are all.
fn known(world: &World, stream: u16) -> (Vec<u16>, bool) {
    let ice = world.leg(stream).unwrap().ice.as_ref().unwrap();
    (ice.candidates.iter().map(|candidate| candidate.address.port()).collect(), ice.complete)
}

fn trickling() -> Browser {
    let mut browser = Browser::offering();
    browser.further.push("ice-options:trickle".into());
    browser
}

#[test]
fn candidates_that_come_before_the_answer_are_known_with_it() {
    let mut world = world();
    world.offer(&to_trunk(trickling().signal("a", None))).unwrap();
    let taken = world.offer(&fragment("a", None, "a", &candidate(7000))).unwrap();
    assert!(taken.sdp.is_empty() && taken.plan.is_none() && taken.legs.is_empty());
    world.answer(&signal("a", Some("b"), &plain(B))).unwrap();
    assert_eq!(known(&world, 0), (vec![4000, 7000], false));
}

#[test]
fn candidates_that_come_later_are_told_once_and_only_to_their_leg() {
    let mut world = world();
    let mut answering = trickling();
    answering.setup = "active";
    world.offer(&to_browser(trickling().signal("a", None))).unwrap();
    world.answer(&to_browser(answering.signal("a", Some("b")))).unwrap();
    let late = fragment("a", Some("b"), "a", &candidate(7000));
    assert_eq!(world.answer(&late).unwrap().legs.len(), 1);
    assert_eq!(known(&world, 1), (vec![4000, 7000], false));
    assert_eq!(known(&world, 0), (vec![4000], false));
    let expected = "198.51.100.77:7000".parse().unwrap();
    let named = |stream: usize| world.streams()[stream].tap.unwrap().named;
    assert!(named(1).contains(expected) && !named(0).contains(expected), "the worker knows too");
    assert!(world.answer(&late).unwrap().legs.is_empty(), "no news");

    let last = fragment("a", Some("b"), "a", "a=end-of-candidates\r\n");
    world.offer(&last).unwrap();
    assert_eq!(known(&world, 0), (vec![4000], true));
}

#[test]
fn candidates_that_come_ahead_of_their_partys_words_wait_for_them() {
    let mut world = world();
    let mut answering = trickling();
    answering.setup = "active";
    world.offer(&to_browser(trickling().signal("a", None))).unwrap();
    let ahead = world.offer(&fragment("b", Some("a"), "a", &candidate(7000))).unwrap();
    assert!(ahead.legs.is_empty() && ahead.warnings.is_empty());
    let restarted = fragment("a", Some("b"), "z", &candidate(7001));
    assert!(world.answer(&restarted).unwrap().warnings.is_empty());
    world.answer(&to_browser(answering.signal("a", Some("b")))).unwrap();
    assert_eq!(known(&world, 1), (vec![4000, 7000], false), "of the first generation alone");

    let again = Browser { generation: 'z', ..trickling() };
    world.offer(&to_browser(again.signal("b", Some("a")))).unwrap();
    world.answer(&to_browser(answering.signal("b", Some("a")))).unwrap();
    assert_eq!(known(&world, 1), (vec![4000, 7001], false));
}

#[test]
fn candidates_of_another_generation_or_of_nobody_are_left_out() {
    let mut world = world();
    world.offer(&to_trunk(trickling().signal("a", None))).unwrap();
    world.answer(&signal("a", Some("b"), &plain(B))).unwrap();
    let old = fragment("a", None, "z", &candidate(7000));
    assert!(world.offer(&old).unwrap().legs.is_empty());
    let nobodys = fragment("a", None, "a", &candidate(7000));
    assert!(!world.answer(&nobodys).unwrap().warnings.is_empty());
    let strangers = fragment("x", None, "a", &candidate(7000));
    assert!(world.offer(&strangers).unwrap().legs.is_empty());
    assert_eq!(known(&world, 0).0, [4000]);
    let elsewhere = Signal { call_id: "other".into(), ..fragment("a", None, "a", "") };
    assert_eq!(world.offer(&elsewhere).unwrap_err(), Refused::UNKNOWN_CALL);
}

#[test]
fn what_waits_is_bounded_and_the_newest_stays() {
    let mut world = world();
    world.offer(&to_browser(trickling().signal("a", None))).unwrap();
    for port in 7000..7100 {
        world.answer(&fragment("a", Some("b"), "a", &candidate(port))).unwrap();
    }
    let large: String = (8000..8100).map(candidate).collect();
    let left_out = world.answer(&fragment("a", Some("b"), "a", &large)).unwrap();
    assert_eq!(left_out.warnings.len(), 1);
    let answering = Browser { setup: "active", ..trickling() };
    world.answer(&to_browser(answering.signal("a", Some("b")))).unwrap();
    let expected: Vec<u16> = [4000].into_iter().chain(7092..7100).collect();
    assert_eq!(known(&world, 1).0, expected);
}

#[test]
fn a_flood_of_candidates_is_bounded() {
    let mut world = world();
    world.offer(&to_trunk(trickling().signal("a", None))).unwrap();
    world.answer(&signal("a", Some("b"), &plain(A))).unwrap();
    for flood in 0..40 {
        let lines: String = (0..50).map(|at| candidate(10_000 + flood * 50 + at)).collect();
        world.offer(&fragment("a", None, "a", &lines)).unwrap();
    }
    assert_eq!(known(&world, 0).0.len(), 64);
}
