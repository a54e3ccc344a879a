//! Interoperation with `webrtc-srtp`, both ways, every profile that it has.
#![allow(
    clippy::expect_used,
    reason = "a call that cannot be made or carried is the test's failure"
)]

mod scenario;

use std::fmt;

use scenario::{
    Endpoint, Keys, Ours, Refused, carry_call,
    packets::{Random, compound_report, rtp_packet},
    policy,
};
use srtp::{PacketKind, Profile};
use webrtc_srtp::{
    context::Context,
    option::{srtcp_replay_protection, srtp_replay_protection},
    protection_profile::ProtectionProfile,
};

#[test]
fn a_call_is_the_same_for_webrtc_and_us() {
    let profiles: Vec<_> =
        Profile::ALL.into_iter().filter(|&p| their_profile(p).is_some()).collect();
    assert_eq!(profiles.len(), 6, "{profiles:?}");
    for profile in profiles {
        for seed in 1..=2 {
            println!("{profile}, seed {seed}");
            carry_call(&mut ours(profile, seed), &mut theirs(profile), seed);
        }
    }
}

/// Why [`Endpoint::guards_indexes`] says no for webrtc-srtp. Two packets under one nonce give away
/// their plaintexts' difference, so our sender refuses the second.
#[test]
fn webrtc_protects_two_packets_under_one_index_and_we_do_not() {
    let profile = Profile::AeadAes128Gcm;
    let mut random = Random(5);
    let [first, second] = [(); 2].map(|()| rtp_packet(7, 9, &mut random));
    let (mut ours, mut theirs) = (ours(profile, 1), theirs(profile));
    ours.protect(PacketKind::Rtp, &first).expect("protects");
    theirs.protect(PacketKind::Rtp, &first).expect("protects");
    assert_eq!(ours.protect(PacketKind::Rtp, &second), Err(Refused::Replayed));
    assert!(theirs.protect(PacketKind::Rtp, &second).is_ok(), "repaired: let it guard_indexes");
}

/// Why the scenario doesn't alter SRTCP's E flag: webrtc-srtp takes a clear packet without looking
/// at its tag, in the profiles with HMAC. RFC 3711 section 3.4 has the tag cover the flag.
#[test]
fn webrtc_opens_an_unauthenticated_report_and_we_do_not() {
    let profile = Profile::AesCm128HmacSha1_80;
    let report = compound_report(9, &mut Random(5));
    let mut forged = report;
    forged.extend([0, 0, 0, 1]);
    forged.extend([0; 10]);
    assert!(ours(profile, 1).open(PacketKind::Rtcp, &forged).is_err());
    assert!(
        theirs(profile).open(PacketKind::Rtcp, &forged).is_ok(),
        "repaired: alter the flag too"
    );
}

/// Why no bit turns one of the scenario's sources into another: for webrtc-srtp the window of a
/// source begins where its first packet says, genuine or not. RFC 3711 section 3.3 has the replay
/// list updated only after authentication.
#[test]
fn a_forged_first_packet_shuts_a_source_out_of_webrtc_and_not_of_ours() {
    let profile = Profile::AeadAes128Gcm;
    let (mut ours, mut theirs) = (ours(profile, 1), theirs(profile));
    let plain = rtp_packet(10, 9, &mut Random(5));
    let genuine = ours.protect(PacketKind::Rtp, &plain).expect("protects");
    let mut forged = genuine.clone();
    forged[2..4].copy_from_slice(&20_000u16.to_be_bytes());
    assert_eq!(ours.open(PacketKind::Rtp, &forged), Err(Refused::NotAuthentic));
    assert_eq!(theirs.open(PacketKind::Rtp, &forged), Err(Refused::NotAuthentic));
    assert_eq!(ours.open(PacketKind::Rtp, &genuine), Ok(plain));
    let opened = theirs.open(PacketKind::Rtp, &genuine);
    assert_eq!(opened, Err(Refused::Stale), "repaired: the sources may have any SSRC");
}

fn ours(profile: Profile, seed: u64) -> Ours {
    Ours::new(&Keys::without_mki(profile), &policy(seed))
}

/// Their context serves one direction, so an endpoint has two.
struct Theirs {
    outbound: Context,
    inbound: Context,
}

fn theirs(profile: Profile) -> Theirs {
    let their_profile = their_profile(profile).expect("a profile that they have");
    let (key, salt) = Keys::without_mki(profile).key_and_salt(0);
    let context = || {
        let (rtp, rtcp) = (srtp_replay_protection(1024), srtcp_replay_protection(128));
        Context::new(&key, &salt, their_profile, Some(rtp), Some(rtcp)).expect("a context")
    };
    Theirs { outbound: context(), inbound: context() }
}

fn their_profile(profile: Profile) -> Option<ProtectionProfile> {
    Some(match profile {
        Profile::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Profile::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Profile::AesCm256HmacSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
        Profile::AesCm256HmacSha1_32 => ProtectionProfile::Aes256CmHmacSha1_32,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        _ => return None,
    })
}

impl Endpoint for Theirs {
    fn protect(&mut self, kind: PacketKind, plain: &[u8]) -> Result<Vec<u8>, Refused> {
        match kind {
            PacketKind::Rtp => self.outbound.encrypt_rtp(plain),
            PacketKind::Rtcp => self.outbound.encrypt_rtcp(plain),
        }
        .map(Vec::from)
        .map_err(refused)
    }

    fn open(&mut self, kind: PacketKind, protected: &[u8]) -> Result<Vec<u8>, Refused> {
        match kind {
            PacketKind::Rtp => self.inbound.decrypt_rtp(protected),
            PacketKind::Rtcp => self.inbound.decrypt_rtcp(protected),
        }
        .map(Vec::from)
        .map_err(refused)
    }

    fn switch_to(&mut self, key: usize) {
        assert_eq!(key, 0, "webrtc-srtp knows no MKI");
    }

    fn guards_indexes(&self) -> bool {
        false
    }
}

/// Their error type is private: its variants' names have to do.
fn refused(error: impl fmt::Debug) -> Refused {
    let error = format!("{error:?}");
    if error.contains("SsrcDuplicated") {
        Refused::Stale
    } else if error.contains("FailedToVerifyAuthTag") || error.starts_with("AesGcm") {
        Refused::NotAuthentic
    } else {
        Refused::Other(error)
    }
}
