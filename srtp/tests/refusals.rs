//! Bad input, one kind after the other: the value that says which, and nothing else changed.
#![allow(clippy::expect_used, reason = "a packet that cannot be made is the test's failure")]

use srtp::{
    KeyParameters, Lifetimes, Malformed, MasterKey, Mki, Policy, Profile, Receiver, Refusal,
    Sender, ToOpen, Weaknesses, open_rtp_batch,
};

type Change = fn(&mut Vec<u8>, Profile);

#[test]
fn each_kind_of_bad_packet_is_refused_by_its_name_and_changes_nothing() {
    let cases: [(Change, Refusal); 10] = [
        (|packet, _| packet.clear(), Malformed::TooShort.into()),
        (|packet, profile| packet.truncate(11 + trailer(profile)), Malformed::TooShort.into()),
        (|packet, _| packet[0] = 0x40, Malformed::WrongVersion.into()),
        (|packet, _| packet[0] = 0x8f, Malformed::CsrcsPastEnd.into()),
        (|packet, _| packet[0] = 0x90, Malformed::ExtensionPastEnd.into()),
        (|packet, _| packet.resize((1 << 20) + 40, 0), Malformed::TooLong.into()),
        (|packet, profile| set_mki(packet, profile, 9), Refusal::UnknownMki),
        (|packet, profile| flip_tag(packet, profile), Refusal::AuthenticationFailed),
        (|packet, _| packet[11] ^= 1, Refusal::AuthenticationFailed),
        (|packet, _| packet[13] ^= 1, Refusal::AuthenticationFailed),
    ];
    for (profile, (case, (change, expected))) in
        Profile::ALL.into_iter().flat_map(|p| cases.iter().enumerate().map(move |case| (p, case)))
    {
        let (mut sender, mut receiver) = pair(profile);
        receiver.open_rtp(&mut protect(&mut sender, 1)).expect("opens");
        let genuine = protect(&mut sender, 2);
        let mut bad = genuine.clone();
        change(&mut bad, profile);
        let before = state(&receiver);
        let mut receivers = [receiver];
        let mut packet = bad.clone();
        let mut batch = [ToOpen::new(0, &mut packet)];
        open_rtp_batch(&mut receivers[..], &mut batch);
        assert_eq!(batch[0].outcome, Some(Err(*expected)), "{profile}, case {case}, in a batch");
        let [mut receiver] = receivers;
        assert_eq!(receiver.open_rtp(&mut bad), Err(*expected), "{profile}, case {case}");
        assert_eq!(state(&receiver), before, "{profile}, case {case}");
        receiver.open_rtp(&mut genuine.clone()).expect("still opens");
    }
}

#[test]
fn each_kind_of_bad_report_is_refused_by_its_name_and_changes_nothing() {
    let cases: [(Change, Refusal); 5] = [
        (|packet, _| packet.clear(), Malformed::TooShort.into()),
        (
            |packet, profile| packet.truncate(7 + 4 + 1 + report_tag(profile)),
            Malformed::TooShort.into(),
        ),
        (|packet, _| packet[0] = 0xc0, Malformed::WrongVersion.into()),
        (|packet, _| packet[7] ^= 1, Refusal::AuthenticationFailed),
        (|packet, _| packet[1] ^= 1, Refusal::AuthenticationFailed),
    ];
    for (profile, (case, (change, expected))) in
        Profile::ALL.into_iter().flat_map(|p| cases.iter().enumerate().map(move |case| (p, case)))
    {
        let (mut sender, mut receiver) = pair(profile);
        let mut genuine = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
        genuine.resize(8 + 40, 0);
        let sealed = sender.protect_rtcp(&mut genuine, 8).expect("protects");
        genuine.truncate(sealed.len);
        let mut bad = genuine.clone();
        change(&mut bad, profile);
        let before = state(&receiver);
        assert_eq!(receiver.open_rtcp(&mut bad), Err(*expected), "{profile}, case {case}");
        assert_eq!(state(&receiver), before, "{profile}, case {case}");
        receiver.open_rtcp(&mut genuine.clone()).expect("still opens");
        assert_eq!(receiver.open_rtcp(&mut genuine), Err(Refusal::Replayed));
    }
}

#[test]
fn an_index_behind_the_window_and_a_replay_are_told_apart() {
    for profile in Profile::ALL {
        let (mut sender, mut receiver) = pair(profile);
        let [old, late, first, ahead] = [1, 99, 100, 1100].map(|s| protect(&mut sender, s));
        for packet in [&first, &ahead] {
            receiver.open_rtp(&mut packet.clone()).expect("opens");
        }
        let before = state(&receiver);
        assert_eq!(receiver.open_rtp(&mut old.clone()), Err(Refusal::TooOld), "{profile}");
        assert_eq!(receiver.open_rtp(&mut first.clone()), Err(Refusal::Replayed), "{profile}");
        assert_eq!(state(&receiver), before);
        receiver.open_rtp(&mut late.clone()).expect("within the window of 1,024");
    }
}

/// What a receiver shows of its state.
fn state(receiver: &Receiver) -> String {
    let streams: Vec<_> = receiver.streams().collect();
    format!("{streams:?} {:?}", receiver.keys().collect::<Vec<_>>())
}

fn pair(profile: Profile) -> (Sender, Receiver) {
    let policy = Policy { accepted: Weaknesses::ALL, ..Policy::default() };
    let bytes = vec![3; profile.key_len() + profile.salt_len()];
    let master = MasterKey::from_concatenated(profile, &bytes).expect("the profile's length");
    let mki = Mki::new(&[1]).expect("one byte");
    let key = KeyParameters { master: &master, mki, lifetimes: Lifetimes::MAX };
    let sender = Sender::new(key.clone(), &policy).expect("suitable");
    (sender, Receiver::new(key, &policy).expect("suitable"))
}

/// Twelve bytes of header and eight of payload.
fn protect(sender: &mut Sender, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0, 0, 0, 9]);
    packet.extend([0xff; 8]);
    packet.resize(20 + 32, 0);
    let sealed = sender.protect_rtp(&mut packet, 20).expect("protects");
    packet.truncate(sealed.len);
    packet
}

/// Bytes of tag and MKI.
fn trailer(profile: Profile) -> usize {
    profile.rtp_overhead() + 1
}

fn report_tag(profile: Profile) -> usize {
    profile.rtcp_overhead() - 4
}

/// The MKI is behind an AEAD's tag and before an HMAC's.
fn set_mki(packet: &mut [u8], profile: Profile, mki: u8) {
    let behind = if profile.is_aead() { 0 } else { profile.rtp_overhead() };
    let at = packet.len() - 1 - behind;
    packet[at] = mki;
}

fn flip_tag(packet: &mut [u8], profile: Profile) {
    let at = packet.len() - trailer(profile) + usize::from(!profile.is_aead());
    packet[at] ^= 0x80;
}
