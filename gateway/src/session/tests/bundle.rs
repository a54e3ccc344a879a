//! BUNDLE with one section a group, and the `mid`s that a browser knows its sections by.

use ng::sdp::Sdp;

use super::browser::{Browser, plain, to_browser, to_trunk, world};
use super::world::{A, B, read, signal};

/// A browser's body with these sections in one group.
fn bundled(browser: &Browser, sections: usize) -> String {
    let body = browser.body();
    let (session, media) = body.split_at(body.find("m=").unwrap());
    let mids: Vec<String> = (0..sections).map(|mid| mid.to_string()).collect();
    let mut bundled = format!("{session}a=group:BUNDLE {}\r\n", mids.join(" "));
    for mid in mids {
        bundled += &media.replace("a=mid:0", &format!("a=mid:{mid}"));
    }
    bundled
}

fn groups(sdp: &Sdp) -> Vec<Vec<&[u8]>> {
    let groups = sdp.session.bundles.iter();
    groups.map(|group| group.mids.iter().map(|mid| &mid[..]).collect()).collect()
}

#[test]
fn a_browser_finds_its_group_and_its_mid_in_an_answer_whose_party_has_neither() {
    let mut world = world();
    let body = bundled(&Browser::offering(), 1);
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
fn the_sections_of_a_bundle_are_taken_one_by_one_each_with_a_stream_of_its_own() {
    let mut world = world();
    let body = bundled(&Browser::offering(), 2);
    world.offer(&to_browser(signal("a", None, &body))).unwrap();
    let body = bundled(&Browser::answering(), 2);
    let answered = read(&world.answer(&to_browser(signal("a", Some("b"), &body))).unwrap());
    assert_eq!(groups(&answered), [[b"0"]]);
    let [first, second] = &answered.media[..] else { panic!("two sections") };
    assert_ne!(first.port, second.port);
    assert_ne!(first.ice.credentials(), second.ice.credentials());
    assert_eq!(world.legs.len(), 4);
}

#[test]
fn a_plain_offer_or_answer_has_no_group() {
    let mut world = world();
    let body = bundled(&Browser::offering(), 1);
    let offered = read(&world.offer(&to_trunk(signal("a", None, &body))).unwrap());
    assert!(offered.session.bundles.is_empty());
    let mut world = self::world();
    world.offer(&to_browser(signal("a", None, &plain(A)))).unwrap();
    let body = bundled(&Browser::answering(), 1);
    let answered = read(&world.answer(&to_trunk(signal("a", Some("b"), &body))).unwrap());
    assert!(answered.session.bundles.is_empty());
}

#[test]
fn a_trunk_that_offers_again_meets_the_mid_that_the_browser_knows() {
    let mut world = world();
    let body = bundled(&Browser::offering(), 1).replace("a=mid:0", "a=mid:mic");
    let body = body.replace("BUNDLE 0", "BUNDLE mic");
    world.offer(&to_trunk(signal("a", None, &body))).unwrap();
    world.answer(&signal("a", Some("b"), &plain(B))).unwrap();
    let back = to_browser(signal("b", Some("a"), &plain(B)));
    let offered = read(&world.offer(&back).unwrap());
    assert_eq!(offered.media[0].mid.as_deref(), Some(&b"mic"[..]));
    assert_eq!(groups(&offered), [[b"mic"]]);
}
