//! Interoperation with `webrtc-srtp`, both ways, every profile.
#![allow(
    clippy::expect_used,
    reason = "a call that cannot be made or carried is the test's failure"
)]

mod scenario;

use scenario::{Endpoint, Ours, Reordering, carry_call, master_bytes, master_key};
use srtp::{Policy, Profile, Receiver, Sender};
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

#[test]
fn webrtc_opens_what_we_protect() {
    for profile in Profile::ALL {
        for reordering in [Reordering::OnTheNetwork, Reordering::BeforeTheSender] {
            let arrived = carry_call(&mut ours(profile), &mut theirs(profile), reordering, 1);
            assert!(arrived > 500, "{profile}, {reordering:?}: {arrived}");
        }
    }
}

#[test]
fn we_open_what_webrtc_protects() {
    for profile in Profile::ALL {
        for reordering in [Reordering::OnTheNetwork, Reordering::BeforeTheSender] {
            let arrived = carry_call(&mut theirs(profile), &mut ours(profile), reordering, 2);
            assert!(arrived > 500, "{profile}, {reordering:?}: {arrived}");
        }
    }
}

fn ours(profile: Profile) -> Ours {
    let (key, policy) = (master_key(profile), Policy::default());
    let sender = Sender::new(&key, &policy).expect("suitable");
    Ours { sender, receiver: Receiver::new(&key, &policy).expect("suitable") }
}

/// Their context serves one direction, so an endpoint has two.
struct Theirs {
    outbound: Context,
    inbound: Context,
}

fn theirs(profile: Profile) -> Theirs {
    let their_profile = match profile {
        Profile::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Profile::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let (key, salt) = master_bytes(profile);
    let context = || Context::new(&key, &salt, their_profile, None, None).expect("a context");
    Theirs { outbound: context(), inbound: context() }
}

impl Endpoint for Theirs {
    fn protect_rtp(&mut self, plain: &[u8]) -> Result<Vec<u8>, String> {
        self.outbound.encrypt_rtp(plain).map(Vec::from).map_err(|error| error.to_string())
    }

    fn open_rtp(&mut self, protected: &[u8]) -> Result<Vec<u8>, String> {
        self.inbound.decrypt_rtp(protected).map(Vec::from).map_err(|error| error.to_string())
    }

    fn protect_rtcp(&mut self, plain: &[u8]) -> Result<Vec<u8>, String> {
        self.outbound.encrypt_rtcp(plain).map(Vec::from).map_err(|error| error.to_string())
    }

    fn open_rtcp(&mut self, protected: &[u8]) -> Result<Vec<u8>, String> {
        self.inbound.decrypt_rtcp(protected).map(Vec::from).map_err(|error| error.to_string())
    }
}
