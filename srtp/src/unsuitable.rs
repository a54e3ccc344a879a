//! Why a key or a policy cannot be used: refused when it is given, not when a packet comes.

use thiserror::Error;

use crate::{Lifetimes, MAX_KEYS, Mki, Profile, Weakness};

/// What is wrong with a key, said with the numbers. Never shows key material.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unsuitable {
    /// Key and salt together are not as long as the profile wants.
    #[error(
        "{profile} takes {} bytes: a key of {} and a salt of {}; got {got}",
        profile.key_len() + profile.salt_len(), profile.key_len(), profile.salt_len()
    )]
    KeyLength {
        /// The profile.
        profile: Profile,
        /// Bytes given.
        got: usize,
    },
    /// The key is there, its salt is not.
    #[error("{profile} takes a salt of {} bytes behind the key of {}; there is none",
        profile.salt_len(), profile.key_len())]
    SaltMissing {
        /// The profile.
        profile: Profile,
    },
    /// More bytes than an MKI can have (RFC 4568 section 6.1).
    #[error("an MKI has at most {} bytes, not {got}", Mki::MAX_LEN)]
    MkiLength {
        /// Bytes given.
        got: usize,
    },
    /// A lifetime of zero, or beyond RFC 3711 section 9.2.
    #[error("a lifetime is 1 to 2^48 SRTP and 1 to 2^31 SRTCP packets, not {rtp} and {rtcp}")]
    Lifetime {
        /// SRTP packets given.
        rtp: u64,
        /// SRTCP packets given.
        rtcp: u64,
    },
    /// A further key needs an MKI, as long as the first one's: packets could not be told apart.
    #[error("all keys of a direction have MKIs of one length: {expected} bytes, not {got}")]
    OtherMkiLength {
        /// Bytes of the MKIs in use.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// Without an MKI a direction has one key.
    #[error("a further key needs an MKI, and so does the first")]
    NoMki,
    /// A key with this MKI is there already.
    #[error("another key has this MKI")]
    MkiInUse,
    /// A sender has this master key already.
    #[error("this master key is in use already, and one key has one MKI")]
    KeyInUse,
    /// A direction has one profile.
    #[error("the keys of a direction are for one profile: {expected}, not {got}")]
    OtherProfile {
        /// The profile in use.
        expected: Profile,
        /// The profile of the key given.
        got: Profile,
    },
    /// The policy does not accept what the profile lacks.
    #[error("{0} is not accepted by the policy")]
    NotAccepted(Weakness),
    /// The profile cannot be had without encryption and authentication of SRTP.
    #[error("{profile} encrypts and authenticates every SRTP packet: neither can be left out")]
    SessionParameters {
        /// The profile.
        profile: Profile,
    },
    /// More keys than a direction holds.
    #[error("a direction holds at most {MAX_KEYS} keys")]
    TooManyKeys,
    /// Zero is padding between header extension elements (RFC 8285 section 4.1.1).
    #[error("a header extension id is 1 to 255, not 0")]
    ExtensionIdZero,
    /// A part of the session keys is not as long as the profile wants.
    #[error(
        "{profile} takes session keys of {expected:?} bytes (cipher key, authentication key, \
         salt), not {got:?}"
    )]
    SessionKeyLengths {
        /// The profile.
        profile: Profile,
        /// Bytes of cipher key, authentication key and salt that it takes.
        expected: [usize; 3],
        /// Bytes given.
        got: [usize; 3],
    },
    /// SRTP and SRTCP would use one keystream for two packets (RFC 3711 section 9.1).
    #[error("SRTP and SRTCP need session keys of their own")]
    SharedSessionKeys,
    /// Session keys are given, but RFC 6904 derives its own from the master key.
    #[error("encrypted header extensions need the master key, not session keys")]
    NoMasterKey,
}

/// No key has this MKI, or it is the one in use and cannot go.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyNotFound {
    /// No key has it.
    #[error("no key has this MKI")]
    Unknown,
    /// The only key left: dropping it would leave the direction without any.
    #[error("the only key of a direction cannot be retired")]
    Last,
}

impl Unsuitable {
    pub(crate) fn lifetimes(given: Lifetimes) -> Self {
        Self::Lifetime { rtp: given.rtp(), rtcp: given.rtcp() }
    }
}
