//! Packets of several sessions, made from anyone's bytes: protected and opened in batches by the
//! fastest backend, and one by one by the portable one; both ways give the same bytes and the same
//! outcomes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use srtp::{
    Backend, MasterKey, Policy, Profile, Receiver, Sender, ToOpen, ToProtect, Weaknesses,
    open_rtp_batch, protect_rtp_batch,
};

fuzz_target!(|bytes: &[u8]| {
    let plain = plain_packets(bytes);
    let (mut singly, mut together) = (sessions(Backend::Portable), sessions(Backend::detect()));

    let (mut one, mut many) = (with_tailroom(&plain), with_tailroom(&plain));
    let expected: Vec<_> = plain
        .iter()
        .zip(&mut one)
        .map(|((session, packet), buffer)| singly[*session].0.protect_rtp(buffer, packet.len()))
        .collect();
    let mut batch: Vec<_> = plain
        .iter()
        .zip(&mut many)
        .map(|((session, packet), buffer)| ToProtect::new(*session, buffer, packet.len()))
        .collect();
    let (mut senders, mut receivers): (Vec<Sender>, Vec<Receiver>) = together.drain(..).unzip();
    protect_rtp_batch(&mut senders, &mut batch);
    let outcomes: Vec<_> = batch.into_iter().map(|packet| packet.outcome).collect();
    let mut sealed = Vec::new();
    for (at, expected) in expected.into_iter().enumerate() {
        assert_eq!(outcomes[at], Some(expected));
        if let Ok(outcome) = expected {
            assert_eq!(one[at][..outcome.len], many[at][..outcome.len]);
            sealed.push((plain[at].0, one[at][..outcome.len].to_vec()));
        }
    }

    damage(&mut sealed, bytes);
    let (mut one, mut many) = (sealed.clone(), sealed);
    let expected: Vec<_> =
        one.iter_mut().map(|(session, packet)| singly[*session].1.open_rtp(packet)).collect();
    let mut batch: Vec<_> =
        many.iter_mut().map(|(session, packet)| ToOpen::new(*session, packet)).collect();
    open_rtp_batch(&mut receivers, &mut batch);
    let outcomes: Vec<_> = batch.into_iter().map(|packet| packet.outcome).collect();
    for (at, expected) in expected.into_iter().enumerate() {
        assert_eq!(outcomes[at].and_then(Result::ok), expected.ok());
        if let Ok(opened) = expected {
            assert_eq!(one[at].1[..opened.len], many[at].1[..opened.len]);
        }
    }
});

/// One session of each profile.
fn sessions(backend: Backend) -> Vec<(Sender, Receiver)> {
    let policy = Policy {
        replay_window: 64,
        max_streams: 2,
        accepted: Weaknesses::ALL,
        backend,
        ..Policy::default()
    };
    let session = |profile: Profile| {
        let key = vec![profile as u8; profile.key_len() + profile.salt_len()];
        let key = MasterKey::from_concatenated(profile, &key).unwrap();
        (Sender::new(&key, &policy).unwrap(), Receiver::new(&key, &policy).unwrap())
    };
    Profile::ALL.into_iter().map(session).collect()
}

/// Five bytes of each: session, source, sequence number, length; the payload is what follows.
fn plain_packets(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let packet = |(at, head): (usize, &[u8; 5])| {
        let [session, source, high, low, len] = *head;
        let mut packet = vec![0x80 | source >> 4, 0, high, low, 0, 0, 0, 0, 0, 0, 0, source & 3];
        let payload = bytes[5 * at..].iter().cycle().take(2 * usize::from(len));
        packet.extend(payload);
        (usize::from(session) % Profile::ALL.len(), packet)
    };
    bytes.as_chunks::<5>().0.iter().enumerate().take(100).map(packet).collect()
}

fn with_tailroom(plain: &[(usize, Vec<u8>)]) -> Vec<Vec<u8>> {
    plain.iter().map(|(_, packet)| [&packet[..], &[0; 16]].concat()).collect()
}

/// Repeats some packets and flips a bit in others.
fn damage(sealed: &mut Vec<(usize, Vec<u8>)>, bytes: &[u8]) {
    for (at, byte) in bytes.iter().enumerate().take(sealed.len()) {
        match byte % 16 {
            0 => sealed.push(sealed[at].clone()),
            1 => {
                let bit = usize::from(*byte) * 7 % (8 * sealed[at].1.len());
                sealed[at].1[bit / 8] ^= 1 << (bit % 8);
            }
            _ => {}
        }
    }
}
