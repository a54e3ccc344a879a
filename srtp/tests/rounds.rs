//! Rollover counters that somebody else knows: takeover, late joining, restarts.
#![allow(clippy::expect_used, reason = "a packet that cannot be made is the test's failure")]

use srtp::{
    MasterKey, PacketIndex, Policy, Profile, Receiver, Refusal, Sender, SessionParameters,
    Weaknesses,
};

#[test]
fn a_standby_takes_over_a_stream_in_its_round_in_both_directions() {
    for profile in Profile::ALL {
        let key = key(profile);
        let mut sender = sender(&key);
        advance(&mut sender, 3);
        let (ssrc, last) = sender.streams().next().expect("one stream");

        let mut standby = self::sender(&key);
        standby.resume(ssrc, last).expect("there is room");
        assert_eq!(try_protect(&mut standby, last.sequence()), Err(Refusal::IndexReused));
        let next = last.sequence().wrapping_add(1);
        let packet = protect(&mut standby, next);

        let mut receiver = receiver(&key);
        receiver.expect(ssrc, last);
        let opened = receiver.open_rtp(&mut packet.clone()).expect("opens");
        assert_eq!(opened.index, PacketIndex::new(3, next), "{profile}");
        assert_eq!(receiver.open_rtp(&mut packet.clone()), Err(Refusal::Replayed));
    }
}

/// Between the last packet elsewhere and the first one here somebody may replay what he recorded.
#[test]
fn a_receiver_that_resumes_opens_nothing_from_before_and_goes_on_in_the_round() {
    for profile in Profile::ALL {
        let key = key(profile);
        let mut sender = sender(&key);
        let recorded = advance(&mut sender, 2);
        let (ssrc, last) = sender.streams().next().expect("one stream");
        let mut receiver = receiver(&key);
        receiver.resume(ssrc, last).expect("there is room");
        for packet in &recorded {
            assert!(receiver.open_rtp(&mut packet.clone()).is_err(), "{profile}");
        }
        let sequence = last.sequence().wrapping_add(1);
        let opened = receiver.open_rtp(&mut protect(&mut sender, sequence)).expect("opens");
        assert_eq!(opened.index, PacketIndex::new(2, sequence), "{profile}");
        receiver.resume(ssrc, PacketIndex::new(1, 0)).expect("never goes back");
        assert_eq!(receiver.highest(ssrc), Some(opened.index));
    }
}

/// Whatever round is guessed, a packet without a tag would open in it.
#[test]
fn without_authentication_a_duplicate_is_no_restart() {
    let profile = Profile::AesCm128HmacSha1_80;
    let parameters = SessionParameters { unauthenticated_rtp: true, ..Default::default() };
    let policy = Policy { parameters, ..policy() };
    let key = key(profile);
    let mut sender = Sender::new(&key, &policy).expect("suitable");
    let mut receiver = Receiver::new(&key, &policy).expect("suitable");
    let packets = advance(&mut sender, 2);
    for packet in &packets {
        receiver.open_rtp(&mut packet.clone()).expect("opens");
    }
    let highest = receiver.highest(SSRC);
    receiver.expect_restarts();
    let duplicate = packets.last().expect("some");
    assert_eq!(receiver.open_rtp(&mut duplicate.clone()), Err(Refusal::Replayed));
    assert_eq!(receiver.highest(SSRC), highest);
}

#[test]
fn a_late_joiner_that_is_told_the_roc_opens_any_packet_of_that_round() {
    for profile in Profile::ALL {
        for sequence in [0, 1, 30_000, 32_768, 65_535] {
            let key = key(profile);
            let mut sender = sender(&key);
            sender.resume(SSRC, before(PacketIndex::new(7, sequence))).expect("there is room");
            let packet = protect(&mut sender, sequence);
            assert!(receiver(&key).open_rtp(&mut packet.clone()).is_err(), "not in round 0");
            let mut told = receiver(&key);
            told.expect_roc(SSRC, 7);
            let opened = told.open_rtp(&mut packet.clone()).expect("opens");
            assert_eq!(opened.index, PacketIndex::new(7, sequence), "{profile}");
        }
    }
}

