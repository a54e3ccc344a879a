//! A batch gives, packet for packet, what one by one gives: outcomes, bytes and use of keys.
#![allow(clippy::expect_used, reason = "a session that cannot be made is the test's failure")]

use proptest::prelude::*;
use srtp::{
    KeyParameters, Lifetimes, MasterKey, Mki, Policy, Profile, Receiver, Sender, ToOpen, ToProtect,
    Weaknesses, open_rtp_batch, protect_rtp_batch,
};

/// A packet to send: session, source, step of its sequence number, payload length.
type Step = (usize, u32, i32, usize);

/// What happens to a protected packet on its way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    ArrivesTwice,
    Lost,
    /// The bit at this place, modulo its length, flips.
    Damaged(usize),
    /// It is cut to this length, if it is longer.
    Cut(usize),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn equals_one_by_one(
        steps in prop::collection::vec(step(), 1..150),
        fates in prop::collection::vec(fate(), 150),
        switches in prop::collection::vec(0usize..150, 0..4),
        profiles in prop::collection::vec(prop::sample::select(&Profile::ALL[..]), SESSIONS),
        lifetime in prop_oneof![Just(1u64 << 48), 1u64..60],
    ) {
        let make = || -> (Vec<Sender>, Vec<Receiver>) {
            profiles.iter().map(|&profile| session(profile, lifetime)).unzip()
        };
        let (mut singly, mut single_receivers) = make();
        let (mut together, mut batch_receivers) = make();
        let mut arriving = Vec::new();
        let plain = plain_packets(&steps);
        // A switch of keys falls between batches; within one, exhaustion switches.
        let mut at = 0;
        for end in switches.iter().copied().map(|s| s.min(plain.len())).chain([plain.len()]) {
            let chunk = &plain[at.min(end)..end];
            let fates = &fates[at.min(end)..end];
            arriving.extend(protected(chunk, fates, &mut singly, &mut together)?);
            at = at.max(end);
            for sender in singly.iter_mut().chain(&mut together) {
                let _ = sender.switch_to(&mki(2));
            }
        }
        opened(&arriving, &mut single_receivers, &mut batch_receivers)?;
    }
}

/// Protects `plain` both ways, compares, and returns what arrives.
fn protected(
    plain: &[(usize, Vec<u8>)],
    fates: &[Fate],
    singly: &mut [Sender],
    together: &mut [Sender],
) -> Result<Vec<(usize, Vec<u8>)>, TestCaseError> {
    let buffers = || -> Vec<(usize, Vec<u8>)> {
        plain.iter().map(|(s, packet)| (*s, [&packet[..], &[0; 40]].concat())).collect()
    };
    let (mut one, mut many) = (buffers(), buffers());
    let expected: Vec<_> = one
        .iter_mut()
        .map(|(s, buffer)| {
            let len = buffer.len() - 40;
            singly[*s].protect_rtp(buffer, len)
        })
        .collect();
    let mut batch: Vec<_> = many
        .iter_mut()
        .map(|(s, buffer)| {
            let len = buffer.len() - 40;
            ToProtect::new(*s, buffer, len)
        })
        .collect();
    protect_rtp_batch(together, &mut batch);
    let outcomes: Vec<_> = batch.into_iter().map(|packet| packet.outcome).collect();

    let mut arriving = Vec::new();
    for (at, expected) in expected.into_iter().enumerate() {
        prop_assert_eq!(outcomes[at], Some(expected), "packet {}", at);
        if let Ok(sealed) = expected {
            let packet = &one[at].1[..sealed.len];
            prop_assert_eq!(packet, &many[at].1[..sealed.len], "packet {}", at);
            arriving.extend(carry(fates[at], packet).into_iter().map(|p| (one[at].0, p)));
        }
    }
    Ok(arriving)
}

