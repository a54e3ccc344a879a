//! Rounds that are told, not counted: failover and late joining, both ways.

use srtp::{PacketIndex, PacketKind, Profile};

use crate::{
    Theirs, profiles,
    scenario::{
        Endpoint, Keys, Ours,
        packets::{Random, rtp_packet},
        policy,
    },
    session,
    sys::Direction,
};

#[test]
fn a_stream_taken_over_in_its_round_is_the_same_for_libsrtp_and_us() {
    for profile in profiles() {
        for roc in [1, 2, 0xffff, 0x1_0000, u32::MAX - 1] {
            take_over(profile, roc);
        }
    }
}

/// RFC 3711 section 9.2: after 2^48 packets a new key is needed. libsrtp counts packets, not
/// indexes: a stream that jumped or was taken over begins again, with the keystream of its first
/// round.
#[test]
fn libsrtp_goes_round_after_the_last_index_and_we_do_not() {
    let keys = Keys::without_mki(Profile::AeadAes128Gcm);
    let (mut ours, mut theirs) = pair(&keys, u32::MAX);
    let mut random = Random(5);
    let [last, over] = [u16::MAX, 0].map(|sequence| rtp_packet(sequence, SSRC, &mut random));
    let protected = theirs.protect(PacketKind::Rtp, &last);
    assert_eq!(ours.protect(PacketKind::Rtp, &last), protected);
    assert!(ours.protect(PacketKind::Rtp, &over).is_err());
    assert!(theirs.protect(PacketKind::Rtp, &over).is_ok(), "repaired: expect an error");
    assert_eq!(theirs.outbound.roc(SSRC), Ok(0));
}

/// Both senders and both receivers are told the round; then it changes.
fn take_over(profile: Profile, roc: u32) {
    let (mut ours, mut theirs) = pair(&Keys::without_mki(profile), roc);
    let mut random = Random(u64::from(roc));
    for step in 0..6 {
        let plain = rtp_packet(FIRST.wrapping_add(step), SSRC, &mut random);
        let protected = ours.protect(PacketKind::Rtp, &plain);
        assert_eq!(theirs.protect(PacketKind::Rtp, &plain), protected, "{profile}, ROC {roc}");
        let protected = protected.expect("protects");
        assert_eq!(ours.open(PacketKind::Rtp, &protected).as_ref(), Ok(&plain), "{profile}");
        assert_eq!(theirs.open(PacketKind::Rtp, &protected).as_ref(), Ok(&plain), "{profile}");
    }
    let last = PacketIndex::new(roc + 1, FIRST.wrapping_add(5));
    assert_eq!(ours.sender.streams().collect::<Vec<_>>(), [(SSRC, last)]);
    assert_eq!(ours.receiver.highest(SSRC), Some(last));
    assert_eq!(theirs.outbound.roc(SSRC), Ok(last.roc()));
    assert_eq!(theirs.inbound.roc(SSRC), Ok(last.roc()));
}

/// Ends that go on with a stream that others have sent and heard up to the packet before `FIRST`.
fn pair(keys: &Keys, roc: u32) -> (Ours, Theirs) {
    let mut ours = Ours::new(keys, &policy(1));
    ours.sender.resume(SSRC, PacketIndex::new(roc, FIRST - 1)).expect("goes forward");
    ours.receiver.expect_roc(SSRC, roc);
    let told = || {
        let mut session = session(Direction::Of(SSRC), keys).expect("a session");
        session.set_roc(SSRC, roc).expect("a stream of its own");
        session
    };
    (ours, Theirs::new(told(), told(), keys))
}

const SSRC: u32 = 0x8000_0001;
/// Some packets before a wrap.
const FIRST: u16 = 65_533;
