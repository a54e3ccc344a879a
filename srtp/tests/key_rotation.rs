//! Several master keys in one direction: rotation by MKI loses nothing and repeats nothing.
#![allow(clippy::expect_used, reason = "a key that cannot be made is the test's failure")]

use proptest::prelude::*;
use srtp::{
    KeyNotFound, KeyParameters, Lifetimes, MAX_KEYS, MasterKey, Mki, Policy, Profile, Receiver,
    Refusal, Sender, Unsuitable, Weaknesses,
};

#[test]
fn a_rotation_loses_no_packet_in_any_order_of_arrival() {
    for profile in Profile::ALL {
        for mki_len in [1, 4, 128] {
            let keys = [key(profile, 1), key(profile, 2)];
            let [old, new] = [0, 1].map(|at| parameters(&keys[at], at as u8, mki_len));
            let mut sender = Sender::new(old.clone(), &policy()).expect("suitable");
            let mut receiver = Receiver::new(old.clone(), &policy()).expect("suitable");
            receiver.install(&new).expect("suitable");
            sender.install(&new).expect("suitable");

            let mut packets: Vec<_> = (65_500..65_530).map(|s| protect(&mut sender, s)).collect();
            sender.switch_to(&new.mki).expect("installed");
            packets.extend((65_530..=65_535).chain(0..30).map(|s| protect(&mut sender, s)));
            // Each fifth is overtaken by the seven behind it, across the switch and the wrap.
            for at in (0..packets.len() - 8).step_by(5) {
                packets[at..at + 8].rotate_left(1);
            }
            for packet in &packets {
                receiver.open_rtp(&mut packet.clone()).expect("opens");
            }
            receiver.retire(&old.mki).expect("is there");
            let again = receiver.open_rtp(&mut packets[0].clone());
            assert_eq!(again, Err(Refusal::UnknownMki), "{profile}, MKI of {mki_len}");
            receiver.open_rtp(&mut protect(&mut sender, 40)).expect("opens");
        }
    }
}

#[test]
fn a_replay_is_one_whatever_the_key_in_use() {
    let profile = Profile::AesCm128HmacSha1_80;
    let keys = [key(profile, 1), key(profile, 2)];
    let [old, new] = [0, 1].map(|at| parameters(&keys[at], at as u8, 2));
    let mut sender = Sender::new(old.clone(), &policy()).expect("suitable");
    let mut receiver = Receiver::new(old, &policy()).expect("suitable");
    sender.install(&new).expect("suitable");
    receiver.install(&new).expect("suitable");
    let before = protect(&mut sender, 7);
    receiver.open_rtp(&mut before.clone()).expect("opens");
    sender.switch_to(&new.mki).expect("installed");
    receiver.open_rtp(&mut protect(&mut sender, 8)).expect("opens");
    assert_eq!(receiver.open_rtp(&mut before.clone()), Err(Refusal::Replayed));
    // Nor does the sender take an index again that another key used.
    assert_eq!(try_protect(&mut sender, 7).1, Err(Refusal::IndexReused));
}

#[test]
fn the_srtcp_index_goes_on_over_a_switch() {
    let profile = Profile::AeadAes128Gcm;
    let keys = [key(profile, 1), key(profile, 2)];
    let [old, new] = [0, 1].map(|at| parameters(&keys[at], at as u8, 1));
    let mut sender = Sender::new(old, &policy()).expect("suitable");
    sender.install(&new).expect("suitable");
    let mut report = [0; 60];
    report[..2].copy_from_slice(&[0x80, 200]);
    let index =
        |sender: &mut Sender| sender.protect_rtcp(&mut report.clone(), 28).expect("protects").index;
    assert_eq!((index(&mut sender), index(&mut sender)), (0, 1));
    sender.switch_to(&new.mki).expect("installed");
    assert_eq!(index(&mut sender), 2);
}

#[test]
fn an_exhausted_key_gives_way_to_the_next() {
    let profile = Profile::AeadAes128Gcm;
    let lifetimes = Lifetimes::from_sdes(3).expect("in range");
    let keys = [key(profile, 1), key(profile, 2)];
    let [old, new] =
        [0, 1].map(|at| KeyParameters { lifetimes, ..parameters(&keys[at], at as u8, 1) });
    let mut sender = Sender::new(old.clone(), &policy()).expect("suitable");
    let mut receiver = Receiver::new(old.clone(), &policy()).expect("suitable");
    sender.install(&new).expect("suitable");
    receiver.install(&new).expect("suitable");
    for sequence in 0..3 {
        receiver.open_rtp(&mut protect(&mut sender, sequence)).expect("opens");
    }
    assert_eq!(try_protect(&mut sender, 2).1, Err(Refusal::IndexReused));
    let in_use = sender.keys().next().map(|key| key.mki.clone());
    assert_eq!(in_use.as_ref(), Some(&old.mki), "a refused packet changes no key");
    for sequence in 3..6 {
        receiver.open_rtp(&mut protect(&mut sender, sequence)).expect("opens");
    }
    assert_eq!(try_protect(&mut sender, 6).1, Err(Refusal::KeyExhausted));
    let used: Vec<_> = sender.keys().map(|key| (key.mki.clone(), key.rtp_packets)).collect();
    assert_eq!(used, [(new.mki, 3), (old.mki, 3)]);
}

