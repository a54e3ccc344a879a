//! The packet inside a tunnel, as far as policies and lengths ask.
//!
//! Looks at IP headers only as far as addresses, protocol and ports. It reassembles nothing: a
//! fragment that is not the first has no ports, so it fits only policies that name none (RFC 4301
//! section 4.4.1.1, "OPAQUE").

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{DropReason, NextHeader};
use crate::Selector;

/// What a policy asks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Bytes of the packet by its own header; what follows is padding (RFC 4303 section 2.7).
    pub length: usize,
    /// Where from.
    pub source: IpAddr,
    /// Where to.
    pub destination: IpAddr,
    /// Behind extension headers; of a later fragment of IPv6, what the fragment header names.
    pub protocol: u8,
    /// Source and destination port, of protocols that have them and where they can be seen.
    pub ports: Option<(u16, u16)>,
}

impl Inner {
    /// Reads the IP packet at the start of `bytes`.
    ///
    /// # Errors
    /// [`DropReason::NotIp`], [`DropReason::InnerLength`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => Self::parse_ipv4(bytes),
            Some(6) => Self::parse_ipv6(bytes),
            _ => Err(DropReason::NotIp),
        }
    }

    /// Reads the packet that ESP in tunnel mode carried as `next_header`.
    ///
    /// # Errors
    /// Also [`DropReason::NotIp`] when the version is not the one that `next_header` names.
    pub fn tunnelled(next_header: NextHeader, payload: &[u8]) -> Result<Self, DropReason> {
        let first = payload.first().copied().unwrap_or_default();
        if NextHeader::of_packet(first) != Some(next_header) {
            return Err(DropReason::NotIp);
        }
        Self::parse(payload)
    }

    /// Whether it is traffic of `selector`.
    pub fn fits(&self, selector: &Selector) -> bool {
        fn is<T: PartialEq>(wanted: Option<T>, found: Option<T>) -> bool {
            wanted.is_none() || wanted == found
        }
        selector.destination.contains(&self.destination)
            && selector.source.contains(&self.source)
            && is(selector.protocol, Some(self.protocol))
            && is(selector.source_port, self.ports.map(|(source, _)| source))
            && is(selector.destination_port, self.ports.map(|(_, destination)| destination))
    }

    fn parse_ipv4(bytes: &[u8]) -> Result<Self, DropReason> {
        let header = bytes.first_chunk::<20>().ok_or(DropReason::InnerLength)?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header_len < 20 || length < header_len || length > bytes.len() {
            return Err(DropReason::InnerLength);
        }
        let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
        let protocol = header[9];
        let upper = &bytes[header_len..length];
        Ok(Self {
            length,
            source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
            destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
            protocol,
            ports: if fragment_offset == 0 { ports(protocol, upper) } else { None },
        })
    }

    fn parse_ipv6(bytes: &[u8]) -> Result<Self, DropReason> {
        let header = bytes.first_chunk::<40>().ok_or(DropReason::InnerLength)?;
        let length = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let upper = bytes.get(40..length).ok_or(DropReason::InnerLength)?;
        let (protocol, upper) = behind_extensions(header[6], upper);
        Ok(Self {
            length,
            source: Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|at| header[8 + at])).into(),
            destination: Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|at| header[24 + at]))
                .into(),
            protocol,
            ports: upper.and_then(|upper| ports(protocol, upper)),
        })
    }
}

/// Passes over extension headers (RFC 8200 section 4): the protocol behind them, and its bytes
/// where they are there.
fn behind_extensions(mut next: u8, mut bytes: &[u8]) -> (u8, Option<&[u8]>) {
    for _ in 0..MAX_EXTENSIONS {
        let [following, length, ..] = bytes else { break };
        let skip = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(*length) + 1) * 8,
            FRAGMENT => {
                let offset = bytes.get(2..4).map(|field| u16::from_be_bytes([field[0], field[1]]));
                if offset.is_none_or(|offset| offset & !0b111 != 0) {
                    return (*following, None);
                }
                8
            }
            _ => return (next, Some(bytes)),
        };
        next = *following;
        bytes = bytes.get(skip..).unwrap_or_default();
    }
    (next, Some(bytes))
}

