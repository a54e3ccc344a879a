//! Interoperation with libsrtp, both ways, every profile, with and without an MKI.
#![allow(
    clippy::expect_used,
    reason = "a call that cannot be made or carried is the test's failure"
)]

#[path = "../scenario/mod.rs"]
mod scenario;
mod sys;

use scenario::{Endpoint, Ours, Reordering, carry_call, master_bytes, master_key};
use srtp::{KeyParameters, Mki, Policy, Profile, Receiver, Sender};
use sys::{Direction, Packet, Session, Status};

#[test]
fn libsrtp_opens_what_we_protect() {
    for_every_case(|profile, reordering, mki| {
        if profile == Profile::AesCm128HmacSha1_32 && !mki.is_empty() {
            return;
        }
        let arrived = carry_call(&mut ours(profile, mki), &mut theirs(profile, mki), reordering, 3);
        assert!(arrived > 500, "{profile}, {reordering:?}, MKI {mki:?}: {arrived}");
    });
}

#[test]
fn we_open_what_libsrtp_protects() {
    for_every_case(|profile, reordering, mki| {
        let arrived = carry_call(&mut theirs(profile, mki), &mut ours(profile, mki), reordering, 4);
        assert!(arrived > 500, "{profile}, {reordering:?}, MKI {mki:?}: {arrived}");
    });
}

/// Why [`libsrtp_opens_what_we_protect`] leaves a case out: libsrtp 2.5 looks for SRTCP's MKI in
/// front of a tag of SRTP's length, and with the short tag SRTCP's is longer. Its own packets are
/// those that we make, and it cannot open them.
#[test]
fn libsrtp_cannot_open_its_own_srtcp_with_an_mki_and_the_short_tag() {
    let profile = Profile::AesCm128HmacSha1_32;
    let mut plain = vec![0x80, 200, 0, 6];
    plain.extend([7; 24]);
    let mut ours = ours(profile, b"k");
    let mut theirs = theirs(profile, b"k");
    // Our SRTCP index begins at 0, theirs at 1.
    ours.protect_rtcp(&plain).expect("protects");
    let protected = theirs.protect_rtcp(&plain).expect("protects");
    assert_eq!(Ok(&protected), ours.protect_rtcp(&plain).as_ref());
    assert!(theirs.open_rtcp(&protected).is_err(), "repaired: take the exception out");
}

fn for_every_case(call: impl Fn(Profile, Reordering, &[u8])) {
    for profile in Profile::ALL {
        for reordering in [Reordering::OnTheNetwork, Reordering::BeforeTheSender] {
            for mki in [&b""[..], b"k", b"a longer identifier"] {
                call(profile, reordering, mki);
            }
        }
    }
}

fn ours(profile: Profile, mki: &[u8]) -> Ours {
    let mki = Mki::new(mki).expect("at most 128 bytes");
    let (master, policy) = (master_key(profile), Policy::default());
    let key = KeyParameters { mki, ..(&master).into() };
    let sender = Sender::new(key.clone(), &policy).expect("suitable");
    Ours { sender, receiver: Receiver::new(key, &policy).expect("suitable") }
}

struct Theirs {
    outbound: Session,
    inbound: Session,
}

fn theirs(profile: Profile, mki: &[u8]) -> Theirs {
    let number = match profile {
        Profile::AesCm128HmacSha1_80 => 1,
        Profile::AesCm128HmacSha1_32 => 2,
        Profile::AeadAes128Gcm => 7,
        Profile::AeadAes256Gcm => 8,
    };
    let (key, salt) = master_bytes(profile);
    let key = [key, salt].concat();
    let session = |direction| Session::new(direction, number, &key, mki).expect("a session");
    Theirs { outbound: session(Direction::Outbound), inbound: session(Direction::Inbound) }
}

impl Endpoint for Theirs {
    fn protect_rtp(&mut self, plain: &[u8]) -> Result<Vec<u8>, String> {
        in_place(plain, |packet| self.outbound.protect_rtp(packet))
    }

    fn open_rtp(&mut self, protected: &[u8]) -> Result<Vec<u8>, String> {
        in_place(protected, |packet| self.inbound.unprotect_rtp(packet))
    }

    fn protect_rtcp(&mut self, plain: &[u8]) -> Result<Vec<u8>, String> {
        in_place(plain, |packet| self.outbound.protect_rtcp(packet))
    }

    fn open_rtcp(&mut self, protected: &[u8]) -> Result<Vec<u8>, String> {
        in_place(protected, |packet| self.inbound.unprotect_rtcp(packet))
    }
}

fn in_place(
    bytes: &[u8],
    act: impl FnOnce(&mut Packet) -> Result<(), Status>,
) -> Result<Vec<u8>, String> {
    let mut packet = Packet::copy_from(bytes);
    act(&mut packet).map_err(|status| format!("libsrtp: {status:?}"))?;
    Ok(packet.as_bytes().to_vec())
}
