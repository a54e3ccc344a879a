//! STUN (RFC 8489) as far as ICE speaks it: the Binding method, short-term credentials,
//! FINGERPRINT. Nothing here knows of pairs or time.
//!
//! `parse` turns a datagram into a checked [`Message`]; `write` makes requests and answers. What is
//! not well-formed, or lacks a right FINGERPRINT, never becomes a `Message`; whether a `Message` is
//! authentic is asked with a password, since only the receiver knows which one.

mod parse;
mod write;

pub(super) use parse::{Class, Message, Unreadable};
pub(super) use write::{CheckRequest, Nominate, check, error, success};

/// Of each message, after type and length (RFC 8489 section 5).
const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Type, length, cookie, transaction.
const HEADER: usize = 20;

/// What CRC-32 is combined with in FINGERPRINT (RFC 8489 section 14.7): "STUN".
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// Names one request and its answer: 96 bits, unpredictable (RFC 7675 section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TransactionId(pub(super) [u8; 12]);

/// Attribute types (RFC 8489 section 18.3, RFC 8445 section 16.1).
mod attribute {
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802A;
}

/// CRC-32 of ITU V.42, as zlib's. No crate: one table, and no other use of it here.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ CRC_TABLE[usize::from((crc as u8) ^ *byte)];
    !bytes.iter().fold(u32::MAX, step)
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests;
