//! What a sender and a receiver promise, packet by packet, in every profile.
#![allow(clippy::expect_used, reason = "a packet that cannot be made is the test's failure")]

use proptest::prelude::*;
use srtp::{
    KeyParameters, KeyState, Lifetimes, Malformed, MasterKey, Opened, PacketIndex, PacketKind,
    Policy, Profile, Receiver, Refusal, Sealed, Sender, SessionKeys, SessionParameters, ToProtect,
    Unsuitable, Weakness, Weaknesses, protect_rtp_batch,
};

#[test]
fn overhead_is_the_profiles() {
    for profile in Profile::ALL {
        let (mut sender, mut receiver) = pair(profile, &Policy::default());
        let sealed = sender.protect(1);
        assert_eq!(sealed.len(), PLAIN_LEN + profile.rtp_overhead(), "{profile}");
        assert_eq!(receiver.open(&sealed).expect("opens").len, PLAIN_LEN);

        let mut report = report();
        let sealed = sender.0.protect_rtcp(&mut report, REPORT_LEN).expect("protects");
        assert_eq!(sealed.len, REPORT_LEN + profile.rtcp_overhead(), "{profile}");
        let opened = receiver.0.open_rtcp(&mut report[..sealed.len]).expect("opens");
        assert_eq!((opened.len, opened.index), (REPORT_LEN, 0));
    }
}

#[test]
fn a_replayed_packet_is_refused_also_after_the_wrap() {
    for profile in Profile::ALL {
        let (mut sender, mut receiver) = pair(profile, &Policy::default());
        let packets: Vec<_> =
            [65_534, 65_535, 0, 1].into_iter().map(|sequence| sender.protect(sequence)).collect();
        let indexes: Vec<_> = packets
            .iter()
            .map(|packet| receiver.open(packet).expect("opens").index.value())
            .collect();
        assert_eq!(indexes, [65_534, 65_535, 65_536, 65_537], "{profile}");
        for packet in &packets {
            assert_eq!(receiver.open(packet), Err(Refusal::Replayed), "{profile}");
        }
    }
}

#[test]
fn a_replayed_report_is_refused() {
    for profile in Profile::ALL {
        let (mut sender, mut receiver) = pair(profile, &Policy::default());
        let mut buffer = report();
        let sealed = sender.0.protect_rtcp(&mut buffer, REPORT_LEN).expect("protects");
        let mut again = buffer;
        assert!(receiver.0.open_rtcp(&mut buffer[..sealed.len]).is_ok());
        let replayed = receiver.0.open_rtcp(&mut again[..sealed.len]);
        assert_eq!(replayed, Err(Refusal::Replayed), "{profile}");
    }
}

#[test]
fn the_replay_window_is_as_wide_as_the_policy_says() {
    for window in [64, 128, 1024] {
        let policy = Policy { replay_window: window, ..Policy::default() };
        let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm, &policy);
        let packets: Vec<_> =
            (0..window as u16 + 1).map(|sequence| sender.protect(sequence)).collect();
        receiver.open(&packets[window]).expect("opens the newest");
        assert_eq!(receiver.open(&packets[0]), Err(Refusal::TooOld), "window {window}");
        receiver.open(&packets[1]).expect("opens the oldest in the window");
    }
}

#[test]
fn a_forged_packet_moves_nothing() {
    for profile in Profile::ALL {
        let policy = Policy { max_streams: 2, replay_window: 64, ..Policy::default() };
        let (mut sender, mut receiver) = pair(profile, &policy);
        receiver.open(&sender.protect(65_500)).expect("opens");
        let genuine = sender.protect(65_501);
        // Far ahead, after the wrap, and from sources that would fill the table.
        for (sequence, ssrc) in [(65_535, SSRC), (20_000, SSRC), (1, 2), (1, 3), (1, 4)] {
            let mut forged = genuine.clone();
            forged[2..4].copy_from_slice(&u16::to_be_bytes(sequence));
            forged[8..12].copy_from_slice(&u32::to_be_bytes(ssrc));
            assert_eq!(receiver.open(&forged), Err(Refusal::AuthenticationFailed), "{profile}");
        }
        let opened = receiver.open(&genuine).expect("opens");
        assert_eq!(opened.index, PacketIndex::new(0, 65_501), "{profile}");
        assert!(receiver.open(&sender.protect_from(2, 1)).is_ok(), "{profile}");
    }
}

