//! Why a packet was not opened or protected.

use thiserror::Error;

/// Every way a packet can be refused. Small and `Copy`: on the packet path it is counted, not
/// logged. After a refusal the packet's bytes are unspecified and the state is as before.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Not a packet of this kind: too short, wrong version, lengths that do not add up, or SRTCP
    /// whose E flag says that it is not encrypted.
    #[error("not a well-formed packet")]
    Malformed,
    /// The tag does not verify, or the MKI is not this session's.
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
