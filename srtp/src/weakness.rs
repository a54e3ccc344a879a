//! What an agreement may lack that SRTP is expected to give, each accepted only by policy.
//!
//! Peers may negotiate every one of these, and some do by default; a downgrade by whoever can
//! touch the signalling looks the same. So whoever negotiates asks its operator first, with the
//! names here.

use std::fmt;

/// A reason not to use a profile or a session parameter unless told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Weakness {
    /// NULL_HMAC_SHA1: nothing is encrypted.
    NullCipher,
    /// F8_128_HMAC_SHA1: encrypted by a mode that hardly any peer has and nobody examines any
    /// more.
    F8,
    /// UNENCRYPTED_SRTP (RFC 4568 section 6.3.2): the media are in the clear.
    UnencryptedRtp,
    /// UNENCRYPTED_SRTCP (RFC 4568 section 6.3.2): reports, and who takes part, are in the clear.
    UnencryptedRtcp,
    /// UNAUTHENTICATED_SRTP (RFC 4568 section 6.3.3): anyone can change media packets, replay
    /// and invent them, and begin streams with them.
    UnauthenticatedRtp,
}

/// A set of weaknesses, above all those that an operator accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Weaknesses(u8);

impl Weaknesses {
    /// Not one.
    pub const NONE: Self = Self(0);

    /// Every one.
    pub const ALL: Self = Self::NONE
        .with(Weakness::NullCipher)
        .with(Weakness::F8)
        .with(Weakness::UnencryptedRtp)
        .with(Weakness::UnencryptedRtcp)
        .with(Weakness::UnauthenticatedRtp);

    /// These and `weakness`.
    #[must_use]
    pub const fn with(self, weakness: Weakness) -> Self {
        Self(self.0 | 1 << weakness as u8)
    }

    /// Whether `weakness` is one of these.
    pub const fn contains(self, weakness: Weakness) -> bool {
        self.0 & 1 << weakness as u8 != 0
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NullCipher => "the NULL cipher",
            Self::F8 => "AES in f8 mode",
            Self::UnencryptedRtp => "unencrypted SRTP",
            Self::UnencryptedRtcp => "unencrypted SRTCP",
            Self::UnauthenticatedRtp => "unauthenticated SRTP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_contains_what_it_was_given_and_nothing_else() {
        let all = [
            Weakness::NullCipher,
            Weakness::F8,
            Weakness::UnencryptedRtp,
            Weakness::UnencryptedRtcp,
            Weakness::UnauthenticatedRtp,
        ];
        for one in all {
            assert!(!Weaknesses::NONE.contains(one));
            for other in all {
                assert_eq!(Weaknesses::NONE.with(one).contains(other), one == other);
            }
        }
    }
}
