//! ESP packets (RFC 4303), sealed and opened in place: AES-GCM (RFC 4106) and ChaCha20-Poly1305
//! (RFC 7634).
//!
//! ```text
//!  0       4       8              16                                          n    n+16
//!  | SPI   | seq   | IV           | payload | padding 1,2,.. | pad len | next | ICV |
//!                                 |<------------------ encrypted ----------->|
//!  |<-- authenticated: with ESN, the number's high half stands between SPI and seq ->|
//! ```
//!
//! [`Seal`] and [`Open`] are one SA each. They own its sequence number or replay window and its
//! allowance of packets and bytes; an IV is the sequence number, so that what keeps one from
//! repeating keeps the other. Both may be held below a ceiling, up to which their owner has told
//! a disk that numbers may be used. They do no I/O, read no clock and allocate nothing per packet.
//! They refuse by [`DropReason`]; whoever calls them counts.
//!
//! The other files know what the packet inside is ([`Inner`]), what its outer header says to it
//! ([`ecn`]), and how many bytes all this takes ([`inner_mtu`]).

mod allowance;
mod cipher;
mod drop_reason;
pub mod ecn;
mod inner;
mod next_header;
mod open;
mod overhead;
mod replay;
mod seal;
mod sequence;
#[cfg(test)]
mod tests;

pub use allowance::{Allowance, Reach};
pub use drop_reason::DropReason;
pub use inner::Inner;
pub use next_header::NextHeader;
pub use open::{Open, Opened};
pub use overhead::{Outer, encapsulated_len, inner_mtu};
pub use seal::Seal;

use crate::Aead;

/// SPI and sequence number.
const HEADER_LEN: usize = 8;

/// Bytes that [`Seal::seal`] puts before a payload: SPI, sequence number and IV.
pub const HEADROOM: usize = HEADER_LEN + Aead::IV_LEN;

/// Bytes that [`Seal::seal`] puts after a payload, at most: padding, its length, next header and
/// ICV.
pub const TAILROOM: usize = ALIGNMENT - 1 + TRAILER_LEN + Aead::ICV_LEN;

/// Pad length and next header.
const TRAILER_LEN: usize = 2;

/// The ciphertext's end is aligned (RFC 4303 section 2.4); AEADs in counter mode ask for no more.
const ALIGNMENT: usize = 4;

/// The shortest packet that can be one: with a trailer alone, padded.
const SHORTEST: usize = HEADROOM + ALIGNMENT + Aead::ICV_LEN;
