//! `struct xfrm_selector`: which traffic, in SAs and policies alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crypto_offload::Selector;
use ipnet::IpNet;

use super::{
    netlink::Fields,
    numbers::{AF_INET, AF_INET6},
    request::{Request, family},
};

/// Bytes of the struct.
pub(crate) const SELECTOR_LEN: usize = 56;

/// Writes a selector: any device, any user.
pub(crate) fn encode(request: &mut Request, selector: &Selector) {
    let ports = [selector.destination_port, selector.source_port];
    request.address(selector.destination.network()).address(selector.source.network());
    for port in ports {
        request.be16(port.unwrap_or(0)).be16(port.map_or(0, |_| u16::MAX));
    }
    request
        .u16(family(selector.destination.addr()))
        .u8(selector.destination.prefix_len())
        .u8(selector.source.prefix_len())
        .u8(selector.protocol.unwrap_or(0))
        .zeros(3)
        .u32(0)
        .u32(0);
}

/// Reads a selector. One port in ours is a range of them in the kernel's: a range is any here, and
/// a device or user is any too, so that what is read fits all that the kernel's does. Without a
/// family it is `None`: then it is a socket's own.
pub(crate) fn decode(bytes: &[u8]) -> Option<Selector> {
    let mut fields = Fields(bytes);
    let (destination, source) = (fields.address()?, fields.address()?);
    let ports = [fields.be16()?, fields.be16()?, fields.be16()?, fields.be16()?];
    let family = fields.u16()?;
    let (destination_len, source_len) = (fields.u8()?, fields.u8()?);
    let protocol = fields.u8()?;
    let port = |value: u16, mask: u16| (mask == u16::MAX).then_some(value);
    Some(Selector {
        source: IpNet::new(address(family, source)?, source_len).ok()?.trunc(),
        destination: IpNet::new(address(family, destination)?, destination_len).ok()?.trunc(),
        protocol: (protocol != 0).then_some(protocol),
        source_port: port(ports[2], ports[3]),
        destination_port: port(ports[0], ports[1]),
    })
}

/// Tells what `xfrm_address_t` holds.
pub(crate) fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(selector: &Selector) -> Vec<u8> {
        let mut request = Request::new(0, 0);
        encode(&mut request, selector);
        assert_eq!(request.payload_len(), SELECTOR_LEN);
        request.finish(0, 0)[16..].to_vec()
    }

    #[test]
    fn golden_ipv4_selector_with_a_port() {
        let bytes = bytes_of(&Selector {
            source: "10.1.0.0/16".parse().expect("a prefix"),
            destination: "10.2.3.4/32".parse().expect("a prefix"),
            protocol: Some(17),
            source_port: None,
            destination_port: Some(5060),
        });
        let mut golden = Vec::new();
        golden.extend([10, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([0x13, 0xc4, 0xff, 0xff, 0, 0, 0, 0]);
        golden.extend(2u16.to_ne_bytes());
        golden.extend([32, 16, 17, 0, 0, 0]);
        golden.extend([0; 8]);
        assert_eq!(bytes, golden);
    }

    #[test]
    fn a_selector_is_read_as_it_was_written_and_a_range_of_ports_as_any() {
        let selector = Selector {
            source: "2001:db8:1::/48".parse().expect("a prefix"),
            destination: "2001:db8:2::7/128".parse().expect("a prefix"),
            protocol: Some(6),
            source_port: Some(5061),
            destination_port: None,
        };
        let mut bytes = bytes_of(&selector);
        assert_eq!(decode(&bytes), Some(selector));
        bytes[39] = 0;
        assert_eq!(decode(&bytes), Some(Selector { source_port: None, ..selector }));
        bytes[40..42].fill(0);
        assert_eq!(decode(&bytes), None, "no family");
        assert_eq!(decode(&bytes[..44]), None);
    }
}
