//! A datagram becomes a checked STUN message, or is refused before any key is touched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::{FINGERPRINT_XOR, HEADER, MAGIC_COOKIE, TransactionId, attribute, crc32};
use crate::ice::Role;

/// What a message is (RFC 8489 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ice) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// Why a datagram is no message of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ice) enum Unreadable {
    /// Not STUN, not Binding, or its attributes do not fit.
    Malformed,
    /// FINGERPRINT is missing, wrong, or not the last attribute.
    Fingerprint,
}

/// A well-formed Binding message with a right FINGERPRINT. Not yet authentic: see
/// [`Message::is_authentic`].
#[derive(Clone, Debug)]
pub(in crate::ice) struct Message<'a> {
    bytes: &'a [u8],
    /// Where MESSAGE-INTEGRITY begins, if there is one.
    integrity: Option<usize>,
    pub(in crate::ice) class: Class,
    pub(in crate::ice) transaction: TransactionId,
    pub(in crate::ice) username: Option<&'a [u8]>,
    pub(in crate::ice) priority: Option<u32>,
    pub(in crate::ice) use_candidate: bool,
    /// What the sender believes to be, and its tie-breaker.
    pub(in crate::ice) role: Option<(Role, u64)>,
    pub(in crate::ice) mapped: Option<SocketAddr>,
    pub(in crate::ice) error: Option<u16>,
    /// The first attributes that must be understood and are not (RFC 8489 section 6.3).
    pub(in crate::ice) unknown: Unknown,
}

impl<'a> Message<'a> {
    /// Checks form and FINGERPRINT. Without FINGERPRINT it is not ICE's (RFC 8445 section 7.1).
    ///
    /// # Errors
    /// [`Unreadable`], by what is wrong first.
    pub(in crate::ice) fn parse(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let (class, transaction) = header(bytes).ok_or(Unreadable::Malformed)?;
        let mut message = Self {
            bytes,
            integrity: None,
            class,
            transaction,
            username: None,
            priority: None,
            use_candidate: false,
            role: None,
            mapped: None,
            error: None,
            unknown: Unknown::default(),
        };
        let mut at = HEADER;
        while at < bytes.len() {
            let (kind, value, next) = attribute_at(bytes, at).ok_or(Unreadable::Malformed)?;
            if kind == attribute::FINGERPRINT {
                let right = next == bytes.len()
                    && value == (crc32(&bytes[..at]) ^ FINGERPRINT_XOR).to_be_bytes();
                return if right { Ok(message) } else { Err(Unreadable::Fingerprint) };
            }
            // What follows MESSAGE-INTEGRITY is not authenticated (RFC 8489 section 14.5).
            if message.integrity.is_none() {
                message.take(kind, value, at).ok_or(Unreadable::Malformed)?;
            }
            at = next;
        }
        Err(Unreadable::Fingerprint)
    }

    /// Whether MESSAGE-INTEGRITY is there and right under `password`. Compares in constant time.
    pub(in crate::ice) fn is_authentic(&self, password: &[u8]) -> bool {
        let Some(at) = self.integrity else { return false };
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(password) else { return false };
        // The length counts as if the message ended here (RFC 8489 section 14.5).
        let length = (at + 24 - HEADER) as u16;
        mac.update(&self.bytes[..2]);
        mac.update(&length.to_be_bytes());
        mac.update(&self.bytes[4..at]);
        mac.verify_slice(&self.bytes[at + 4..at + 24]).is_ok()
    }

    /// USERNAME's halves: the receiver's fragment, the sender's (RFC 8445 section 7.2.2).
    pub(in crate::ice) fn fragments(&self) -> Option<(&'a [u8], &'a [u8])> {
        let username = self.username?;
        let colon = username.iter().position(|byte| *byte == b':')?;
        Some((&username[..colon], &username[colon + 1..]))
    }

    fn take(&mut self, kind: u16, value: &'a [u8], at: usize) -> Option<()> {
        match kind {
            attribute::USERNAME => self.username = Some(value),
            attribute::MESSAGE_INTEGRITY => {
                <[u8; 20]>::try_from(value).ok()?;
                self.integrity = Some(at);
            }
            attribute::PRIORITY => {
                self.priority = Some(u32::from_be_bytes(value.try_into().ok()?));
            }
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::ICE_CONTROLLED => {
                self.role = Some((Role::Controlled, u64::from_be_bytes(value.try_into().ok()?)));
            }
            attribute::ICE_CONTROLLING => {
                self.role = Some((Role::Controlling, u64::from_be_bytes(value.try_into().ok()?)));
            }
            attribute::XOR_MAPPED_ADDRESS => {
                self.mapped = Some(xor_address(value, self.transaction)?);
            }
            attribute::ERROR_CODE => {
                let [_, _, class, number, ..] = *value else { return None };
                self.error = Some(u16::from(class & 7) * 100 + u16::from(number));
            }
            attribute::UNKNOWN_ATTRIBUTES => {}
            kind if kind < 0x8000 => self.unknown.push(kind),
            _ => {}
        }
        Some(())
    }
}

/// At most four attribute types; an answer names no more, so that it stays smaller than what it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ice) struct Unknown {
    kinds: [u16; 4],
    len: usize,
}

impl Unknown {
    pub(in crate::ice) fn kinds(&self) -> &[u16] {
        &self.kinds[..self.len]
    }

    fn push(&mut self, kind: u16) {
        if let Some(slot) = self.kinds.get_mut(self.len) {
            *slot = kind;
            self.len += 1;
        }
    }
}

fn header(bytes: &[u8]) -> Option<(Class, TransactionId)> {
    let head: &[u8; HEADER] = bytes.first_chunk()?;
    let kind = u16::from_be_bytes([head[0], head[1]]);
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let cookie = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    if length + HEADER != bytes.len() || !length.is_multiple_of(4) || cookie != MAGIC_COOKIE {
        return None;
    }
    let class = match kind {
        0x0001 => Class::Request,
        0x0011 => Class::Indication,
        0x0101 => Class::Success,
        0x0111 => Class::Error,
        _ => return None,
    };
    let transaction = TransactionId(*head.last_chunk()?);
    Some((class, transaction))
}

/// Type, value and where the next attribute begins; values are padded to four bytes.
fn attribute_at(bytes: &[u8], at: usize) -> Option<(u16, &[u8], usize)> {
    let head: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let value = bytes.get(at + 4..at + 4 + length)?;
    let next = at + 4 + length.next_multiple_of(4);
    (next <= bytes.len()).then_some((u16::from_be_bytes([head[0], head[1]]), value, next))
}

/// XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
fn xor_address(value: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    let (head, address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2], head[3]]) ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match head[1] {
        1 => {
            let bits = u32::from_be_bytes(address.try_into().ok()?) ^ MAGIC_COOKIE;
            IpAddr::V4(Ipv4Addr::from_bits(bits))
        }
        2 => {
            let bits = u128::from_be_bytes(address.try_into().ok()?) ^ wide_mask(transaction);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Cookie and transaction, what IPv6 addresses are combined with.
pub(super) fn wide_mask(transaction: TransactionId) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(&transaction.0);
    u128::from_be_bytes(mask)
}
