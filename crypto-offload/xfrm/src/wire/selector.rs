//! `struct xfrm_selector`: which traffic, in SAs and policies alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crypto_offload::Selector;

use super::{
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
}