#[test]
fn what_is_expected_and_does_not_come_true_costs_nothing() {
    for profile in Profile::ALL {
        let key = key(profile);
        let mut receiver = receiver(&key);
        receiver.expect_roc(SSRC, 7);
        let mut sender = sender(&key);
        let packet = protect(&mut sender, 5);
        let mut forged = packet.clone();
        *forged.last_mut().expect("not empty") ^= 1;
        assert_eq!(receiver.open_rtp(&mut forged), Err(Refusal::AuthenticationFailed));
        let opened = receiver.open_rtp(&mut packet.clone()).expect("opens");
        assert_eq!(opened.index, PacketIndex::new(0, 5), "{profile}");
    }
}

#[test]
fn a_stream_begins_again_only_after_signalling_has_spoken() {
    for profile in Profile::ALL {
        let key = key(profile);
        let (mut before, mut receiver) = (sender(&key), receiver(&key));
        let packets = advance(&mut before, 2);
        for packet in &packets {
            receiver.open_rtp(&mut packet.clone()).expect("opens");
        }
        let mut again = sender(&key);
        let restarted = [9, 10].map(|sequence| protect(&mut again, sequence));
        assert!(receiver.open_rtp(&mut restarted[0].clone()).is_err());
        receiver.expect_restarts();
        // A packet of the old run still under way does not use up the chance.
        let late = protect(&mut before, 6_000);
        receiver.open_rtp(&mut late.clone()).expect("opens");
        for (packet, sequence) in restarted.iter().zip([9, 10]) {
            let opened = receiver.open_rtp(&mut packet.clone()).expect("opens");
            assert_eq!(opened.index, PacketIndex::new(0, sequence), "{profile}");
        }
        assert_eq!(receiver.open_rtp(&mut restarted[0].clone()), Err(Refusal::Replayed));
        // The old run's last packets are no part of the new one.
        assert!(receiver.open_rtp(&mut late.clone()).is_err());
    }
}

#[test]
fn a_replay_taken_for_a_restart_does_not_silence_the_stream() {
    for profile in Profile::ALL {
        let key = key(profile);
        let (mut peer, mut receiver) = (sender(&key), receiver(&key));
        let packets = advance(&mut peer, 2);
        for packet in &packets {
            receiver.open_rtp(&mut packet.clone()).expect("opens");
        }
        receiver.expect_restarts();
        receiver.open_rtp(&mut packets[0].clone()).expect("the price of expecting restarts");
        // The peer had not begun again, and goes on.
        for sequence in [6_000, 6_001] {
            let packet = protect(&mut peer, sequence);
            let opened = receiver.open_rtp(&mut packet.clone()).expect("opens");
            assert_eq!(opened.index, PacketIndex::new(2, sequence), "{profile}");
            assert!(receiver.open_rtp(&mut packet.clone()).is_err(), "a replay");
        }
        for packet in &packets {
            assert!(receiver.open_rtp(&mut packet.clone()).is_err(), "no second chance");
        }
    }
}

/// Sends a stream into round `roc`, to its sequence number 5,000, and returns its packets.
fn advance(sender: &mut Sender, roc: u32) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for step in 0..=4 * roc {
        packets.push(protect(sender, (5_000 + step * 16_384) as u16));
    }
    packets
}

fn protect(sender: &mut Sender, sequence: u16) -> Vec<u8> {
    try_protect(sender, sequence).expect("protects")
}

fn try_protect(sender: &mut Sender, sequence: u16) -> Result<Vec<u8>, Refusal> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(SSRC.to_be_bytes());
    packet.extend(b"payload");
    let len = packet.len();
    packet.resize(len + 16, 0);
    let sealed = sender.protect_rtp(&mut packet, len)?;
    packet.truncate(sealed.len);
    Ok(packet)
}

fn policy() -> Policy {
    Policy { accepted: Weaknesses::ALL, ..Policy::default() }
}

fn sender(key: &MasterKey) -> Sender {
    Sender::new(key, &policy()).expect("suitable")
}

fn receiver(key: &MasterKey) -> Receiver {
    Receiver::new(key, &policy()).expect("suitable")
}

fn key(profile: Profile) -> MasterKey {
    let bytes = vec![0x42; profile.key_len() + profile.salt_len()];
    MasterKey::from_concatenated(profile, &bytes).expect("the profile's length")
}

const SSRC: u32 = 0xcafe;

fn before(index: PacketIndex) -> PacketIndex {
    match index.sequence() {
        0 => PacketIndex::new(index.roc() - 1, 65_535),
        sequence => PacketIndex::new(index.roc(), sequence - 1),
    }
}
