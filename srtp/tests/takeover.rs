//! A standby goes on from a sealed state: nothing is replayed, no index is used twice.
#![allow(clippy::expect_used, reason = "a state that cannot be sealed is the test's failure")]

use proptest::prelude::*;
use ring::rand::SystemRandom;
use srtp::{
    KeyParameters, Lifetimes, MasterKey, Mki, NotRestored, Policy, Profile, Receiver, Refusal,
    Sender, StateKey, Weaknesses,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The packets before and after the takeover are those of one session that never moved.
    #[test]
    fn a_session_that_moves_is_one_that_did_not(
        profile in prop::sample::select(&Profile::ALL[..]),
        steps in prop::collection::vec((0u32..3, -30i32..60), 1..200),
        moves in 0usize..200,
    ) {
        let key = key(profile, 1);
        let (mut stayed, mut moved) = (sender(&key), sender(&key));
        let (mut hearer, mut moved_hearer) = (receiver(&key), receiver(&key));
        let mut sequences = [65_500_u16; 3];
        let mut sent = Vec::new();
        for (at, (ssrc, step)) in steps.into_iter().enumerate() {
            if at == moves {
                moved = restored_sender(&moved, &key, 0);
                moved_hearer = restored_receiver(&moved_hearer, &key);
            }
            let sequence = &mut sequences[ssrc as usize];
            *sequence = sequence.wrapping_add(step as u16);
            let expected = protect(&mut stayed, ssrc, *sequence);
            prop_assert_eq!(protect(&mut moved, ssrc, *sequence), expected.clone());
            sent.extend(expected);
            // Each packet once, and an old one again.
            for packet in sent.last().into_iter().chain(sent.get(sent.len() / 2)) {
                let expected = hearer.open_rtp(&mut packet.clone());
                prop_assert_eq!(moved_hearer.open_rtp(&mut packet.clone()), expected);
            }
        }
    }
}

#[test]
fn srtcp_goes_on_with_its_index_and_replays_stay_refused() {
    for profile in Profile::ALL {
        let key = key(profile, 1);
        let (mut first, mut hearer) = (sender(&key), receiver(&key));
        let before = report(&mut first);
        hearer.open_rtcp(&mut before.clone()).expect("opens");
        let mut second = restored_sender(&first, &key, 0);
        let mut hearer = restored_receiver(&hearer, &key);
        assert_eq!(hearer.open_rtcp(&mut before.clone()), Err(Refusal::Replayed), "{profile}");
        let opened = hearer.open_rtcp(&mut report(&mut second)).expect("opens");
        assert_eq!(opened.index, 1);
    }
}

#[test]
fn what_may_have_been_sent_since_is_not_sent_again() {
    let key = key(Profile::AeadAes128Gcm, 1);
    let mut first = sender(&key);
    protect(&mut first, 7, 100).expect("protects");
    let mut second = restored_sender(&first, &key, 50);
    for sequence in [99, 101, 150] {
        assert!(protect(&mut second, 7, sequence).is_err(), "{sequence}");
    }
    protect(&mut second, 7, 151).expect("protects");
    let mut buffer = report_plain();
    let sealed = second.protect_rtcp(&mut buffer, REPORT_LEN).expect("protects");
    assert_eq!(sealed.index, 50);
}

#[test]
fn what_may_have_been_sent_since_counts_for_the_lifetime_in_each_stream() {
    let key = key(Profile::AeadAes128Gcm, 1);
    let mut first = sender(&key);
    for ssrc in 0..3 {
        protect(&mut first, ssrc, 100).expect("protects");
    }
    let second = restored_sender(&first, &key, 50);
    let used: Vec<_> = second.keys().map(|key| (key.rtp_packets, key.rtcp_packets)).collect();
    assert_eq!(used, [(3 + 3 * 50, 50)]);
}

/// Which keys come and go in between makes no difference: an index is one key's at most once.
#[test]
fn srtcp_indexes_end_rather_than_begin_again_under_a_key_that_comes_back() {
    let profile = Profile::AeadAes128Gcm;
    let masters = [key(profile, 1), key(profile, 2)];
    let parameters = |at: usize| {
        let mki = Mki::new(&[at as u8]).expect("one byte");
        KeyParameters { master: &masters[at], mki, lifetimes: Lifetimes::MAX }
    };
    let build = || Sender::new(parameters(0), &policy()).expect("suitable");
    let index = |sender: &mut Sender| {
        sender.protect_rtcp(&mut report_plain(), REPORT_LEN).map(|sealed| sealed.index)
    };
    let mut first = build();
    assert_eq!(index(&mut first), Ok(0));
    let sealed = first.seal_state(&state_key(), &SystemRandom::new()).expect("seals");
    let mut second = build();
    second.restore_state(&sealed, &state_key(), (1 << 31) - 3).expect("restores");
    second.install(&parameters(1)).expect("suitable");
    second.switch_to(&parameters(1).mki).expect("installed");
    second.retire(&parameters(0).mki).expect("not the only one");
    assert_eq!(index(&mut second), Ok((1 << 31) - 2));
    assert_eq!(index(&mut second), Ok((1 << 31) - 1));
    second.install(&parameters(0)).expect("suitable");
    second.switch_to(&parameters(0).mki).expect("installed");
    assert_eq!(index(&mut second), Err(Refusal::KeyExhausted), "0 is that key's no more");
}

