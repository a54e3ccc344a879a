//! The protection profiles and their sizes.

use std::fmt;

use crate::{PacketKind, Weakness};

/// A protection profile: cipher, authentication and tag lengths.
///
/// A profile whose name ends in `_32` has a 4-byte tag in SRTP; in SRTCP every profile of
/// HMAC-SHA1 has 10 bytes (RFC 3711 section 5.2, RFC 4568 section 6.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// AEAD_AES_256_GCM (RFC 7714).
    AeadAes256Gcm,
    /// AEAD_AES_128_GCM (RFC 7714).
    AeadAes128Gcm,
    /// AES_256_CM_HMAC_SHA1_80 (RFC 6188).
    AesCm256HmacSha1_80,
    /// AES_192_CM_HMAC_SHA1_80 (RFC 6188).
    AesCm192HmacSha1_80,
    /// AES_CM_128_HMAC_SHA1_80 (RFC 4568 section 6.2.1).
    AesCm128HmacSha1_80,
    /// AES_256_CM_HMAC_SHA1_32 (RFC 6188).
    AesCm256HmacSha1_32,
    /// AES_192_CM_HMAC_SHA1_32 (RFC 6188).
    AesCm192HmacSha1_32,
    /// AES_CM_128_HMAC_SHA1_32 (RFC 4568 section 6.2.2).
    AesCm128HmacSha1_32,
    /// F8_128_HMAC_SHA1_80 (RFC 4568 section 6.2.3): has a [`Weakness`].
    F8_128HmacSha1_80,
    /// F8_128_HMAC_SHA1_32, registered nowhere, but spoken: has a [`Weakness`].
    F8_128HmacSha1_32,
    /// NULL_HMAC_SHA1_80 (RFC 3711 section 4.1.3), authentic but not encrypted: has a
    /// [`Weakness`].
    NullHmacSha1_80,
    /// NULL_HMAC_SHA1_32: has a [`Weakness`].
    NullHmacSha1_32,
}

