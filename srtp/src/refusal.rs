//! Why a packet was not opened or protected.

use thiserror::Error;

/// Every way a packet can be refused. Small and `Copy`: on the packet path it is counted, not
/// logged. After a refusal the packet's bytes are unspecified and the state is as before.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Not a packet of this kind.
    #[error("not a well-formed packet: {0}")]
    Malformed(#[from] Malformed),
    /// The MKI is that of no key here.
    #[error("unknown MKI")]
    UnknownMki,
    /// The tag does not verify.
    #[error("authentication failed")]
    AuthenticationFailed,
    /// The index was received before.
    #[error("replayed")]
    Replayed,
    /// The index is behind the window (receiving: replay window; sending: used or unknown).
    #[error("older than the window")]
    TooOld,
    /// The key has protected all the packets that it may; the session needs a new one.
    #[error("key exhausted")]
    KeyExhausted,
    /// Protecting would use an index a second time.
    #[error("index already used")]
    IndexReused,
    /// The SSRC table is full, retired SSRCs included.
    #[error("too many SSRCs")]
    TooManyStreams,
    /// The buffer has no tailroom for the trailer.
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
    /// SRTCP whose E flag says other than what was agreed.
    #[error("the E flag is not as agreed")]
    EncryptionFlag,
    /// A header extension, or CSRCs without one, whose encryption is not as agreed, or which cannot
    /// be encrypted as agreed (RFC 9335 sections 5.1 and 5.2).
    #[error("the header extension's profile is not as agreed")]
    ExtensionProfile,
}