#[test]
fn the_use_of_keys_is_carried_and_so_is_the_one_in_use() {
    let profile = Profile::AesCm128HmacSha1_80;
    let masters = [key(profile, 1), key(profile, 2)];
    let lifetimes = Lifetimes::from_sdes(8).expect("in range");
    let parameters = |at: usize| {
        let mki = Mki::new(&[at as u8]).expect("one byte");
        KeyParameters { master: &masters[at], mki, lifetimes }
    };
    let build = || {
        let mut sender = Sender::new(parameters(0), &policy()).expect("suitable");
        sender.install(&parameters(1)).expect("suitable");
        sender
    };
    let mut first = build();
    for sequence in 0..5 {
        protect(&mut first, 7, sequence).expect("protects");
    }
    first.switch_to(&parameters(1).mki).expect("installed");
    protect(&mut first, 7, 5).expect("protects");
    let sealed = first.seal_state(&state_key(), &SystemRandom::new()).expect("seals");
    let mut second = build();
    second.restore_state(&sealed, &state_key(), 0).expect("restores");
    assert_eq!(second.keys().collect::<Vec<_>>(), first.keys().collect::<Vec<_>>());
}

#[test]
fn a_state_that_does_not_fit_is_refused_with_the_reason_and_changes_nothing() {
    let (one, other) = (key(Profile::AeadAes128Gcm, 1), key(Profile::AeadAes128Gcm, 2));
    let mut first = receiver(&one);
    let packet = protect(&mut sender(&one), 7, 1).expect("protects");
    first.open_rtp(&mut packet.clone()).expect("opens");
    let random = SystemRandom::new();
    let sealed = first.seal_state(&state_key(), &random).expect("seals");

    let mut second = receiver(&one);
    let mut refused = |sealed: &[u8]| second.restore_state(sealed, &state_key());
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        let expected = match at {
            0 | 1 => NotRestored::OtherKind { expected: "receiver" },
            _ => NotRestored::BrokenSeal,
        };
        assert_eq!(refused(&changed), Err(expected), "byte {at}");
        assert!(refused(&sealed[..at]).is_err(), "{at} bytes");
    }
    let of_a_sender = sender(&one).seal_state(&state_key(), &random).expect("seals");
    let expected = Err(NotRestored::OtherKind { expected: "receiver" });
    assert_eq!(refused(&of_a_sender), expected);
    let elsewhere = StateKey::new(&[8; 32]);
    assert_eq!(second.restore_state(&sealed, &elsewhere), Err(NotRestored::BrokenSeal));
    second.open_rtp(&mut packet.clone()).expect("nothing was restored");
    assert_eq!(second.restore_state(&sealed, &state_key()), Err(NotRestored::InUse));
    assert_eq!(receiver(&other).restore_state(&sealed, &state_key()), Err(NotRestored::OtherKeys));
}

#[test]
fn a_state_of_more_streams_than_there_is_room_for_is_refused() {
    let key = key(Profile::AeadAes128Gcm, 1);
    let mut first = sender(&key);
    for ssrc in 0..1_030 {
        protect(&mut first, ssrc, 1).expect("protects");
    }
    let sealed = first.seal_state(&state_key(), &SystemRandom::new()).expect("seals");
    let policy = Policy { max_streams: 2, ..policy() };
    let mut small = Sender::new(&key, &policy).expect("suitable");
    let refused = small.restore_state(&sealed, &state_key(), 0);
    assert_eq!(refused, Err(NotRestored::TooManyStreams { got: 1_030, most: 1_026 }));
    protect(&mut small, 1, 1).expect("nothing was restored");
}

fn restored_sender(first: &Sender, key: &MasterKey, ahead: u32) -> Sender {
    let sealed = first.seal_state(&state_key(), &SystemRandom::new()).expect("seals");
    let mut second = sender(key);
    second.restore_state(&sealed, &state_key(), ahead).expect("restores");
    second
}

fn restored_receiver(first: &Receiver, key: &MasterKey) -> Receiver {
    let sealed = first.seal_state(&state_key(), &SystemRandom::new()).expect("seals");
    let mut second = receiver(key);
    second.restore_state(&sealed, &state_key()).expect("restores");
    second
}

fn protect(sender: &mut Sender, ssrc: u32, sequence: u16) -> Result<Vec<u8>, Refusal> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend(b"payload");
    let len = packet.len();
    packet.resize(len + 16, 0);
    let sealed = sender.protect_rtp(&mut packet, len)?;
    packet.truncate(sealed.len);
    Ok(packet)
}

fn report(sender: &mut Sender) -> Vec<u8> {
    let mut buffer = report_plain();
    let sealed = sender.protect_rtcp(&mut buffer, REPORT_LEN).expect("protects");
    buffer[..sealed.len].to_vec()
}

fn report_plain() -> [u8; REPORT_LEN + 24] {
    let mut buffer = [0; REPORT_LEN + 24];
    buffer[..4].copy_from_slice(&[0x80, 200, 0, 6]);
    buffer
}

fn sender(key: &MasterKey) -> Sender {
    Sender::new(key, &policy()).expect("suitable")
}

fn receiver(key: &MasterKey) -> Receiver {
    Receiver::new(key, &policy()).expect("suitable")
}

fn policy() -> Policy {
    Policy { accepted: Weaknesses::ALL, ..Policy::default() }
}

fn key(profile: Profile, byte: u8) -> MasterKey {
    let bytes = vec![byte; profile.key_len() + profile.salt_len()];
    MasterKey::from_concatenated(profile, &bytes).expect("the profile's length")
}

fn state_key() -> StateKey {
    StateKey::new(&[9; 32])
}

const REPORT_LEN: usize = 28;