#[test]
fn keys_that_could_not_be_told_apart_are_refused_with_the_reason() {
    let (gcm, cm) = (Profile::AeadAes128Gcm, Profile::AesCm128HmacSha1_80);
    let keys = [key(gcm, 1), key(gcm, 2)];
    let first = parameters(&keys[0], 0, 2);
    let mut receiver = Receiver::new(first.clone(), &policy()).expect("suitable");
    let refused = |receiver: &mut Receiver, key: KeyParameters<'_>| receiver.install(&key);
    assert_eq!(
        refused(&mut receiver, parameters(&keys[1], 1, 3)),
        Err(Unsuitable::OtherMkiLength { expected: 2, got: 3 })
    );
    assert_eq!(refused(&mut receiver, parameters(&keys[1], 0, 2)), Err(Unsuitable::MkiInUse));
    let other = key(cm, 1);
    assert_eq!(
        refused(&mut receiver, parameters(&other, 1, 2)),
        Err(Unsuitable::OtherProfile { expected: gcm, got: cm })
    );
    for number in 1..MAX_KEYS as u8 {
        receiver.install(&parameters(&keys[1], number, 2)).expect("suitable");
    }
    assert_eq!(refused(&mut receiver, parameters(&keys[1], 99, 2)), Err(Unsuitable::TooManyKeys));

    let mut nameless = Receiver::new(&keys[0], &policy()).expect("suitable");
    assert_eq!(nameless.install(&(&keys[1]).into()), Err(Unsuitable::NoMki));
    assert_eq!(nameless.retire(&Mki::none()), Err(KeyNotFound::Last));
    assert_eq!(nameless.retire(&first.mki), Err(KeyNotFound::Unknown));
}

#[test]
fn an_mki_of_no_key_is_refused_and_changes_nothing() {
    let master = key(Profile::AesCm128HmacSha1_80, 1);
    let parameters = parameters(&master, 5, 4);
    let mut sender = Sender::new(parameters.clone(), &policy()).expect("suitable");
    let mut receiver = Receiver::new(parameters, &policy()).expect("suitable");
    let packet = protect(&mut sender, 9);
    let mut other = packet.clone();
    let mki_at = packet.len() - 10 - 4;
    other[mki_at] ^= 1;
    assert_eq!(receiver.open_rtp(&mut other), Err(Refusal::UnknownMki));
    receiver.open_rtp(&mut packet.clone()).expect("opens");
}

#[test]
fn a_key_protects_no_more_than_its_lifetime_under_two_mkis_or_by_coming_back() {
    let profile = Profile::AeadAes128Gcm;
    let lifetimes = Lifetimes::from_sdes(3).expect("in range");
    let keys = [key(profile, 1), key(profile, 2)];
    let parameters =
        |at: usize, number| KeyParameters { lifetimes, ..parameters(&keys[at], number, 1) };
    let mut sender = Sender::new(parameters(0, 0), &policy()).expect("suitable");
    assert_eq!(sender.install(&parameters(0, 9)), Err(Unsuitable::KeyInUse));
    sender.install(&parameters(1, 1)).expect("suitable");
    for sequence in 0..3 {
        protect(&mut sender, sequence);
    }
    sender.retire(&mki(0, 1)).expect("not the only one");
    sender.install(&parameters(0, 9)).expect("suitable, and exhausted");
    for sequence in 3..6 {
        assert_eq!(protect(&mut sender, sequence).len(), 12 + 22 + 16 + 1);
    }
    assert_eq!(try_protect(&mut sender, 6).1, Err(Refusal::KeyExhausted));
    let used: Vec<_> = sender.keys().map(|key| (key.mki.clone(), key.rtp_packets)).collect();
    assert_eq!(used, [(mki(1, 1), 3), (mki(9, 1), 3)]);
}

