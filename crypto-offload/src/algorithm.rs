//! The AEADs of ESP that engines know, and the keys they take.
//!
//! Only combined modes: encryption without integrity is not offered (RFC 8221 section 4). Lengths
//! come from RFC 4106 (AES-GCM) and RFC 7634 (ChaCha20-Poly1305); both have a 4-byte salt that is
//! agreed with the key and an 8-byte IV in each packet.

use std::fmt;

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::SecretKey;

/// An authenticated cipher of ESP, each with a 16-byte ICV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Aead {
    /// AES-GCM with a 128-bit key (RFC 4106).
    #[serde(rename = "aes-128-gcm")]
    Aes128Gcm,
    /// AES-GCM with a 256-bit key (RFC 4106).
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 7634).
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl Aead {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::ChaCha20Poly1305];
    /// Bytes of the salt, which is part of the nonce and agreed with the key.
    pub const SALT_LEN: usize = 4;
    /// Bytes of the IV that each packet carries.
    pub const IV_LEN: usize = 8;
    /// Bytes of the integrity check value at a packet's end.
    pub const ICV_LEN: usize = 16;

    /// Bytes of the key, without the salt.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// The name in configurations and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
}

impl fmt::Display for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key with its salt, for one AEAD and one SA.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyingMaterial {
    aead: Aead,
    /// The key, then the salt.
    bytes: SecretKey,
}

impl KeyingMaterial {
    /// From the key followed by its salt, as RFC 4106 section 8.1 and RFC 7634 section 2 have it.
    ///
    /// # Errors
    /// When there are not as many bytes as `aead` takes.
    pub fn new(aead: Aead, bytes: SecretKey) -> Result<Self, WrongKeyLength> {
        let expected = aead.key_len() + Aead::SALT_LEN;
        if bytes.len() != expected {
            return Err(WrongKeyLength { aead, expected, found: bytes.len() });
        }
        Ok(Self { aead, bytes })
    }

    /// What it is a key for.
    pub fn aead(&self) -> Aead {
        self.aead
    }

    /// Key and salt, as [`new`](Self::new) took them.
    pub fn bytes(&self) -> &SecretKey {
        &self.bytes
    }

    /// The key alone.
    pub fn dangerous_key(&self) -> &[u8] {
        &self.bytes.dangerous_bytes()[..self.aead.key_len()]
    }

    /// The salt alone.
    pub fn dangerous_salt(&self) -> [u8; Aead::SALT_LEN] {
        let bytes = self.bytes.dangerous_bytes();
        std::array::from_fn(|at| bytes[self.aead.key_len() + at])
    }

    /// Names the key without telling it.
    pub fn fingerprint(&self) -> KeyFingerprint {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"postern sa key\0");
        context.update(self.aead.name().as_bytes());
        context.update(self.bytes.dangerous_bytes());
        let hash = context.finish();
        KeyFingerprint(std::array::from_fn(|at| hash.as_ref()[at]))
    }

    /// A second owner for the same key, where one side keeps it and another installs it.
    pub fn dangerous_duplicate(&self) -> Self {
        Self { aead: self.aead, bytes: self.bytes.dangerous_duplicate() }
    }
}

/// The first half of a SHA-256 over algorithm, key and salt. It tells keys apart in state files
/// and logs; a key has too many bits to be found from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyFingerprint(pub [u8; 16]);

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Keying material that is not as long as its algorithm wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{aead} takes {expected} bytes of key and salt, not {found}")]
pub struct WrongKeyLength {
    /// The algorithm.
    pub aead: Aead,
    /// Bytes that it takes: key and salt.
    pub expected: usize,
    /// Bytes that there were.
    pub found: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keying(aead: Aead, fill: u8) -> KeyingMaterial {
        let bytes = vec![fill; aead.key_len() + Aead::SALT_LEN];
        KeyingMaterial::new(aead, SecretKey::copy_from(&bytes)).expect("the right length")
    }

    #[test]
    fn a_key_without_its_salt_is_refused_with_the_numbers() {
        let refused = KeyingMaterial::new(Aead::Aes128Gcm, SecretKey::copy_from(&[0; 16]));
        let message = refused.expect_err("too short").to_string();
        assert_eq!(message, "aes-128-gcm takes 20 bytes of key and salt, not 16");
    }

    #[test]
    fn fingerprints_tell_keys_and_algorithms_apart() {
        let gcm = keying(Aead::Aes256Gcm, 1).fingerprint();
        assert_eq!(gcm, keying(Aead::Aes256Gcm, 1).fingerprint());
        assert_ne!(gcm, keying(Aead::Aes256Gcm, 2).fingerprint());
        assert_ne!(gcm, keying(Aead::ChaCha20Poly1305, 1).fingerprint());
    }
}
