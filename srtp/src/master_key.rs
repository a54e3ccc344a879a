//! A master key and salt with the profile they are for.

use crypto_offload::SecretKey;

use crate::Profile;

/// What SDES carries in `inline:` and DTLS-SRTP exports: a profile's master key and salt.
#[derive(Debug, PartialEq, Eq)]
pub struct MasterKey {
    profile: Profile,
    key: SecretKey,
    salt: SecretKey,
}

impl MasterKey {
    /// Splits `key ‖ salt` (the order of RFC 4568's `inline:`), or `None` when its length is not
    /// exactly the profile's `key_len() + salt_len()`.
    pub fn from_concatenated(profile: Profile, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != profile.key_len() + profile.salt_len() {
            return None;
        }
        let (key, salt) = bytes.split_at(profile.key_len());
        Some(Self { profile, key: SecretKey::copy_from(key), salt: SecretKey::copy_from(salt) })
    }

    /// The profile this key is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The master key.
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The master salt.
    pub fn salt(&self) -> &SecretKey {
        &self.salt
    }

    /// A second owner of the same key: SDP state keeps one, the worker's context the other.
    pub fn dangerous_duplicate(&self) -> Self {
        Self {
            profile: self.profile,
            key: self.key.dangerous_duplicate(),
            salt: self.salt.dangerous_duplicate(),
        }
    }
}
