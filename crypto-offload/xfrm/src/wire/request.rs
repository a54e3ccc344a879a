//! Builds one message: header, fields in order, attributes. It is wiped when dropped, for it may
//! hold a key.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::numbers::{AF_INET, AF_INET6, NLM_F_REQUEST};

/// A message to the kernel.
pub(crate) struct Request(Zeroizing<Vec<u8>>);

impl Request {
    /// Begins a message of that type; `flags` are those beside NLM_F_REQUEST.
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        let mut request = Self(Zeroizing::new(Vec::with_capacity(CAPACITY)));
        request.u32(0).u16(kind).u16(NLM_F_REQUEST | flags).u32(0).u32(0);
        request
    }

    /// The whole message, numbered, and with its length filled in. `port` is the sender's, which
    /// XFRM repeats in what it reports to others: from this field, not from the socket.
    pub(crate) fn finish(mut self, sequence: u32, port: u32) -> Zeroizing<Vec<u8>> {
        debug_assert!(self.0.len() <= CAPACITY, "a key was left behind by growing");
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0[12..16].copy_from_slice(&port.to_ne_bytes());
        self.0
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn zeros(&mut self, count: usize) -> &mut Self {
        let length = self.0.len() + count;
        self.0.resize(length, 0);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub(crate) fn be16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn be32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// `xfrm_address_t`: 16 bytes, of which IPv4 has the first four.
    pub(crate) fn address(&mut self, address: IpAddr) -> &mut Self {
        match address {
            IpAddr::V4(v4) => self.bytes(&v4.octets()).zeros(12),
            IpAddr::V6(v6) => self.bytes(&v6.octets()),
        }
    }

    /// An attribute, filled by `fill`, and its padding.
    pub(crate) fn attribute(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.u16(0).u16(kind);
        fill(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.zeros(self.0.len().next_multiple_of(4) - self.0.len())
    }

    /// Bytes after the header so far.
    #[cfg(test)]
    pub(crate) fn payload_len(&self) -> usize {
        self.0.len() - super::netlink::HEADER_LEN
    }
}

/// The kernel's number of an address's family.
pub(crate) const fn family(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

/// More than the longest message: an SA with a 4,096-bit replay window is 1,100 bytes. Growing
/// would leave a copy of the key where it is not wiped.
const CAPACITY: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_do_not_count_their_padding() {
        let mut request = Request::new(0x10, 4);
        request.attribute(28, |request| {
            request.bytes(b"abcde");
        });
        assert_eq!(request.payload_len(), 12);
        let bytes = request.finish(9, 5);
        assert_eq!(bytes[..4], 28u32.to_ne_bytes());
        assert_eq!(bytes[4..8], [0x10u16.to_ne_bytes(), 5u16.to_ne_bytes()].concat());
        assert_eq!(bytes[8..12], 9u32.to_ne_bytes());
        assert_eq!(bytes[12..16], 5u32.to_ne_bytes());
        assert_eq!(bytes[16..20], [9u16.to_ne_bytes(), 28u16.to_ne_bytes()].concat());
        assert_eq!(&bytes[20..], b"abcde\0\0\0");
    }
}
