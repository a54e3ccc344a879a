//! Binding requests and answers as bytes, with MESSAGE-INTEGRITY and FINGERPRINT.

use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::parse::wide_mask;
use super::{FINGERPRINT_XOR, HEADER, MAGIC_COOKIE, TransactionId, attribute, crc32};
use crate::ice::Role;

/// A connectivity check (RFC 8445 section 7.1).
#[derive(Clone, Copy, Debug)]
pub(in crate::ice) struct CheckRequest<'a> {
    pub(in crate::ice) transaction: TransactionId,
    /// The receiver's fragment, then ours.
    pub(in crate::ice) fragments: (&'a str, &'a str),
    pub(in crate::ice) priority: u32,
    pub(in crate::ice) role: Role,
    pub(in crate::ice) tie_breaker: u64,
    pub(in crate::ice) nomination: Nominate,
}

/// Whether a check nominates its pair (USE-CANDIDATE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ice) enum Nominate {
    Yes,
    No,
}

/// A check, authenticated with the receiver's password.
pub(in crate::ice) fn check(request: CheckRequest<'_>, password: &[u8]) -> Box<[u8]> {
    let (theirs, ours) = request.fragments;
    let mut writer = Writer::new(0x0001, request.transaction, 96 + theirs.len() + ours.len());
    writer.attribute_parts(attribute::USERNAME, &[theirs.as_bytes(), b":", ours.as_bytes()]);
    writer.attribute(attribute::PRIORITY, &request.priority.to_be_bytes());
    let role = match request.role {
        Role::Controlled => attribute::ICE_CONTROLLED,
        Role::Controlling => attribute::ICE_CONTROLLING,
    };
    writer.attribute(role, &request.tie_breaker.to_be_bytes());
    if request.nomination == Nominate::Yes {
        writer.attribute(attribute::USE_CANDIDATE, &[]);
    }
    writer.finish(password)
}

/// A success answer, authenticated with our password (RFC 8445 section 7.3).
pub(in crate::ice) fn success(
    transaction: TransactionId,
    mapped: SocketAddr,
    password: &[u8],
) -> Box<[u8]> {
    let mut writer = Writer::new(0x0101, transaction, 80);
    let port = (mapped.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes();
    match mapped {
        SocketAddr::V4(mapped) => {
            let bits = (mapped.ip().to_bits() ^ MAGIC_COOKIE).to_be_bytes();
            writer.attribute_parts(attribute::XOR_MAPPED_ADDRESS, &[&[0, 1], &port, &bits]);
        }
        SocketAddr::V6(mapped) => {
            let bits = (mapped.ip().to_bits() ^ wide_mask(transaction)).to_be_bytes();
            writer.attribute_parts(attribute::XOR_MAPPED_ADDRESS, &[&[0, 2], &port, &bits]);
        }
    }
    writer.finish(password)
}

/// An error answer without a phrase, authenticated with our password: 487, or 420 and what was not
/// understood.
pub(in crate::ice) fn error(
    transaction: TransactionId,
    code: u16,
    unknown: &[u16],
    password: &[u8],
) -> Box<[u8]> {
    let mut writer = Writer::new(0x0111, transaction, 80);
    let (class, number) = ((code / 100) as u8, (code % 100) as u8);
    writer.attribute(attribute::ERROR_CODE, &[0, 0, class, number]);
    if !unknown.is_empty() {
        let kinds: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &kinds);
    }
    writer.finish(password)
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u16, transaction: TransactionId, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(MAGIC_COOKIE.to_be_bytes());
        bytes.extend(transaction.0);
        Self(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.attribute_parts(kind, &[value]);
    }

    fn attribute_parts(&mut self, kind: u16, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.0.extend(kind.to_be_bytes());
        self.0.extend((length as u16).to_be_bytes());
        for part in parts {
            self.0.extend(*part);
        }
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Appends MESSAGE-INTEGRITY and FINGERPRINT; each is computed with a length that includes it
    /// (RFC 8489 sections 14.5, 14.7).
    fn finish(mut self, password: &[u8]) -> Box<[u8]> {
        self.set_length(24);
        let tag: [u8; 20] = match Hmac::<Sha1>::new_from_slice(password) {
            Ok(mut mac) => {
                mac.update(&self.0);
                mac.finalize().into_bytes().into()
            }
            // HMAC takes keys of every length.
            Err(_) => [0; 20],
        };
        self.attribute(attribute::MESSAGE_INTEGRITY, &tag);
        self.set_length(8);
        let checksum = crc32(&self.0) ^ FINGERPRINT_XOR;
        self.attribute(attribute::FINGERPRINT, &checksum.to_be_bytes());
        self.0.into_boxed_slice()
    }

    /// The length once `more` bytes follow.
    fn set_length(&mut self, more: usize) {
        let length = (self.0.len() + more - HEADER) as u16;
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
    }
}