#[test]
fn a_key_that_ends_gives_way_to_one_installed_later_not_to_one_before() {
    let profile = Profile::AeadAes128Gcm;
    let keys: Vec<_> = (0..4).map(|byte| key(profile, byte)).collect();
    let few = Lifetimes::from_sdes(1).expect("in range");
    let build = |lifetimes| {
        let mut sender = Sender::new(parameters(&keys[0], 0, 1), &policy()).expect("suitable");
        let second = KeyParameters { lifetimes, ..parameters(&keys[1], 1, 1) };
        sender.install(&second).expect("suitable");
        sender.install(&parameters(&keys[2], 2, 1)).expect("suitable");
        sender.install(&parameters(&keys[3], 3, 1)).expect("suitable");
        protect(&mut sender, 0);
        sender.switch_to(&mki(1, 1)).expect("installed");
        protect(&mut sender, 1);
        sender
    };
    let in_use = |sender: &Sender| sender.keys().next().map(|key| key.mki.clone());
    let mut exhausted = build(few);
    protect(&mut exhausted, 2);
    assert_eq!(in_use(&exhausted), Some(mki(2, 1)), "the next");
    let mut retired = build(Lifetimes::MAX);
    retired.retire(&mki(1, 1)).expect("not the only one");
    assert_eq!(in_use(&retired), Some(mki(3, 1)), "the newest");
}

/// What may happen to a pair of directions.
#[derive(Clone, Debug)]
enum Event {
    Send(u16),
    Install(u8),
    Switch(u8),
    Retire(u8),
}

proptest! {
    /// The model: the receiver always has the sender's keys, so whatever is protected opens, and
    /// no (key, index) is used twice.
    #[test]
    fn whatever_is_sent_under_an_installed_key_opens_once(
        events in prop::collection::vec(event(), 1..200)
    ) {
        let masters: Vec<_> = (0..8).map(|b| key(Profile::AesCm128HmacSha1_32, b)).collect();
        let first = parameters(&masters[0], 0, 1);
        let mut sender = Sender::new(first.clone(), &policy()).expect("suitable");
        let mut receiver = Receiver::new(first, &policy()).expect("suitable");
        let mut used = std::collections::BTreeSet::new();
        let mut sequence = 0_u16;
        for event in events {
            match event {
                Event::Send(step) => {
                    sequence = sequence.wrapping_add(step);
                    let (packet, sealed) = try_protect(&mut sender, sequence);
                    let current = sender.keys().next().expect("one is in use").mki.clone();
                    if let Ok(index) = sealed {
                        prop_assert!(used.insert((current.as_bytes().to_vec(), index)));
                        prop_assert_eq!(packet[packet.len() - 5], current.as_bytes()[0]);
                        prop_assert!(receiver.open_rtp(&mut packet.clone()).is_ok());
                        let again = receiver.open_rtp(&mut packet.clone());
                        prop_assert_eq!(again, Err(Refusal::Replayed));
                    }
                }
                Event::Install(at) => {
                    let key = parameters(&masters[usize::from(at)], at, 1);
                    let installed = sender.install(&key);
                    // What is in use already has the same MKI here.
                    if installed != Err(Unsuitable::KeyInUse) {
                        prop_assert_eq!(receiver.install(&key), installed);
                    }
                }
                Event::Switch(at) => drop(sender.switch_to(&mki(at, 1))),
                Event::Retire(at) => {
                    prop_assert_eq!(receiver.retire(&mki(at, 1)), sender.retire(&mki(at, 1)));
                }
            }
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => prop_oneof![Just(1u16), 0u16..40, 0u16..30_000].prop_map(Event::Send),
        2 => (0u8..8).prop_map(Event::Install),
        2 => (0u8..8).prop_map(Event::Switch),
        1 => (0u8..8).prop_map(Event::Retire),
    ]
}

fn protect(sender: &mut Sender, sequence: u16) -> Vec<u8> {
    let (packet, sealed) = try_protect(sender, sequence);
    sealed.expect("protects");
    packet
}

fn try_protect(sender: &mut Sender, sequence: u16) -> (Vec<u8>, Result<u64, Refusal>) {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 0, 1, 2, 3, 4]);
    packet.extend(b"payload of some length");
    let len = packet.len();
    packet.resize(len + 16 + 128, 0);
    let sealed = sender.protect_rtp(&mut packet, len);
    if let Ok(sealed) = sealed {
        packet.truncate(sealed.len);
    }
    (packet, sealed.map(|sealed| sealed.index.value()))
}

fn policy() -> Policy {
    Policy { accepted: Weaknesses::ALL, ..Policy::default() }
}

fn parameters(master: &MasterKey, number: u8, mki_len: usize) -> KeyParameters<'_> {
    KeyParameters { master, mki: mki(number, mki_len), lifetimes: Lifetimes::MAX }
}

fn mki(number: u8, len: usize) -> Mki {
    let mut bytes = vec![0; len];
    bytes[len - 1] = number;
    Mki::new(&bytes).expect("at most 128 bytes")
}

fn key(profile: Profile, byte: u8) -> MasterKey {
    let bytes = vec![byte; profile.key_len() + profile.salt_len()];
    MasterKey::from_concatenated(profile, &bytes).expect("the profile's length")
}