#[test]
fn a_further_source_retires_the_longest_silent_which_may_go_on_but_repeat_nothing() {
    let policy = Policy { max_streams: 2, ..Policy::default() };
    let (mut sender, mut receiver) = pair(Profile::AesCm128HmacSha1_80, &policy);
    let late = sender.protect_from(1, 9);
    let first = sender.protect_from(1, 10);
    receiver.open(&first).expect("opens");
    for ssrc in [2, 3] {
        receiver.open(&sender.protect_from(ssrc, 10)).expect("opens");
    }
    assert_eq!(receiver.open(&first), Err(Refusal::TooOld), "a replay");
    assert_eq!(receiver.open(&late), Err(Refusal::TooOld));
    for used in [8, 9, 10] {
        assert_eq!(sender.try_protect(1, used).1, Err(Refusal::TooOld));
    }
    // Back, with its ROC, by when its windows know only what came after.
    for sequence in [20_000, 50_000, 3, 1] {
        receiver.open(&sender.protect_from(1, sequence)).expect("opens");
        assert_eq!(sender.try_protect(1, sequence).1, Err(Refusal::IndexReused));
    }
}

#[test]
fn a_full_table_refuses_a_further_source_and_keeps_the_old() {
    let policy = Policy { max_streams: 2, ..Policy::default() };
    let (mut sender, mut receiver) = pair(Profile::AesCm128HmacSha1_80, &policy);
    let last = 2 + 1024;
    for ssrc in 1..=last {
        assert!(receiver.open(&sender.protect_from(ssrc, 1)).is_ok(), "source {ssrc}");
    }
    assert_eq!(sender.try_protect(last + 1, 1).1, Err(Refusal::TooManyStreams));
    let mut other = pair(Profile::AesCm128HmacSha1_80, &policy).0;
    let further = other.protect_from(last + 1, 1);
    assert_eq!(receiver.open(&further), Err(Refusal::TooManyStreams));
    for ssrc in 1..=last {
        assert!(sender.try_protect(ssrc, 1).1.is_err(), "source {ssrc} forgot its index");
        assert!(receiver.open(&sender.protect_from(ssrc, 2)).is_ok(), "source {ssrc}");
    }
}

#[test]
fn a_sender_never_uses_an_index_twice() {
    let policy = Policy { replay_window: 64, ..Policy::default() };
    let (mut sender, _) = pair(Profile::AeadAes256Gcm, &policy);
    for sequence in [100, 103, 101] {
        assert!(sender.try_protect(SSRC, sequence).1.is_ok());
    }
    for sequence in [100, 101, 103] {
        assert_eq!(sender.try_protect(SSRC, sequence).1, Err(Refusal::IndexReused));
    }
    assert!(sender.try_protect(SSRC, 102).1.is_ok());
    assert!(sender.try_protect(SSRC, 167).1.is_ok());
    assert_eq!(sender.try_protect(SSRC, 103).1, Err(Refusal::TooOld));
    assert!(sender.try_protect(SSRC, 104).1.is_ok());
}

#[test]
fn a_sender_keeps_its_roc_when_packets_reorder_around_the_wrap() {
    let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm, &Policy::default());
    let sequences = [65_533, 65_535, 0, 65_534, 2, 1];
    let indexes = [65_533, 65_535, 65_536, 65_534, 65_538, 65_537];
    for (sequence, index) in sequences.into_iter().zip(indexes) {
        let (packet, sealed) = sender.try_protect(SSRC, sequence);
        assert_eq!(sealed.expect("protects").index.value(), index);
        assert_eq!(receiver.open(&packet).expect("opens").index.value(), index);
    }
}

#[test]
fn a_sender_refuses_what_lies_before_its_first_round() {
    let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm, &Policy::default());
    receiver.open(&sender.protect(3)).expect("opens");
    assert_eq!(sender.try_protect(SSRC, 65_530).1, Err(Refusal::TooOld));
    let opened = receiver.open(&sender.protect(4)).expect("opens");
    assert_eq!(opened.index, PacketIndex::new(0, 4));
}

