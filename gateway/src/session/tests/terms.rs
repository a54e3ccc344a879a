//! What protection may lack: what is offered and taken without leave, with leave, and in the
//! incumbent's ways.

use ng::request::{Sdes, Signal};
use ng::sdp::{CryptoAttribute, Protocol};
use srtp::{Profile, SessionParameters, Weakness, Weaknesses};

use super::world::{A, B, Key, World, audio, crypto, section, settings, signal, text, towards};
use crate::session::settings::{INCUMBENTS_SUITES, SUITES};
use crate::session::{Compat, Refused, Settings};
use crate::weakness;

const NONE: SessionParameters = SessionParameters {
    unencrypted_rtp: false,
    unencrypted_rtcp: false,
    unauthenticated_rtp: false,
};
const CLEAR_RTCP: SessionParameters = SessionParameters { unencrypted_rtcp: true, ..NONE };

fn ours() -> Settings {
    Settings { suites: SUITES.to_vec(), ..settings() }
}

fn accepting(accepted: &[Weakness]) -> Settings {
    let accepted = accepted.iter().fold(Weaknesses::NONE, |set, weakness| set.with(*weakness));
    Settings { accepted, ..ours() }
}

fn incumbent() -> Settings {
    Settings {
        compat: Compat::Rtpengine,
        suites: INCUMBENTS_SUITES.to_vec(),
        accepted: weakness::every(),
        ..settings()
    }
}

fn plain(from: &str, to: Option<&str>, address: &str) -> Signal {
    signal(from, to, &audio(address, 5000, "RTP/AVP", &[]))
}

fn srtp(from: &str, to: Option<&str>, address: &str, attributes: &[&str]) -> Signal {
    signal(from, to, &audio(address, 5000, "RTP/SAVP", attributes))
}

fn line(tag: u32, profile: Profile, parameters: &str) -> String {
    // Four bytes of zeros in three characters: as many as the suite's key and salt need.
    let characters = ((profile.key_len() + profile.salt_len()) * 8).div_ceil(6);
    format!("crypto:{tag} {profile} inline:{} {parameters}", "A".repeat(characters))
}

fn offered(world: &mut World, offer: &Signal) -> Vec<CryptoAttribute> {
    section(&world.offer(offer).unwrap()).crypto
}

fn profiles(lines: &[CryptoAttribute]) -> Vec<Profile> {
    lines.iter().map(CryptoAttribute::profile).collect()
}

#[test]
fn by_default_strong_suites_are_offered_and_short_tags_last() {
    let mut world = World::with(ours());
    let lines = offered(&mut world, &towards(plain("a", None, A), Protocol::RtpSavp));
    assert_eq!(profiles(&lines), SUITES);
    assert!(lines.iter().all(|line| line.session == NONE));
}

#[test]
fn every_suite_that_protects_is_taken_when_offered_and_the_weak_ones_are_not_there() {
    for profile in Profile::ALL {
        let mut world = World::with(ours());
        let offer = towards(srtp("a", None, A, &[&line(1, profile, "")]), Protocol::RtpAvp);
        match profile.weakness() {
            Some(_) => assert_eq!(world.offer(&offer).unwrap_err(), Refused::NO_KEY),
            None => {
                world.offer(&offer).unwrap();
                let answered = section(&world.answer(&plain("a", Some("b"), B)).unwrap());
                assert_eq!(profiles(&answered.crypto), [profile]);
            }
        }
    }
}

#[test]
fn a_line_that_leaves_out_what_is_not_accepted_is_as_if_it_was_not_there() {
    for name in ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "KDR=1"] {
        let weak = format!("{} {name}", crypto(1, 'A'));
        let mut world = World::with(ours());
        let alone = towards(srtp("a", None, A, &[&weak]), Protocol::RtpAvp);
        assert_eq!(world.offer(&alone).unwrap_err(), Refused::NO_KEY, "{name}");
        let both = srtp("a", None, A, &[&weak, &crypto(2, 'C')]);
        let both = world.offer(&towards(both, Protocol::RtpAvp)).unwrap();
        assert!(both.weakened.is_empty());
        let answered = section(&world.answer(&plain("a", Some("b"), B)).unwrap());
        assert_eq!(answered.crypto[0].tag, 2, "{name}");
    }
}

