//! Interoperation with libsrtp, both ways: every profile that it has, with and without MKIs,
//! several keys, and whatever may be left out.
#![allow(
    clippy::expect_used,
    reason = "a call that cannot be made or carried is the test's failure"
)]

mod aes_192;
mod batches;
mod header_extensions;
mod rounds;
#[path = "../scenario/mod.rs"]
mod scenario;
mod session_parameters;
mod sys;

use scenario::{
    Endpoint, Keys, Ours, Refused, carry_call,
    packets::{Random, compound_report},
    policy,
};
use srtp::{PacketKind, Profile};
use sys::{Direction, Key, Packet, Session, Status, Suite};

#[test]
fn a_call_is_the_same_for_libsrtp_and_us() {
    for profile in profiles() {
        for seed in 1..=2 {
            carry(&Keys::without_mki(profile), seed);
        }
    }
}

#[test]
fn a_call_over_changes_of_key_is_the_same_for_libsrtp_and_us() {
    let mut shapes = [(1, 1), (3, 4), (2, 128)].into_iter().cycle();
    for profile in profiles() {
        // The shapes come round, so that each kind of tag meets each.
        for (keys, mki_len) in shapes.by_ref().take(2) {
            carry(&Keys::with_mkis(profile, keys, mki_len), 3);
        }
    }
}

/// Why [`Endpoint::opens_reports`] may say no for libsrtp: 2.5 looks for SRTCP's MKI in front of a
/// tag of SRTP's length, and with the short tag SRTCP's is longer. Its own packets are those that
/// we make, and it cannot open them.
#[test]
fn libsrtp_cannot_open_its_own_srtcp_with_an_mki_and_the_short_tag() {
    for profile in profiles().filter(|profile| profile.rtp_overhead() == 4) {
        let keys = Keys::with_mkis(profile, 1, 1);
        let mut theirs = theirs(&keys);
        let report = compound_report(9, &mut Random(5));
        let protected = theirs.protect(PacketKind::Rtcp, &report).expect("protects");
        let mut ours = Ours::new(&keys, &policy(1));
        assert_eq!(ours.open(PacketKind::Rtcp, &protected), Ok(report));
        let opened = theirs.open(PacketKind::Rtcp, &protected);
        assert!(opened.is_err(), "repaired: let it opens_reports");
    }
}

fn carry(keys: &Keys, seed: u64) {
    println!(
        "{}, {} keys, MKIs of {} bytes, seed {seed}",
        keys.profile(),
        keys.count(),
        keys.mki(0).len()
    );
    carry_call(&mut Ours::new(keys, &policy(seed)), &mut theirs(keys), seed);
}

fn profiles() -> impl Iterator<Item = Profile> {
    Profile::ALL.into_iter().filter(|&profile| suite(profile).is_some())
}

fn suite(profile: Profile) -> Option<Suite> {
    Some(match profile {
        Profile::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        Profile::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        Profile::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
        Profile::AesCm256HmacSha1_32 => Suite::AesCm256HmacSha1_32,
        Profile::AeadAes128Gcm => Suite::AesGcm128,
        Profile::AeadAes256Gcm => Suite::AesGcm256,
        Profile::NullHmacSha1_80 => Suite::NullHmacSha1_80,
        Profile::NullHmacSha1_32 => Suite::NullHmacSha1_32,
        // See `aes_192`.
        Profile::AesCm192HmacSha1_80 | Profile::AesCm192HmacSha1_32 => return None,
        Profile::F8_128HmacSha1_80 | Profile::F8_128HmacSha1_32 => return None,
    })
}

struct Theirs {
    outbound: Session,
    inbound: Session,
    opens_reports: bool,
    /// Whether it encrypts some elements of header extensions.
    encrypts_elements: bool,
}

impl Theirs {
    fn new(outbound: Session, inbound: Session, keys: &Keys) -> Self {
        let short_tag = keys.profile().rtp_overhead() == 4;
        let opens_reports = keys.mki(0).is_empty() || !short_tag;
        Self { outbound, inbound, opens_reports, encrypts_elements: false }
    }
}

fn theirs(keys: &Keys) -> Theirs {
    let session = |direction| session(direction, keys).expect("a session");
    Theirs::new(session(Direction::Outbound), session(Direction::Inbound), keys)
}

fn session(direction: Direction, keys: &Keys) -> Result<Session, Status> {
    let suite = suite(keys.profile()).expect("a profile that they have");
    Session::new(direction, suite, &their_keys(keys))
}

fn their_keys(keys: &Keys) -> Vec<Key> {
    let key = |at| {
        let (key, salt) = keys.key_and_salt(at);
        Key { key: [key, salt].concat(), mki: keys.mki(at).to_vec() }
    };
    (0..keys.count()).map(key).collect()
}

impl Endpoint for Theirs {
    fn switch_to(&mut self, key: usize) {
        self.outbound.switch_to(key);
    }

    fn protect(&mut self, kind: PacketKind, plain: &[u8]) -> Result<Vec<u8>, Refused> {
        in_place(plain, |packet| match kind {
            PacketKind::Rtp => self.outbound.protect_rtp(packet),
            PacketKind::Rtcp => self.outbound.protect_rtcp(packet),
        })
    }

    fn open(&mut self, kind: PacketKind, protected: &[u8]) -> Result<Vec<u8>, Refused> {
        in_place(protected, |packet| match kind {
            PacketKind::Rtp => self.inbound.unprotect_rtp(packet),
            PacketKind::Rtcp => self.inbound.unprotect_rtcp(packet),
        })
    }

    /// See [`header_extensions`].
    fn takes(&self, plain: &[u8]) -> bool {
        let header = srtp::rtp::Header::new_checked(plain).expect("a whole header");
        let no_elements = header.extension().is_some_and(|(kind, _)| kind == 0xabcd);
        !(self.encrypts_elements && no_elements)
    }

    fn opens_reports(&self) -> bool {
        self.opens_reports
    }
}

fn in_place(
    bytes: &[u8],
    act: impl FnOnce(&mut Packet) -> Result<(), Status>,
) -> Result<Vec<u8>, Refused> {
    let mut packet = Packet::copy_from(bytes);
    act(&mut packet).map_err(|status| match status {
        Status::AUTH_FAIL => Refused::NotAuthentic,
        Status::REPLAY_FAIL => Refused::Replayed,
        Status::REPLAY_OLD => Refused::TooOld,
        other => Refused::Other(format!("libsrtp: {other:?}")),
    })?;
    Ok(packet.as_bytes().to_vec())
}
