//! The call that every interop test makes, and the verdict it demands on each packet.
//!
//! Both implementations protect every packet and must give the same bytes; a network loses,
//! delays, repeats, reorders and alters these; both open every packet that comes out of it. A
//! model that knows the true indexes says what must become of each: opened to the bytes that were
//! sent, or refused as a replay, as too old, as not authentic. Whoever differs, from the model or
//! from the other, fails the test with the seed and the step. Seeded, so a failure repeats.
//!
//! What an implementation is known to do otherwise it says by [`Endpoint`]'s questions, and a
//! test of its own pins it down.

mod call;
mod expected;
mod keys;
mod ours;
pub(crate) mod packets;
mod peers;
mod source;
mod tally;

use srtp::PacketKind;

pub(crate) use call::carry_call;
pub(crate) use keys::Keys;
pub(crate) use ours::{Ours, policy};

/// One end of a call, which protects under the call's keys and opens under the same.
pub(crate) trait Endpoint {
    fn protect(&mut self, kind: PacketKind, plain: &[u8]) -> Result<Vec<u8>, Refused>;
    fn open(&mut self, kind: PacketKind, protected: &[u8]) -> Result<Vec<u8>, Refused>;

    /// Protects under the call's key of this number from the next packet on.
    fn switch_to(&mut self, key: usize);

    /// Whether it protects RTP packets like this one. If not, it isn't asked to.
    fn takes(&self, _plain: &[u8]) -> bool {
        true
    }

    /// Whether it refuses to protect two packets under one index. If not, it isn't asked to.
    fn guards_indexes(&self) -> bool {
        true
    }

    /// Whether it opens the reports that it makes itself. If not, it isn't asked to open any.
    fn opens_reports(&self) -> bool {
        true
    }
}

/// Why an endpoint took no packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The index was used, or seen, before.
    Replayed,
    /// The index lies behind the window.
    TooOld,
    /// One of the two above, by an implementation that doesn't say which.
    Stale,
    /// The tag is not this packet's.
    NotAuthentic,
    /// What no packet of a call deserves.
    Other(String),
}

impl Refused {
    /// Whether an implementation that says `self` means `expected`.
    fn means(&self, expected: &Self) -> bool {
        self == expected
            || *self == Self::Stale && matches!(expected, Self::Replayed | Self::TooOld)
    }
}