#[test]
fn what_is_accepted_is_taken_where_there_is_nothing_better_and_told() {
    let mut world = World::with(accepting(&[Weakness::NullCipher, Weakness::UnencryptedRtcp]));
    let null = line(1, Profile::NullHmacSha1_80, "");
    let clear_rtcp = format!("{} UNENCRYPTED_SRTCP", crypto(2, 'A'));
    let lines: [&str; 3] = [&null, &clear_rtcp, &crypto(3, 'C').replace("_80", "_32")];
    for (count, tag, lacking) in
        [(3, 3, vec![]), (2, 2, vec!["unencrypted-rtcp"]), (1, 1, vec!["null-cipher"])]
    {
        let offer = srtp("a", Some("b").filter(|_| count < 3), A, &lines[..count]);
        let reoffered = world.offer(&towards(offer, Protocol::RtpSavp)).unwrap();
        let callees = section(&reoffered).crypto;
        assert!(callees.iter().all(|line| line.session == NONE), "and asked of nobody else");
        assert!(!profiles(&callees).contains(&Profile::NullHmacSha1_80));
        let tag_to_b = callees.iter().find(|line| line.profile() == CM_80).unwrap().tag;
        let answer = srtp("a", Some("b"), B, &[&crypto(tag_to_b, 'B')]);
        let answered = world.answer(&answer).unwrap();
        assert_eq!(section(&answered).crypto[0].tag, tag);
        let told: Vec<&str> = answered
            .weakened
            .iter()
            .flat_map(|leg| weakness::of(leg.weaknesses).map(weakness::name))
            .collect();
        assert_eq!(told, lacking);
        assert!(world.answer(&answer).unwrap().weakened.is_empty(), "told once");
        world.calls.call(b"call").unwrap();
        // A suite in force stays as long as it is offered, so each round takes the last one away.
    }
}

const CM_80: Profile = Profile::AesCm128HmacSha1_80;

#[test]
fn a_suite_accepted_and_configured_is_offered_after_all_others() {
    let mut settings = accepting(&[Weakness::NullCipher]);
    settings.suites.insert(0, Profile::NullHmacSha1_80);
    let mut world = World::with(settings);
    let lines = offered(&mut world, &towards(plain("a", None, A), Protocol::RtpSavp));
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[6].profile(), Profile::NullHmacSha1_80);
}

#[test]
fn a_request_to_leave_something_out_needs_leave() {
    let sdes = Sdes { weaken: CLEAR_RTCP, ..Sdes::default() };
    let offer = Signal { sdes, ..towards(plain("a", None, A), Protocol::RtpSavp) };
    let mut world = World::with(ours());
    let outcome = world.offer(&offer).unwrap();
    assert!(section(&outcome).crypto.iter().all(|line| line.session == NONE));
    assert!(outcome.warnings[0].contains("srtp.accept"), "{:?}", outcome.warnings);

    let mut world = World::with(accepting(&[Weakness::UnencryptedRtcp]));
    let outcome = world.offer(&offer).unwrap();
    assert!(section(&outcome).crypto.iter().all(|line| line.session == CLEAR_RTCP));
    assert!(outcome.warnings.is_empty());
}

#[test]
fn an_answer_may_insist_on_protection_and_not_do_without_more_than_was_offered() {
    let offer = |weaken| Signal {
        sdes: Sdes { weaken, only: vec![CM_80], ..Sdes::default() },
        ..towards(plain("a", None, A), Protocol::RtpSavp)
    };
    let clear = format!("{} UNENCRYPTED_SRTCP", crypto(1, 'B'));
    for (weaken, answer, agreed) in [
        (CLEAR_RTCP, clear.clone(), Some(CLEAR_RTCP)),
        (CLEAR_RTCP, crypto(1, 'B'), Some(NONE)),
        (NONE, clear, None),
    ] {
        let mut world = World::with(accepting(&[Weakness::UnencryptedRtcp]));
        world.offer(&offer(weaken)).unwrap();
        let answered = world.answer(&srtp("a", Some("b"), B, &[&answer])).unwrap();
        assert_eq!(section(&answered).port != 0, agreed.is_some(), "{answer}");
        if let Some(agreed) = agreed {
            assert_eq!(world.streams()[1].terms.session, agreed);
            assert_eq!(answered.weakened.is_empty(), agreed == NONE);
        }
    }
}