#[test]
fn a_refused_packet_spends_nothing() {
    for profile in Profile::ALL {
        let (mut sender, _) = limited_pair(profile, Lifetimes::new(1, 1).expect("in range"));
        let sender = &mut sender.0;
        let mut buffer = rtp(SSRC, 7);
        let room = PLAIN_LEN + profile.rtp_overhead() - 1;
        let no_room = sender.protect_rtp(&mut buffer[..room], PLAIN_LEN);
        assert_eq!(no_room, Err(Refusal::NoRoom), "{profile}");
        assert_eq!(sender.protect_rtp(&mut buffer, 11), Err(Malformed::TooShort.into()));
        assert_eq!(sender.protect_rtp(&mut buffer, usize::MAX), Err(Malformed::TooShort.into()));
        assert_eq!(sender.protect_rtcp(&mut buffer, 7), Err(Malformed::TooShort.into()));
        assert!(sender.protect_rtp(&mut buffer, PLAIN_LEN).is_ok(), "{profile}");
    }
}

#[test]
fn a_key_ends_at_its_lifetime_and_says_so_before() {
    for profile in Profile::ALL {
        let lifetimes = Lifetimes::from_sdes(16).expect("in range");
        let (mut sender, mut receiver) = limited_pair(profile, lifetimes);
        for sequence in 0..16 {
            let (packet, sealed) = sender.try_protect(SSRC + u32::from(sequence % 2), sequence);
            let expected = if sequence < 13 { KeyState::Fresh } else { KeyState::SoftLimit };
            assert_eq!(sealed.expect("protects").key, expected, "packet {sequence}");
            assert_eq!(receiver.open(&packet).expect("opens").key, expected, "packet {sequence}");
        }
        assert_eq!(sender.try_protect(SSRC, 16).1, Err(Refusal::KeyExhausted));
        let one_more = pair(profile, &Policy::default()).0.protect(16);
        assert_eq!(receiver.open(&one_more), Err(Refusal::KeyExhausted));
        // The key is finished for both kinds of packet (RFC 3711 section 9.2).
        let refused = sender.0.protect_rtcp(&mut report(), REPORT_LEN);
        assert_eq!(refused, Err(Refusal::KeyExhausted), "{profile}");
    }
}

#[test]
fn the_rtcp_lifetime_ends_the_key_too() {
    let lifetimes = Lifetimes::new(1 << 48, 2).expect("in range");
    let (mut sender, _) = limited_pair(Profile::AesCm128HmacSha1_32, lifetimes);
    for expected in [0, 1] {
        let sealed = sender.0.protect_rtcp(&mut report(), REPORT_LEN).expect("protects");
        assert_eq!(sealed.index, expected);
    }
    let refused = sender.0.protect_rtcp(&mut report(), REPORT_LEN);
    assert_eq!(refused, Err(Refusal::KeyExhausted));
    assert_eq!(sender.try_protect(SSRC, 1).1, Err(Refusal::KeyExhausted));
}

/// Whoever lives on after a panic must not take a packet in clear for a sealed one.
#[test]
fn a_batch_that_panics_leaves_no_outcome_for_what_it_has_not_sealed() {
    let mut senders = [pair(Profile::AeadAes128Gcm, &Policy::default()).0.0];
    let mut buffers = [rtp(1, 1), rtp(1, 2)];
    let (len, plain) = (PLAIN_LEN, buffers[0].clone());
    let [first, second] = &mut buffers;
    let mut packets = [ToProtect::new(0, first, len), ToProtect::new(1, second, len)];
    let batch = std::panic::AssertUnwindSafe(|| protect_rtp_batch(&mut senders[..], &mut packets));
    assert!(std::panic::catch_unwind(batch).is_err(), "there is no sender 1");
    assert_eq!(packets[0].outcome, None);
    assert!(!format!("{packets:?}").contains(&format!("{:?}", &plain[..12])));
}

