//! The whole state of a receiver, compared: what a packet that fails leaves behind is nothing.

use proptest::prelude::*;

use crate::{
    KeyParameters, Lifetimes, MasterKey, Mki, PacketIndex, Policy, Profile, Receiver, Sender,
    ToOpen, Weaknesses, open_rtp_batch,
};

/// What arrives at a receiver.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    /// The next packet of this stream, after a step in its sequence.
    Genuine(u32, u16),
    /// The same, with this bit flipped.
    Damaged(u32, u16, usize),
    /// One that came before.
    Again(usize),
    /// Bytes of anyone's.
    Noise(u64, usize),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_packet_that_fails_changes_nothing(
        profile in prop::sample::select(&Profile::ALL[..]),
        arrivals in prop::collection::vec(arrival(), 1..120),
        expects: bool,
        switches_at in 0usize..120,
    ) {
        let masters = [1, 2].map(|byte| key(profile, byte));
        let keys = [parameters(&masters[0], 1), parameters(&masters[1], 2)];
        let mut sender = Sender::new(keys[0].clone(), &policy()).expect("suitable");
        sender.install(&keys[1]).expect("suitable");
        // One receiver is given everything, another only what the first one opened, and a third
        // everything in batches.
        let [mut all, mut opened, batched] = [(); 3].map(|()| receiver(&keys, expects));
        let mut batched = [batched];
        let mut sequences = [65_500_u16; 6];
        let mut sent = Vec::new();
        let mut batch = Vec::new();
        for (at, arrival) in arrivals.into_iter().enumerate() {
            if at == switches_at {
                sender.switch_to(&keys[1].mki).expect("installed");
            }
            let Some(packet) = packet(arrival, &mut sender, &mut sequences, &mut sent) else {
                continue;
            };
            let before = all.content();
            if all.open_rtp(&mut packet.clone()).is_ok() {
                prop_assert!(opened.open_rtp(&mut packet.clone()).is_ok());
                prop_assert_ne!(all.content(), before, "an opened packet counts");
            } else {
                prop_assert_eq!(all.content(), before, "{:?}", arrival);
                let mut report = packet.clone();
                prop_assert!(all.open_rtcp(&mut report).is_err());
            }
            batch.push(packet);
        }
        prop_assert_eq!(all.content(), opened.content());
        let mut jobs: Vec<_> = batch.iter_mut().map(|packet| ToOpen::new(0, packet)).collect();
        open_rtp_batch(&mut batched[..], &mut jobs);
        prop_assert_eq!(all.content(), batched[0].content());
    }
}

fn packet(
    arrival: Arrival,
    sender: &mut Sender,
    sequences: &mut [u16; 6],
    sent: &mut Vec<Vec<u8>>,
) -> Option<Vec<u8>> {
    match arrival {
        Arrival::Genuine(ssrc, step) => {
            let packet = protect(sender, ssrc, step, sequences)?;
            sent.push(packet.clone());
            Some(packet)
        }
        Arrival::Damaged(ssrc, step, bit) => {
            let mut packet = protect(sender, ssrc, step, sequences)?;
            let bit = bit % (8 * packet.len());
            packet[bit / 8] ^= 1 << (bit % 8);
            Some(packet)
        }
        Arrival::Again(at) => sent.get(at % sent.len().max(1)).cloned(),
        Arrival::Noise(seed, len) => {
            let mut packet: Vec<u8> = seed.to_be_bytes().into_iter().cycle().take(len).collect();
            if let Some(first) = packet.first_mut() {
                *first = *first & 0x3f | 0x80;
            }
            Some(packet)
        }
    }
}

fn protect(sender: &mut Sender, ssrc: u32, step: u16, sequences: &mut [u16; 6]) -> Option<Vec<u8>> {
    let sequence = &mut sequences[ssrc as usize];
    *sequence = sequence.wrapping_add(step);
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend(b"payload");
    let len = packet.len();
    packet.resize(len + 17, 0);
    let sealed = sender.protect_rtp(&mut packet, len).ok()?;
    packet.truncate(sealed.len);
    Some(packet)
}

fn receiver(keys: &[KeyParameters<'_>; 2], expects: bool) -> Receiver {
    let mut receiver = Receiver::new(keys[0].clone(), &policy()).expect("suitable");
    receiver.install(&keys[1]).expect("suitable");
    if expects {
        for ssrc in 0..6 {
            receiver.expect(ssrc, PacketIndex::new(ssrc, 7));
        }
    }
    receiver
}

fn policy() -> Policy {
    let accepted = Weaknesses::ALL;
    Policy { max_streams: 3, replay_window: 64, accepted, ..Policy::default() }
}

fn parameters(master: &MasterKey, number: u8) -> KeyParameters<'_> {
    let mki = Mki::new(&[number]).expect("one byte");
    KeyParameters { master, mki, lifetimes: Lifetimes::MAX }
}

fn key(profile: Profile, byte: u8) -> MasterKey {
    let bytes = vec![byte; profile.key_len() + profile.salt_len()];
    MasterKey::from_concatenated(profile, &bytes).expect("the profile's length")
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let step = || prop_oneof![6 => Just(1_u16), 2 => 0_u16..80, 1 => 20_000_u16..33_000];
    prop_oneof![
        5 => (0u32..6, step()).prop_map(|(ssrc, step)| Arrival::Genuine(ssrc, step)),
        2 => (0u32..6, step(), any::<usize>())
            .prop_map(|(ssrc, step, bit)| Arrival::Damaged(ssrc, step, bit)),
        2 => any::<usize>().prop_map(Arrival::Again),
        1 => (any::<u64>(), 0usize..60).prop_map(|(seed, len)| Arrival::Noise(seed, len)),
    ]
}