#[test]
fn a_reinvite_under_other_terms_brings_a_key_that_was_never_used() {
    let mut world = World::with(accepting(&[Weakness::UnencryptedRtcp]));
    let clear = format!("{} UNENCRYPTED_SRTCP", crypto(1, 'A'));
    let mut keys: Vec<Key> = Vec::new();
    for (line, to) in [(crypto(1, 'A'), None), (clear, Some("b")), (crypto(1, 'A'), Some("b"))] {
        world.offer(&towards(srtp("a", to, A, &[&line]), Protocol::RtpAvp)).unwrap();
        let answered = section(&world.answer(&plain("a", Some("b"), B)).unwrap());
        let key = Key::Srtp(answered.crypto[0].key.master.dangerous_duplicate());
        assert_eq!(world.streams()[0].send_key, key);
        assert!(!keys.contains(&key), "indexes would start over under it");
        keys.push(key);
    }
}

#[test]
fn the_incumbents_ways_offer_its_suites_in_its_order() {
    let mut world = World::with(incumbent());
    let lines = offered(&mut world, &towards(plain("a", None, A), Protocol::RtpSavp));
    assert_eq!(profiles(&lines), INCUMBENTS_SUITES);
    assert_eq!(lines.iter().map(|line| line.tag).collect::<Vec<_>>(), Vec::from_iter(1..=12));
}

/// As rtpengine 10.5 was seen to do: a parameter goes with the line that has it, flags go with
/// all, and what is asked for in vain under GCM is ours to leave away.
#[test]
fn the_incumbents_ways_copy_parameters_and_flags_add_or_take_them_away() {
    let clear = format!("{} UNENCRYPTED_SRTCP", crypto(3, 'A'));
    let with = |weaken, strengthen| Signal {
        sdes: Sdes { weaken, strengthen, ..Sdes::default() },
        ..srtp("a", None, A, &[&clear])
    };
    let lines = offered(&mut World::with(incumbent()), &with(NONE, NONE));
    assert_eq!((lines[0].tag, lines[0].session), (3, CLEAR_RTCP));
    assert!(lines[1..].iter().all(|line| line.session == NONE));
    let lines = offered(&mut World::with(incumbent()), &with(NONE, CLEAR_RTCP));
    assert!(lines.iter().all(|line| line.session == NONE));

    let all = SessionParameters { unencrypted_rtp: true, unauthenticated_rtp: true, ..CLEAR_RTCP };
    let lines = offered(&mut World::with(incumbent()), &with(all, NONE));
    for line in lines {
        let expected = if line.profile().is_aead() { CLEAR_RTCP } else { all };
        assert_eq!(line.session, expected, "{}", line.profile());
    }
}

#[test]
fn the_incumbents_ways_answer_with_the_offerers_parameters_unless_told_otherwise() {
    let clear = format!("{} UNENCRYPTED_SRTCP", crypto(3, 'A'));
    for (strengthen, expected) in [(NONE, " UNENCRYPTED_SRTCP\r\n"), (CLEAR_RTCP, "\r\n")] {
        let mut world = World::with(incumbent());
        world.offer(&towards(srtp("a", None, A, &[&clear]), Protocol::RtpAvp)).unwrap();
        let sdes = Sdes { strengthen, ..Sdes::default() };
        let answer = Signal { sdes, ..plain("a", Some("b"), B) };
        let answered = text(&world.answer(&answer).unwrap());
        let line = answered.split_inclusive('\n').find(|line| line.contains("crypto:3")).unwrap();
        assert_eq!(line.contains(" UNENCRYPTED"), expected.contains("UNENCRYPTED"), "{line}");
    }
}
