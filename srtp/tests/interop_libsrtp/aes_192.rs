//! AES-192, whose key derivation libsrtp has wrong until 2.8
//! (<https://github.com/cisco/libsrtp/issues/763>): it derives by AES-256, under a key of the
//! master key, the salt and zeros. RFC 6188 section 3 has AES-192 for it.
//!
//! So the packets are compared under session keys that were derived libsrtp's way.

use srtp::{MasterKey, PacketKind, Profile, Receiver, Sender, SessionKeys};

use crate::{
    Theirs,
    scenario::{
        Endpoint, Keys, Ours,
        packets::{Random, compound_report, rtp_packet},
        policy,
    },
    sys::{Direction, Session, Suite},
    their_keys,
};

const PROFILES: [(Profile, Suite); 2] = [
    (Profile::AesCm192HmacSha1_80, Suite::AesCm192HmacSha1_80),
    (Profile::AesCm192HmacSha1_32, Suite::AesCm192HmacSha1_32),
];

#[test]
fn packets_are_the_same_for_libsrtp_and_us_under_its_session_keys() {
    for (profile, suite) in PROFILES {
        let keys = Keys::without_mki(profile);
        let (mut sender, mut receiver) = ours_by_their_derivation(&keys);
        let mut theirs = theirs(&keys, suite);
        let mut random = Random(7);
        for step in 0..100 {
            let plain = rtp_packet(65_500u16.wrapping_add(step), SSRC, &mut random);
            let mut packet = theirs.protect(PacketKind::Rtp, &plain).expect("protects");
            let mut buffer = [&plain[..], &[0; 14]].concat();
            let len = sender.protect_rtp(&mut buffer, plain.len()).expect("protects").len;
            assert!(buffer[..len] == packet, "{profile}, step {step}");
            assert_eq!(theirs.open(PacketKind::Rtp, &packet).as_ref(), Ok(&plain), "{profile}");
            let opened = receiver.open_rtp(&mut packet).expect("opens");
            assert!(packet[..opened.len] == plain, "{profile}, step {step}");

            let report = compound_report(SSRC, &mut random);
            let mut packet = theirs.protect(PacketKind::Rtcp, &report).expect("protects");
            let opened = receiver.open_rtcp(&mut packet).expect("opens");
            assert!(packet[..opened.len] == report, "{profile}, step {step}");
        }
    }
}

/// Why the call leaves these profiles out.
#[test]
fn libsrtp_does_not_derive_session_keys_as_rfc_6188_does() {
    for (profile, suite) in PROFILES {
        let keys = Keys::without_mki(profile);
        let plain = rtp_packet(1, SSRC, &mut Random(7));
        let protected = theirs(&keys, suite).protect(PacketKind::Rtp, &plain).expect("protects");
        let opened = Ours::new(&keys, &policy(1)).open(PacketKind::Rtp, &protected);
        assert!(opened.is_err(), "repaired: let the call carry {profile}");
    }
}

fn theirs(keys: &Keys, suite: Suite) -> Theirs {
    let their_keys = their_keys(keys);
    let session = |direction| Session::new(direction, suite, &their_keys).expect("a session");
    Theirs::new(session(Direction::Outbound), session(Direction::Inbound), keys)
}

fn ours_by_their_derivation(keys: &Keys) -> (Sender, Receiver) {
    let policy = policy(1);
    let derived = |kind| derived_as_by_libsrtp(keys, kind);
    let sender =
        Sender::from_session_keys(&derived(PacketKind::Rtp), derived(PacketKind::Rtcp), &policy);
    let receiver =
        Receiver::from_session_keys(&derived(PacketKind::Rtp), derived(PacketKind::Rtcp), &policy);
    (sender.expect("suitable"), receiver.expect("suitable"))
}

/// The PRF is a keystream: the first 24 bytes of a 32-byte key are those of a 24-byte key.
fn derived_as_by_libsrtp(keys: &Keys, kind: PacketKind) -> SessionKeys {
    let (key, salt) = keys.key_and_salt(0);
    let mut master = [key, salt].concat();
    master.resize(Profile::AesCm256HmacSha1_80.key_len() + 14, 0);
    let master = MasterKey::from_concatenated(Profile::AesCm256HmacSha1_80, &master);
    let derived = SessionKeys::derive(&master.expect("46 bytes"), kind);
    let cipher_key = &derived.dangerous_cipher_key()[..24];
    let (auth, salt) = (derived.dangerous_auth_key(), derived.dangerous_salt());
    SessionKeys::from_parts(keys.profile(), cipher_key, auth, salt).expect("the profile's lengths")
}

const SSRC: u32 = 9;
