//! Keys for the contest: the same for every contestant, different for every session.

use srtp::{MasterKey, PacketKind, Profile, SessionKeys};

/// The master key and salt of one session.
pub fn master_bytes(profile: Profile, session: usize) -> (Vec<u8>, Vec<u8>) {
    let mut key = vec![0x1f; profile.key_len()];
    key[..8].copy_from_slice(&(session as u64).to_le_bytes());
    (key, vec![0x2e; profile.salt_len()])
}

/// The same as a value.
#[expect(clippy::expect_used, reason = "the lengths are the profile's own")]
pub fn master(profile: Profile, session: usize) -> MasterKey {
    let (key, salt) = master_bytes(profile, session);
    MasterKey::from_concatenated(profile, &[key, salt].concat()).expect("the profile's lengths")
}

/// The keys derived from it, for those who only have primitives.
pub fn session(profile: Profile, session: usize, kind: PacketKind) -> SessionKeys {
    SessionKeys::derive(&master(profile, session), kind)
}
