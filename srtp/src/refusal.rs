//! Why a packet was not opened or protected.

use thiserror::Error;

/// Every way a packet can be refused. Small and `Copy`: on the packet path it is counted, not
/// logged. After a refusal the packet's bytes are unspecified and the state is as before.
///
/// Opening asks in this order, and the first answer counts: the packet's length, the key that its
/// MKI names, that key's lifetime, the header's form, the table of SSRCs, the window, the tag.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Not a packet of this kind.
    #[error("not a well-formed packet: {0}")]
    Malformed(#[from] Malformed),
    /// Opening: the MKI is that of no key here.
    #[error("unknown MKI")]
    UnknownMki,
    /// Opening: the tag does not verify. The packet is forged or damaged, under another key, or in
    /// another round than its stream's (see [`Receiver::expect`](crate::Receiver::expect)).
    #[error("authentication failed")]
    AuthenticationFailed,
    /// Opening: the index was received before (RFC 3711 section 3.3.2).
    #[error("replayed")]
    Replayed,
    /// The index lies behind the window ([`Policy::replay_window`](crate::Policy::replay_window) for
    /// SRTP, 128 for SRTCP): whether it was used is not known any more. Protecting, also a packet
    /// from before its stream's first round.
    #[error("older than the window")]
    TooOld,
    /// The key has protected all the packets that it may (RFC 3711 section 9.2), or the stream has
    /// come to the end of its indexes; the session needs a new key.
    #[error("key exhausted")]
    KeyExhausted,
    /// Protecting: the index was used before, and a second packet under it would give both away.
    #[error("index already used")]
    IndexReused,
    /// The SSRC table is full, retired SSRCs included
    /// ([`Policy::max_streams`](crate::Policy::max_streams) and 1,024 more).
    #[error("too many SSRCs")]
    TooManyStreams,
    /// Protecting: the buffer has no tailroom for the trailer.
    #[error("no room for the trailer")]
    NoRoom,
}

/// What is wrong with a packet's form.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Shorter than its fixed header and, protected, its trailer.
    #[error("too short")]
    TooShort,
    /// Longer than AES-CM's block counter reaches: 1 MiB.
    #[error("too long")]
    TooLong,
    /// The version is not 2.
    #[error("not version 2")]
    WrongVersion,
    /// The CSRC count reaches past the end.
    #[error("the CSRCs reach past the end")]
    CsrcsPastEnd,
    /// The header extension reaches past the end.
    #[error("the header extension reaches past the end")]
    ExtensionPastEnd,
    /// SRTCP whose E flag says other than what was agreed (RFC 3711 section 3.4).
    #[error("the E flag is not as agreed")]
    EncryptionFlag,
    /// A header extension, or CSRCs without one, whose encryption is not as agreed, or which cannot
    /// be encrypted as agreed (RFC 9335 sections 5.1 and 5.2).
    #[error("the header extension's profile is not as agreed")]
    ExtensionProfile,
}