impl Profile {
    /// Every profile, strongest first; short tags after long ones; F8 and NULL last.
    pub const ALL: [Self; 12] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm256HmacSha1_80,
        Self::AesCm192HmacSha1_80,
        Self::AesCm128HmacSha1_80,
        Self::AesCm256HmacSha1_32,
        Self::AesCm192HmacSha1_32,
        Self::AesCm128HmacSha1_32,
        Self::F8_128HmacSha1_80,
        Self::F8_128HmacSha1_32,
        Self::NullHmacSha1_80,
        Self::NullHmacSha1_32,
    ];

    /// What nearly every peer has, strongest first, the short tag last: the order in which we
    /// offer them unless told otherwise.
    pub const COMMON: [Self; 4] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
    ];

    /// The SDP crypto-suite name (RFC 4568, RFC 6188 section 4, RFC 7714 section 14.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AesCm192HmacSha1_80 => "AES_192_CM_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm256HmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AesCm192HmacSha1_32 => "AES_192_CM_HMAC_SHA1_32",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::F8_128HmacSha1_80 => "F8_128_HMAC_SHA1_80",
            Self::F8_128HmacSha1_32 => "F8_128_HMAC_SHA1_32",
            Self::NullHmacSha1_80 => "NULL_HMAC_SHA1_80",
            Self::NullHmacSha1_32 => "NULL_HMAC_SHA1_32",
        }
    }

    /// The profile of an SDP crypto-suite name; the field writes it in any case. It may have any
    /// [`Weakness`]: what is acceptable the caller decides.
    pub fn from_name(name: &str) -> Option<Self> {
        let named = |profile: &Self| {
            [Some(profile.name()), profile.other_name()]
                .into_iter()
                .flatten()
                .any(|known| known.eq_ignore_ascii_case(name))
        };
        Self::ALL.into_iter().find(named)
    }

    /// RFC 6188 names its suites in another order than RFC 4568, and some peers write them as if
    /// it had not.
    const fn other_name(self) -> Option<&'static str> {
        match self {
            Self::AesCm256HmacSha1_80 => Some("AES_CM_256_HMAC_SHA1_80"),
            Self::AesCm192HmacSha1_80 => Some("AES_CM_192_HMAC_SHA1_80"),
            Self::AesCm256HmacSha1_32 => Some("AES_CM_256_HMAC_SHA1_32"),
            Self::AesCm192HmacSha1_32 => Some("AES_CM_192_HMAC_SHA1_32"),
            _ => None,
        }
    }

    /// Why this profile should be used only where policy says so, if there is a reason.
    pub const fn weakness(self) -> Option<Weakness> {
        match self.cipher_kind() {
            CipherKind::Gcm | CipherKind::CounterMode => None,
            CipherKind::F8 => Some(Weakness::F8),
            CipherKind::Null => Some(Weakness::NullCipher),
        }
    }

    /// Master key length in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AesCm256HmacSha1_80 | Self::AesCm256HmacSha1_32 => 32,
            Self::AesCm192HmacSha1_80 | Self::AesCm192HmacSha1_32 => 24,
            _ => 16,
        }
    }

    /// Master salt length in bytes.
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// True for the AES-GCM profiles, whose cipher authenticates too.
    pub const fn is_aead(self) -> bool {
        matches!(self.cipher_kind(), CipherKind::Gcm)
    }

    /// Bytes that SRTP protection adds to an RTP packet.
    pub const fn rtp_overhead(self) -> usize {
        self.tag_len(PacketKind::Rtp)
    }

    /// Bytes that SRTCP protection adds: the tag and the 4-byte E flag and index.
    pub const fn rtcp_overhead(self) -> usize {
        self.tag_len(PacketKind::Rtcp) + 4
    }

    /// Bytes of the tag of packets of `kind`.
    pub(crate) const fn tag_len(self, kind: PacketKind) -> usize {
        match (self.is_aead(), kind) {
            (true, _) => 16,
            (false, PacketKind::Rtp) if self.has_short_tag() => 4,
            (false, _) => 10,
        }
    }

    /// True where SRTP's tag has 4 bytes.
    const fn has_short_tag(self) -> bool {
        matches!(
            self,
            Self::AesCm256HmacSha1_32
                | Self::AesCm192HmacSha1_32
                | Self::AesCm128HmacSha1_32
                | Self::F8_128HmacSha1_32
                | Self::NullHmacSha1_32
        )
    }

    /// How it encrypts.
    pub(crate) const fn cipher_kind(self) -> CipherKind {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => CipherKind::Gcm,
            Self::AesCm256HmacSha1_80
            | Self::AesCm192HmacSha1_80
            | Self::AesCm128HmacSha1_80
            | Self::AesCm256HmacSha1_32
            | Self::AesCm192HmacSha1_32
            | Self::AesCm128HmacSha1_32 => CipherKind::CounterMode,
            Self::F8_128HmacSha1_80 | Self::F8_128HmacSha1_32 => CipherKind::F8,
            Self::NullHmacSha1_80 | Self::NullHmacSha1_32 => CipherKind::Null,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The families of ciphers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CipherKind {
    Gcm,
    CounterMode,
    F8,
    Null,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_its_name_in_any_case() {
        for profile in Profile::ALL {
            assert_eq!(Profile::from_name(&profile.name().to_lowercase()), Some(profile));
        }
        assert_eq!(Profile::from_name("AES_CM_128_HMAC_SHA1_64"), None);
    }

    #[test]
    fn the_suites_of_rfc_6188_are_read_in_either_spelling() {
        for (written, profile) in [
            ("AES_CM_256_HMAC_SHA1_80", Profile::AesCm256HmacSha1_80),
            ("aes_cm_192_hmac_sha1_32", Profile::AesCm192HmacSha1_32),
        ] {
            assert_eq!(Profile::from_name(written), Some(profile));
        }
    }

    #[test]
    fn nothing_weak_is_common() {
        assert!(Profile::COMMON.iter().all(|profile| profile.weakness().is_none()));
        let weak = Profile::ALL.iter().filter(|profile| profile.weakness().is_some());
        assert_eq!(weak.count(), 4);
    }
}