fn ports(protocol: u8, upper: &[u8]) -> Option<(u16, u16)> {
    if !PROTOCOLS_WITH_PORTS.contains(&protocol) {
        return None;
    }
    let &[a, b, c, d] = upper.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// TCP, UDP, DCCP and SCTP.
const PROTOCOLS_WITH_PORTS: [u8; 4] = [6, 17, 33, 132];
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// Each kind once, and destination options twice (RFC 8200 section 4.1): more is an attempt to
/// make us work.
const MAX_EXTENSIONS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, fragment: u16, upper: &[u8]) -> Vec<u8> {
        let length = (20 + upper.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 1]);
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 10, 1, 0, 1, 10, 2, 0, 2]);
        packet.extend(upper);
        packet
    }

    fn ipv6(next: u8, upper: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((upper.len() as u16).to_be_bytes());
        packet.extend([next, 64]);
        packet.extend([0xfd; 32]);
        packet.extend(upper);
        packet
    }

    const PORTS: [u8; 8] = [0x13, 0xc4, 0x13, 0xc6, 0, 8, 0, 0];

    #[test]
    fn padding_behind_a_packet_is_not_its_length() {
        for packet in [ipv4(17, 0, &PORTS), ipv6(17, &PORTS)] {
            let mut padded = packet.clone();
            padded.extend([0; 100]);
            let inner = Inner::parse(&padded).expect("a packet");
            assert_eq!(inner.length, packet.len());
            assert_eq!(inner.ports, Some((5060, 5062)));
            assert_eq!(Inner::parse(&packet[..packet.len() - 1]), Err(DropReason::InnerLength));
        }
    }

    #[test]
    fn a_header_longer_than_its_packet_is_refused() {
        let mut packet = ipv4(17, 0, &PORTS);
        packet[0] = 0x4f;
        assert_eq!(Inner::parse(&packet), Err(DropReason::InnerLength));
        packet[0] = 0x44;
        assert_eq!(Inner::parse(&packet), Err(DropReason::InnerLength));
        assert_eq!(Inner::parse(&[0x50; 40]), Err(DropReason::NotIp));
        assert_eq!(Inner::parse(&[]), Err(DropReason::NotIp));
    }

    #[test]
    fn the_trailer_and_the_version_have_to_agree() {
        let packet = ipv4(17, 0, &PORTS);
        assert!(Inner::tunnelled(NextHeader::IPV4, &packet).is_ok());
        assert_eq!(Inner::tunnelled(NextHeader::IPV6, &packet), Err(DropReason::NotIp));
        assert_eq!(Inner::tunnelled(NextHeader(17), &packet), Err(DropReason::NotIp));
    }

    #[test]
    fn later_fragments_have_no_ports_and_fit_policies_without() {
        let later = Inner::parse(&ipv4(17, 185, &PORTS)).expect("a fragment");
        assert_eq!((later.protocol, later.ports), (17, None));
        let any = Selector {
            source: "10.1.0.0/16".parse().expect("a prefix"),
            destination: "10.2.0.0/16".parse().expect("a prefix"),
            protocol: Some(17),
            source_port: None,
            destination_port: None,
        };
        assert!(later.fits(&any));
        assert!(!later.fits(&Selector { source_port: Some(5060), ..any }));
        assert!(!later.fits(&any.reversed()));
        let first = Inner::parse(&ipv4(17, 0x2000, &PORTS)).expect("a fragment");
        assert!(first.fits(&Selector { source_port: Some(5060), ..any }));
    }

    #[test]
    fn ports_are_found_behind_ipv6_extensions_but_not_in_later_fragments() {
        let behind = |fragment: [u8; 8]| {
            let mut upper = vec![FRAGMENT, 0, 1, 4, 0, 0, 0, 0];
            upper.extend(fragment);
            upper.extend(PORTS);
            Inner::parse(&ipv6(HOP_BY_HOP, &upper)).expect("a packet")
        };
        let first = behind([17, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!((first.protocol, first.ports), (17, Some((5060, 5062))));
        let later = behind([17, 0, 0, 9, 0, 0, 0, 1]);
        assert_eq!((later.protocol, later.ports), (17, None));
    }

    #[test]
    fn endless_extensions_end_the_search() {
        let upper = [[HOP_BY_HOP, 0, 1, 4, 0, 0, 0, 0]; 20].concat();
        let inner = Inner::parse(&ipv6(HOP_BY_HOP, &upper)).expect("a packet");
        assert_eq!((inner.protocol, inner.ports), (HOP_BY_HOP, None));
    }
}
