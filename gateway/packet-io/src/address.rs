//! Socket addresses as the kernel lays them out, packed and parsed without pointer casts.
//!
//! Both drivers write destinations and read sources once per packet, so this stays a fixed-size
//! value on the stack: no allocation, no `sockaddr_storage` of which 100 bytes would be zeroed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The longest name an Internet socket gives: `struct sockaddr_in6`.
pub(crate) const NAME_LENGTH: usize = size_of::<libc::sockaddr_in6>();

const IPV4_LENGTH: usize = size_of::<libc::sockaddr_in>();

const _: () = assert!(NAME_LENGTH == 28 && IPV4_LENGTH == 16);

/// A `sockaddr_in` or `sockaddr_in6`, ready for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(4))]
pub(crate) struct RawAddress {
    bytes: [u8; NAME_LENGTH],
    length: u32,
}

impl RawAddress {
    /// No address: what unused slots hold.
    pub(crate) const EMPTY: Self = Self { bytes: [0; NAME_LENGTH], length: 0 };

    /// Lays `address` out: family in host order, port and address in network order.
    pub(crate) fn new(address: &SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        match address {
            SocketAddr::V4(v4) => {
                raw.head(libc::AF_INET as u16, v4.port());
                raw.bytes[4..8].copy_from_slice(&v4.ip().octets());
                raw.length = IPV4_LENGTH as u32;
            }
            SocketAddr::V6(v6) => {
                raw.head(libc::AF_INET6 as u16, v6.port());
                raw.bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                raw.bytes[8..24].copy_from_slice(&v6.ip().octets());
                raw.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                raw.length = NAME_LENGTH as u32;
            }
        }
        raw
    }

    fn head(&mut self, family: u16, port: u16) {
        self.bytes[..2].copy_from_slice(&family.to_ne_bytes());
        self.bytes[2..4].copy_from_slice(&port.to_be_bytes());
    }

    /// A name as the kernel wrote it; what exceeds the longest is cut off.
    pub(crate) fn from_kernel(name: &[u8]) -> Self {
        let name = &name[..name.len().min(NAME_LENGTH)];
        let mut raw = Self { length: name.len() as u32, ..Self::EMPTY };
        raw.bytes[..name.len()].copy_from_slice(name);
        raw
    }

    /// The name's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }

    /// Where the kernel finds it; valid as long as `self` neither moves nor goes.
    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    /// How many of its bytes count.
    pub(crate) fn len(&self) -> libc::socklen_t {
        self.length
    }
}

/// Reads a name that the kernel wrote; `None` when it is not an Internet address.
pub(crate) fn parse(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(array(name, 0)?);
    let port = u16::from_be_bytes(array(name, 2)?);
    match i32::from(family) {
        libc::AF_INET => Some(SocketAddrV4::new(Ipv4Addr::from(array::<4>(name, 4)?), port).into()),
        libc::AF_INET6 => {
            let flow = u32::from_ne_bytes(array(name, 4)?);
            let scope = u32::from_ne_bytes(array(name, 24)?);
            let ip = Ipv6Addr::from(array::<16>(name, 8)?);
            Some(SocketAddrV6::new(ip, port, flow, scope).into())
        }
        _ => None,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernel_layout() {
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 65535, 0, 3);
        for address in
            ["192.0.2.7:5004".parse().unwrap(), "[2001:db8::9]:1".parse().unwrap(), scoped.into()]
        {
            let raw = RawAddress::new(&address);
            assert_eq!(parse(&raw.bytes[..raw.length as usize]), Some(address));
        }
    }

    #[test]
    fn short_and_foreign_names_are_refused() {
        let raw = RawAddress::new(&"[::1]:9".parse().unwrap());
        assert_eq!(parse(&raw.bytes[..27]), None);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
