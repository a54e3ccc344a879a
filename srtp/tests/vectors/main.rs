//! Known answers, by RFC. All go through the same packet path as real packets, on every backend
//! that this CPU has.
//!
//! Most vectors are stated in session keys, below the key derivation, so they enter through
//! `SessionKeys::from_parts`; those of the derivation itself stand apart. HMAC-SHA1's are beside
//! the transforms, because most of its messages are no packets.
#![allow(clippy::expect_used, reason = "a vector that cannot be set up is the test's failure")]

mod mki;
mod rfc3711;
mod rfc6188;
mod rfc6904;
mod rfc7714;
mod rfc9335;

use srtp::{Backend, MasterKey, PacketKind, Policy, Profile, Sender, SessionKeys};

/// A keystream of counter mode, for SSRC 0 and index 0: what zeros encrypt to.
struct Keystream {
    profiles: [Profile; 2],
    key: &'static str,
    /// The first three blocks.
    first: &'static str,
    /// The last three of [`KEYSTREAM_LEN`] bytes.
    last: &'static str,
}

impl Keystream {
    fn check(&self) {
        for (profile, policy) in self.profiles.iter().flat_map(|&profile| on_backends(profile)) {
            let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
            let keys = SessionKeys::from_parts(profile, &hex(self.key), &[0; 20], &salt)
                .expect("lengths of the profile");
            let mut sender =
                Sender::from_session_keys(&keys, unused(profile), &policy).expect("suitable");
            let mut packet = with_tailroom(&vec![0; HEADER_LEN + KEYSTREAM_LEN]);
            packet[0] = 0x80;
            sender.protect_rtp(&mut packet, HEADER_LEN + KEYSTREAM_LEN).expect("protects");

            let keystream = &packet[HEADER_LEN..][..KEYSTREAM_LEN];
            let on = format!("{profile} on {}", policy.backend);
            assert_eq!(keystream[..48], hex(self.first), "{on}");
            assert_eq!(keystream[KEYSTREAM_LEN - 48..], hex(self.last), "{on}");
        }
    }
}

/// Session keys for SRTP, derived from a master key with a key derivation rate of zero.
struct Derivation {
    profiles: [Profile; 2],
    master_key: &'static str,
    master_salt: &'static str,
    cipher_key: &'static str,
    salt: &'static str,
    /// The RFCs print more than the 20 bytes that HMAC-SHA1 takes.
    auth_key: &'static str,
}

impl Derivation {
    fn check(&self) {
        for profile in self.profiles {
            let master = [hex(self.master_key), hex(self.master_salt)].concat();
            let master = MasterKey::from_concatenated(profile, &master).expect("its lengths");
            let keys = SessionKeys::derive(&master, PacketKind::Rtp);
            assert_eq!(keys.dangerous_cipher_key(), hex(self.cipher_key), "{profile}");
            assert_eq!(keys.dangerous_salt()[..], hex(self.salt), "{profile}");
            assert_eq!(keys.dangerous_auth_key()[..], hex(self.auth_key), "{profile}");
        }
    }
}

/// Keys for the kind of packet that a vector has none of.
fn unused(profile: Profile) -> SessionKeys {
    let auth_len = if profile.is_aead() { 0 } else { 20 };
    let [cipher, auth, salt] =
        [profile.key_len(), auth_len, profile.salt_len()].map(|len| vec![0xee; len]);
    SessionKeys::from_parts(profile, &cipher, &auth, &salt).expect("lengths of the profile")
}

/// The profile with a policy for each backend.
fn on_backends(profile: Profile) -> impl Iterator<Item = (Profile, Policy)> {
    let policy = |&backend| Policy { backend, ..Policy::default() };
    Backend::available().iter().map(policy).map(move |policy| (profile, policy))
}

fn with_tailroom(packet: &[u8]) -> Vec<u8> {
    [packet, &[0; 64]].concat()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

const HEADER_LEN: usize = 12;
/// The segment of RFC 3711 appendix B.2, which RFC 6188 takes over: 65,282 blocks.
const KEYSTREAM_LEN: usize = 1_044_512;
