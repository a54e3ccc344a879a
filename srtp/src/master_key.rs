//! A master key and salt with the profile they are for, and what is agreed about them.

use crypto_offload::SecretKey;

use crate::{Lifetimes, Mki, Profile, Unsuitable};

/// What SDES carries in `inline:` and DTLS-SRTP exports: a profile's master key and salt.
#[derive(Debug, PartialEq, Eq)]
pub struct MasterKey {
    profile: Profile,
    key: SecretKey,
    salt: SecretKey,
}

/// A master key as one direction uses it, RFC 4568's key parameters. `(&master).into()` has no
/// MKI and the longest lifetimes.
#[derive(Clone, Debug)]
pub struct KeyParameters<'k> {
    /// The key.
    pub master: &'k MasterKey,
    /// What its packets carry to name it, if anything.
    pub mki: Mki,
    /// How many packets it may protect.
    pub lifetimes: Lifetimes,
}

impl MasterKey {
    /// Splits `key ‖ salt` (the order of RFC 4568's `inline:`), which must be exactly the
    /// profile's [`key_len()`](Profile::key_len) `+` [`salt_len()`](Profile::salt_len) bytes.
    ///
    /// What DTLS-SRTP exports has both sides' keys before both sides' salts (RFC 5764 section 4.2):
    /// put each salt behind its key.
    ///
    /// Refused with [`Unsuitable::SaltMissing`] for a key alone, [`Unsuitable::KeyLength`] for any
    /// other length.
    pub fn from_concatenated(profile: Profile, bytes: &[u8]) -> Result<Self, Unsuitable> {
        if bytes.len() == profile.key_len() {
            return Err(Unsuitable::SaltMissing { profile });
        }
        if bytes.len() != profile.key_len() + profile.salt_len() {
            return Err(Unsuitable::KeyLength { profile, got: bytes.len() });
        }
        let (key, salt) = bytes.split_at(profile.key_len());
        Ok(Self { profile, key: SecretKey::copy_from(key), salt: SecretKey::copy_from(salt) })
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

impl<'k> From<&'k MasterKey> for KeyParameters<'k> {
    fn from(master: &'k MasterKey) -> Self {
        Self { master, mki: Mki::none(), lifetimes: Lifetimes::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_lengths_are_refused_with_the_numbers() {
        let profile = Profile::AesCm128HmacSha1_80;
        let refused = |len| MasterKey::from_concatenated(profile, &vec![1; len]).map(|_| ());
        assert_eq!(refused(16), Err(Unsuitable::SaltMissing { profile }));
        for got in [0, 29, 31] {
            assert_eq!(refused(got), Err(Unsuitable::KeyLength { profile, got }));
        }
        assert_eq!(
            Unsuitable::KeyLength { profile, got: 29 }.to_string(),
            "AES_CM_128_HMAC_SHA1_80 takes 30 bytes: a key of 16 and a salt of 14; got 29"
        );
    }
}