fn opened(
    arriving: &[(usize, Vec<u8>)],
    singly: &mut [Receiver],
    together: &mut [Receiver],
) -> Result<(), TestCaseError> {
    let (mut one, mut many) = (arriving.to_vec(), arriving.to_vec());
    let expected: Vec<_> = one.iter_mut().map(|(s, packet)| singly[*s].open_rtp(packet)).collect();
    let mut batch: Vec<_> = many.iter_mut().map(|(s, packet)| ToOpen::new(*s, packet)).collect();
    open_rtp_batch(together, &mut batch);
    let outcomes: Vec<_> = batch.into_iter().map(|packet| packet.outcome).collect();
    for (at, expected) in expected.into_iter().enumerate() {
        // Of two reasons to refuse, a pass may meet the other one first.
        let outcome = outcomes[at].expect("every packet has an outcome");
        prop_assert_eq!(
            outcome.ok(),
            expected.ok(),
            "packet {}: {:?}, {:?}",
            at,
            outcome,
            expected
        );
        if let Ok(opened) = expected {
            prop_assert_eq!(&one[at].1[..opened.len], &many[at].1[..opened.len], "packet {}", at);
        }
    }
    for (one, many) in singly.iter().zip(&*together) {
        prop_assert_eq!(one.keys().collect::<Vec<_>>(), many.keys().collect::<Vec<_>>());
    }
    Ok(())
}

fn carry(fate: Fate, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut packet = packet.to_vec();
    match fate {
        Fate::Arrives => vec![packet],
        Fate::ArrivesTwice => vec![packet.clone(), packet],
        Fate::Lost => vec![],
        Fate::Damaged(bit) => {
            let bit = bit % (8 * packet.len());
            packet[bit / 8] ^= 1 << (bit % 8);
            vec![packet]
        }
        Fate::Cut(len) => {
            packet.truncate(len);
            vec![packet]
        }
    }
}

fn plain_packets(steps: &[Step]) -> Vec<(usize, Vec<u8>)> {
    let mut sequences = [[65_530_i32; SOURCES as usize]; SESSIONS];
    let packet = |&(session, ssrc, step, len): &Step| {
        let sequence = &mut sequences[session][ssrc as usize];
        *sequence += step;
        let mut packet = vec![0x80, 0];
        packet.extend((*sequence as u16).to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend((0..len).map(|byte| byte as u8));
        (session, packet)
    };
    steps.iter().map(packet).collect()
}

/// Two keys each: the second takes over when the first is exhausted, or when it is told to.
fn session(profile: Profile, lifetime: u64) -> (Sender, Receiver) {
    let policy = Policy {
        max_streams: 3,
        replay_window: 64,
        accepted: Weaknesses::ALL,
        ..Policy::default()
    };
    let masters = [1, 2].map(|byte| {
        let bytes = vec![byte; profile.key_len() + profile.salt_len()];
        MasterKey::from_concatenated(profile, &bytes).expect("the profile's length")
    });
    let lifetimes = Lifetimes::from_sdes(lifetime).expect("in range");
    let key = |at: usize| KeyParameters { master: &masters[at], mki: mki(at as u8 + 1), lifetimes };
    let mut sender = Sender::new(key(0), &policy).expect("suitable");
    let mut receiver = Receiver::new(key(0), &policy).expect("suitable");
    sender.install(&key(1)).expect("suitable");
    receiver.install(&key(1)).expect("suitable");
    (sender, receiver)
}

fn mki(number: u8) -> Mki {
    Mki::new(&[number]).expect("one byte")
}

fn step() -> impl Strategy<Value = Step> {
    let sequence = prop_oneof![8 => Just(1), 2 => -3..4, 1 => -70..70, 1 => -40_000..40_000];
    let len = prop_oneof![6 => Just(160usize), 3 => 0usize..300, 1 => 1_000usize..1_300];
    (0..SESSIONS, 0..SOURCES, sequence, len)
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Arrives),
        2 => Just(Fate::ArrivesTwice),
        1 => Just(Fate::Lost),
        2 => any::<usize>().prop_map(Fate::Damaged),
        1 => (0usize..40).prop_map(Fate::Cut),
    ]
}

const SESSIONS: usize = 4;
const SOURCES: u32 = 5;