#[test]
fn debug_output_shows_the_profile_alone() {
    for profile in Profile::ALL {
        let (sender, receiver) = pair(profile, &Policy::default());
        let keys = SessionKeys::derive(&key(profile), PacketKind::Rtp);
        assert_eq!(format!("{:?}", sender.0), format!("Sender {{ profile: {profile:?}, .. }}"));
        assert_eq!(format!("{:?}", receiver.0), format!("Receiver {{ profile: {profile:?}, .. }}"));
        assert_eq!(format!("{keys:?}"), format!("SessionKeys {{ profile: {profile:?}, .. }}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn any_changed_bit_is_refused(profile in 0usize..12, bit in 0usize..8 * PLAIN_LEN) {
        let profile = Profile::ALL[profile];
        let (mut sender, mut receiver) = pair(profile, &Policy::default());
        let sealed = sender.protect(1);
        let mut changed = sealed.clone();
        let at = bit % (8 * sealed.len());
        changed[at / 8] ^= 1 << (at % 8);
        prop_assert!(receiver.open(&changed).is_err());
        prop_assert!(receiver.open(&sealed).is_ok());
    }

    #[test]
    fn no_bytes_panic_or_open(profile in 0usize..12, mut bytes: Vec<u8>, valid_version: bool) {
        let profile = Profile::ALL[profile];
        let (_, mut receiver) = pair(profile, &Policy::default());
        if let (Some(first), true) = (bytes.first_mut(), valid_version) {
            *first = *first & 0x3f | 0x80;
        }
        prop_assert!(receiver.0.open_rtp(&mut bytes.clone()).is_err());
        prop_assert!(receiver.0.open_rtcp(&mut bytes).is_err());
    }

    #[test]
    fn whatever_is_sent_is_used_once_and_opens(
        profile in 0usize..12,
        start: u16,
        steps in proptest::collection::vec(-80i32..120, 1..150)
    ) {
        let profile = Profile::ALL[profile];
        let (mut sender, mut receiver) = pair(profile, &Policy::default());
        let mut used = std::collections::BTreeSet::new();
        let mut sequence = start;
        for step in steps {
            sequence = sequence.wrapping_add(step as u16);
            let (packet, sealed) = sender.try_protect(SSRC, sequence);
            match sealed {
                Ok(sealed) => {
                    prop_assert!(used.insert(sealed.index));
                    prop_assert_eq!(receiver.open(&packet).map(|opened| opened.index), Ok(sealed.index));
                }
                Err(refusal) => prop_assert!(matches!(refusal, Refusal::IndexReused | Refusal::TooOld)),
            }
        }
    }
}

struct From(Sender);
struct To(Receiver);

impl From {
    fn protect(&mut self, sequence: u16) -> Vec<u8> {
        self.protect_from(SSRC, sequence)
    }

    fn protect_from(&mut self, ssrc: u32, sequence: u16) -> Vec<u8> {
        let (packet, sealed) = self.try_protect(ssrc, sequence);
        sealed.expect("protects");
        packet
    }

    fn try_protect(&mut self, ssrc: u32, sequence: u16) -> (Vec<u8>, Result<Sealed, Refusal>) {
        let mut buffer = rtp(ssrc, sequence);
        let sealed = self.0.protect_rtp(&mut buffer, PLAIN_LEN);
        buffer.truncate(sealed.map_or(0, |sealed| sealed.len));
        (buffer, sealed)
    }
}

impl To {
    fn open(&mut self, packet: &[u8]) -> Result<Opened, Refusal> {
        let mut buffer = packet.to_vec();
        let opened = self.0.open_rtp(&mut buffer)?;
        assert_eq!(buffer[HEADER_LEN..opened.len], [0x5a; PLAIN_LEN - HEADER_LEN]);
        Ok(opened)
    }
}

#[test]
fn a_weak_profile_needs_a_policy_that_accepts_it() {
    for profile in Profile::ALL {
        let key = key(profile);
        let built = || Receiver::new(&key, &Policy::default()).map(|_| ());
        let Some(weakness) = profile.weakness() else {
            assert_eq!(built(), Ok(()), "{profile}");
            continue;
        };
        assert_eq!(built(), Err(Unsuitable::NotAccepted(weakness)), "{profile}");
        let other = match weakness {
            Weakness::F8 => Weakness::NullCipher,
            _ => Weakness::F8,
        };
        for (accepted, is_fit) in [(other, false), (weakness, true)] {
            let accepted = Weaknesses::NONE.with(accepted);
            let policy = Policy { accepted, ..Policy::default() };
            assert_eq!(Sender::new(&key, &policy).is_ok(), is_fit, "{profile}");
        }
    }
}

#[test]
fn what_was_agreed_to_be_left_out_is_left_out_and_only_if_policy_accepts_it() {
    let left_out = [
        SessionParameters { unencrypted_rtp: true, ..SessionParameters::default() },
        SessionParameters { unencrypted_rtcp: true, ..SessionParameters::default() },
        SessionParameters { unauthenticated_rtp: true, ..SessionParameters::default() },
    ];
    for profile in Profile::ALL {
        for parameters in left_out {
            let policy = Policy { parameters, ..Policy::default() };
            let refused = Sender::new(&key(profile), &policy).map(|_| ());
            if profile.is_aead() && !parameters.unencrypted_rtcp {
                assert_eq!(refused, Err(Unsuitable::SessionParameters { profile }));
                continue;
            }
            assert!(matches!(refused, Err(Unsuitable::NotAccepted(_))), "{profile}");
            let (mut sender, mut receiver) = pair(profile, &policy);
            let sealed = sender.protect(7);
            let is_clear = sealed[HEADER_LEN..PLAIN_LEN] == [0x5a; PLAIN_LEN - HEADER_LEN];
            let null = profile.weakness() == Some(Weakness::NullCipher);
            assert_eq!(is_clear, parameters.unencrypted_rtp || null, "{profile}");
            let untagged = if parameters.unauthenticated_rtp { profile.rtp_overhead() } else { 0 };
            assert_eq!(sealed.len(), PLAIN_LEN + profile.rtp_overhead() - untagged);
            receiver.open(&sealed).expect("opens");

            let mut report = report();
            let before = report;
            let sealed = sender.0.protect_rtcp(&mut report, REPORT_LEN).expect("protects");
            assert_eq!(sealed.len, REPORT_LEN + profile.rtcp_overhead(), "RTCP keeps its tag");
            let is_clear = report[..REPORT_LEN] == before[..REPORT_LEN];
            assert_eq!(is_clear, parameters.unencrypted_rtcp || null, "{profile}");
            receiver.0.open_rtcp(&mut report[..sealed.len]).expect("opens");
            // A packet without the tag that was agreed is refused. (SRTP does not say whether it
            // is encrypted: with other ideas of that, two sides hear noise.)
            let (_, mut strict) = pair(profile, &Policy::default());
            let (mut sender, _) = pair(profile, &policy);
            if parameters.unauthenticated_rtp {
                assert!(strict.open(&sender.protect(8)).is_err(), "{profile}");
            }
        }
    }
}

fn pair(profile: Profile, policy: &Policy) -> (From, To) {
    let key = key(profile);
    let policy = &Policy { accepted: Weaknesses::ALL, ..policy.clone() };
    let sender = Sender::new(&key, policy).expect("suitable");
    (From(sender), To(Receiver::new(&key, policy).expect("suitable")))
}

fn limited_pair(profile: Profile, lifetimes: Lifetimes) -> (From, To) {
    let key = key(profile);
    let key = KeyParameters { lifetimes, ..(&key).into() };
    let policy = Policy { accepted: Weaknesses::ALL, ..Policy::default() };
    let sender = Sender::new(key.clone(), &policy).expect("suitable");
    (From(sender), To(Receiver::new(key, &policy).expect("suitable")))
}

fn key(profile: Profile) -> MasterKey {
    let bytes = vec![0x42; profile.key_len() + profile.salt_len()];
    MasterKey::from_concatenated(profile, &bytes).expect("the profile's length")
}

/// A 172-byte packet, as G.711 makes them, and tailroom.
fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 160]);
    packet.extend(ssrc.to_be_bytes());
    packet.resize(PLAIN_LEN, 0x5a);
    packet.resize(PLAIN_LEN + 32, 0);
    packet
}

/// A receiver report with one block, and tailroom.
fn report() -> [u8; REPORT_LEN + 32] {
    let mut packet = [0x33; REPORT_LEN + 32];
    packet[..8].copy_from_slice(&[0x81, 201, 0, 7, 0, 0, 0, 9]);
    packet
}

const SSRC: u32 = 0xcafe_babe;
const HEADER_LEN: usize = 12;
const PLAIN_LEN: usize = 172;
const REPORT_LEN: usize = 32;
