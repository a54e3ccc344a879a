//! Batches, whose packets go through the cryptography together: on every backend, what libsrtp
//! makes of them one by one.

use srtp::{
    Backend, PacketKind, Policy, Profile, ToOpen, ToProtect, open_rtp_batch, protect_rtp_batch,
};

use crate::{
    profiles,
    scenario::{
        Endpoint, Keys, Ours,
        packets::{Random, rtp_packet},
        policy,
    },
    theirs,
};

#[test]
fn a_batch_of_one_profile_is_what_libsrtp_makes_of_its_packets() {
    for &backend in Backend::available() {
        for profile in profiles() {
            carry(&[profile], backend);
        }
    }
}

#[test]
fn a_batch_of_sessions_of_every_profile_is_what_libsrtp_makes_of_its_packets() {
    for &backend in Backend::available() {
        carry(&profiles().collect::<Vec<_>>(), backend);
    }
}

/// Batches of more packets than go together, over a wrap, in one session of each profile.
fn carry(profiles: &[Profile], backend: Backend) {
    let keys: Vec<_> = profiles.iter().map(|&profile| Keys::without_mki(profile)).collect();
    let mut theirs: Vec<_> = keys.iter().map(theirs).collect();
    let policy = Policy { backend, ..policy(0) };
    let ours = keys.iter().map(|keys| Ours::new(keys, &policy));
    let (mut senders, mut receivers): (Vec<_>, Vec<_>) =
        ours.map(|ours| (ours.sender, ours.receiver)).unzip();
    let mut random = Random(11);
    for round in 0..6 {
        let plain = packets(round, profiles.len(), &mut random);
        let mut buffers: Vec<_> =
            plain.iter().map(|(_, plain)| [&plain[..], &[0; 16]].concat()).collect();
        let mut batch: Vec<_> = plain
            .iter()
            .zip(&mut buffers)
            .map(|((at, plain), buffer)| ToProtect::new(*at, buffer, plain.len()))
            .collect();
        protect_rtp_batch(&mut senders[..], &mut batch);

        let mut protected = Vec::new();
        for (packet, (at, plain)) in batch.iter().zip(&plain) {
            let sealed = packet.outcome.expect("protected").expect("protects");
            let expected = theirs[*at].protect(PacketKind::Rtp, plain).expect("protects");
            assert!(packet.buffer[..sealed.len] == expected, "{}, {backend}", profiles[*at]);
            protected.push((*at, expected));
        }
        let mut batch: Vec<_> =
            protected.iter_mut().map(|(at, packet)| ToOpen::new(*at, packet)).collect();
        open_rtp_batch(&mut receivers[..], &mut batch);
        for (packet, (at, plain)) in batch.iter().zip(&plain) {
            let opened = packet.outcome.expect("opened").expect("opens");
            assert!(packet.packet[..opened.len] == plain[..], "{}, {backend}", profiles[*at]);
        }
    }
}

/// Packets for sessions, each with its session's place.
fn packets(round: u16, sessions: usize, random: &mut Random) -> Vec<(usize, Vec<u8>)> {
    let packet = |number: u16| {
        let ssrc = u32::from(number % 3);
        let sequence = 65_480u16.wrapping_add(round * PACKETS + number);
        (usize::from(number) % sessions, rtp_packet(sequence, ssrc, random))
    };
    (0..PACKETS).map(packet).collect()
}

/// More than [`srtp::BATCH_LEN`], and no multiple of it.
const PACKETS: u16 = 75;
