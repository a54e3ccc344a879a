//! rtnetlink messages as bytes: the five requests that a tunnel device needs, and the answer.
//!
//! No sockets here: requests are encoded into a caller's buffer, answers parsed from one, so both
//! are tested byte by byte. Integers are in the machine's byte order, addresses as on the wire
//! (rtnetlink(7)).

use std::net::IpAddr;

use super::link::{Prefix, Route};

/// A request being written.
pub(crate) struct Request {
    bytes: Vec<u8>,
}

/// What a request does to the thing that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Makes it; EEXIST when it is there.
    Add,
    /// Takes it away; ESRCH or EADDRNOTAVAIL when it is not there.
    Remove,
}

/// What the kernel says to a request: done, or its errno and, where it gives one, its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Of which request.
    pub(crate) sequence: u32,
    /// 0, or a positive errno.
    pub(crate) errno: i32,
    /// NLMSGERR_ATTR_MSG.
    pub(crate) text: Option<String>,
}

impl Request {
    /// RTM_NEWLINK on interface `index`.
    pub(crate) fn link(sequence: u32, index: u32, setting: LinkSetting) -> Vec<u8> {
        let mut request = Self::new(libc::RTM_NEWLINK, 0, sequence);
        let (flags, change) = match setting {
            LinkSetting::Up => (libc::IFF_UP, libc::IFF_UP | libc::IFF_MULTICAST),
            LinkSetting::Mtu(_) | LinkSetting::Queue(_) | LinkSetting::NoLinkLocal => (0, 0),
        };
        // struct ifinfomsg: family and padding, type, index, flags, which flags change.
        request.bytes.extend([0; 4]);
        request.bytes.extend(index.to_ne_bytes());
        request.bytes.extend(flags.to_ne_bytes());
        request.bytes.extend(change.to_ne_bytes());
        match setting {
            LinkSetting::Mtu(mtu) => request.attribute(IFLA_MTU, &mtu.to_ne_bytes()),
            LinkSetting::Queue(packets) => {
                request.attribute(IFLA_TXQLEN, &packets.to_ne_bytes());
            }
            LinkSetting::NoLinkLocal => {
                let mut mode = Self { bytes: Vec::new() };
                mode.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
                let mut family = Self { bytes: Vec::new() };
                family.attribute(libc::AF_INET6 as u16, &mode.bytes);
                request.attribute(IFLA_AF_SPEC, &family.bytes);
            }
            LinkSetting::Up => {}
        }
        request.finish()
    }

    /// RTM_NEWADDR or RTM_DELADDR: the address of `prefix`, with its length, on interface `index`.
    pub(crate) fn address(
        sequence: u32,
        index: u32,
        change: Change,
        address: IpAddr,
        length: u8,
    ) -> Vec<u8> {
        let kind = change.of(libc::RTM_NEWADDR, libc::RTM_DELADDR);
        let mut request = Self::new(kind, change.flags(), sequence);
        // struct ifaddrmsg: family, prefix length, flags, scope, index. IFA_F_NODAD: nobody else
        // is on the link, and the address is to be usable at once.
        request.bytes.extend([family(address), length, IFA_F_NODAD, 0]);
        request.bytes.extend(index.to_ne_bytes());
        request.address_attribute(IFA_LOCAL, address);
        request.address_attribute(IFA_ADDRESS, address);
        request.finish()
    }

    /// RTM_NEWROUTE or RTM_DELROUTE: `route` by interface `index`, in the main table.
    pub(crate) fn route(sequence: u32, index: u32, change: Change, route: &Route) -> Vec<u8> {
        let kind = change.of(libc::RTM_NEWROUTE, libc::RTM_DELROUTE);
        let mut request = Self::new(kind, change.flags(), sequence);
        let Prefix { address, length } = route.prefix;
        // A device route to IPv4 neighbours has link scope; IPv6 knows no scopes of routes.
        let scope = match address {
            IpAddr::V4(_) => RT_SCOPE_LINK,
            IpAddr::V6(_) => RT_SCOPE_UNIVERSE,
        };
        // struct rtmsg: family, lengths of destination and source, TOS, table, protocol, scope,
        // type, flags.
        let head = [family(address), length, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope];
        request.bytes.extend(head);
        request.bytes.push(RTN_UNICAST);
        request.bytes.extend([0; 4]);
        request.address_attribute(RTA_DST, address);
        request.attribute(RTA_OIF, &index.to_ne_bytes());
        if let Some(source) = route.source {
            request.address_attribute(RTA_PREFSRC, source);
        }
        request.finish()
    }

    /// An unreachable route that is worse than any other one.
    pub(crate) fn guard(sequence: u32, change: Change, prefix: Prefix) -> Vec<u8> {
        let kind = change.of(libc::RTM_NEWROUTE, libc::RTM_DELROUTE);
        let mut request = Self::new(kind, change.flags(), sequence);
        let (table, scope) = (RT_TABLE_MAIN, RT_SCOPE_UNIVERSE);
        let head = [family(prefix.address), prefix.length, 0, 0, table, RTPROT_STATIC, scope];
        request.bytes.extend(head);
        request.bytes.push(RTN_UNREACHABLE);
        request.bytes.extend([0; 4]);
        request.address_attribute(RTA_DST, prefix.address);
        request.attribute(RTA_PRIORITY, &GUARD_METRIC.to_ne_bytes());
        request.finish()
    }

    /// struct nlmsghdr; its length is written in the end.
    fn new(kind: u16, flags: u16, sequence: u32) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        Self { bytes }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn address_attribute(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.attribute(kind, &v4.octets()),
            IpAddr::V6(v6) => self.attribute(kind, &v6.octets()),
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

/// What of a link is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkSetting {
    /// IFF_UP, and no IFF_MULTICAST: the kernel is to announce no groups into a tunnel.
    Up,
    /// No IPv6 link-local address, and with it no router solicitations.
    NoLinkLocal,
    /// IFLA_MTU.
    Mtu(u32),
    /// IFLA_TXQLEN.
    Queue(u32),
}

impl Change {
    fn of(self, add: u16, remove: u16) -> u16 {
        match self {
            Self::Add => add,
            Self::Remove => remove,
        }
    }

    fn flags(self) -> u16 {
        match self {
            Self::Add => NLM_F_CREATE | NLM_F_EXCL,
            Self::Remove => 0,
        }
    }
}

/// The first NLMSG_ERROR in `bytes`; `None` when there is none, or it is cut short.
pub(crate) fn parse_answer(mut bytes: &[u8]) -> Option<Answer> {
    loop {
        let length = u32::from_ne_bytes(array(bytes, 0)?) as usize;
        let message = bytes.get(..length).filter(|_| length >= HEADER)?;
        if u16::from_ne_bytes(array(message, 4)?) == NLMSG_ERROR {
            return error_message(message);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// struct nlmsgerr: the negative errno, the request's header, then attributes if flagged so.
fn error_message(message: &[u8]) -> Option<Answer> {
    let flags = u16::from_ne_bytes(array(message, 6)?);
    let sequence = u32::from_ne_bytes(array(message, 8)?);
    let errno = i32::from_ne_bytes(array(message, HEADER)?).checked_neg()?;
    let request = u32::from_ne_bytes(array(message, HEADER + 4)?) as usize;
    // NLM_F_CAPPED: only the request's header came back, whatever its length says.
    let echoed = if flags & NLM_F_CAPPED != 0 { HEADER } else { request.next_multiple_of(4) };
    let attributes = message.get(HEADER + 4 + echoed..).filter(|_| flags & NLM_F_ACK_TLVS != 0);
    Some(Answer { sequence, errno, text: attributes.and_then(reason) })
}

/// The text among the attributes of an error.
fn reason(mut attributes: &[u8]) -> Option<String> {
    loop {
        let length = usize::from(u16::from_ne_bytes(array(attributes, 0)?));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes(array(attributes, 2)?) == NLMSGERR_ATTR_MSG {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Bytes of a `struct nlmsghdr`.
const HEADER: usize = 16;

// linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

// linux/if_link.h, linux/if_addr.h
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;

/// Worse than routes of routing daemons and of IPv6 (1,024).
const GUARD_METRIC: u32 = 1_000_000;

// linux/rtnetlink.h
const RTN_UNREACHABLE: u8 = 7;
const RTA_PRIORITY: u16 = 6;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, source: Option<&str>) -> Route {
        let source = source.map(|source| source.parse().unwrap());
        Route { prefix: prefix.parse().unwrap(), source }
    }

    /// The bytes that iproute2 sends for `ip route add 192.0.2.0/24 dev IF5 protocol static`,
    /// with NLM_F_EXCL, as laid out in rtnetlink(7).
    #[test]
    #[cfg(target_endian = "little")]
    fn golden_bytes_of_an_ipv4_route() {
        #[rustfmt::skip]
        let golden = [
            44, 0, 0, 0,  24, 0,  0x05, 0x06,  7, 0, 0, 0,  0, 0, 0, 0,
            2, 24, 0, 0,  254, 4, 253, 1,  0, 0, 0, 0,
            8, 0, 1, 0,  192, 0, 2, 0,
            8, 0, 4, 0,  5, 0, 0, 0,
        ];
        assert_eq!(Request::route(7, 5, Change::Add, &route("192.0.2.0/24", None)), golden);
    }

    /// `ip route add unreachable 192.0.2.0/24 metric 1000000 protocol static`.
    #[test]
    #[cfg(target_endian = "little")]
    fn golden_bytes_of_a_guard() {
        #[rustfmt::skip]
        let golden = [
            44, 0, 0, 0,  24, 0,  0x05, 0x06,  7, 0, 0, 0,  0, 0, 0, 0,
            2, 24, 0, 0,  254, 4, 0, 7,  0, 0, 0, 0,
            8, 0, 1, 0,  192, 0, 2, 0,
            8, 0, 6, 0,  0x40, 0x42, 0x0f, 0x00,
        ];
        let prefix = "192.0.2.0/24".parse().unwrap();
        assert_eq!(Request::guard(7, Change::Add, prefix), golden);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn golden_bytes_of_an_ipv6_route_taken_away() {
        #[rustfmt::skip]
        let golden = [
            76, 0, 0, 0,  25, 0,  0x05, 0x00,  8, 0, 0, 0,  0, 0, 0, 0,
            10, 32, 0, 0,  254, 4, 0, 1,  0, 0, 0, 0,
            20, 0, 1, 0,  0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            8, 0, 4, 0,  5, 0, 0, 0,
            20, 0, 7, 0,  0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        ];
        let route = route("2001:db8::/32", Some("2001:db8::1"));
        let mut expected = golden.to_vec();
        expected[0] = expected.len() as u8;
        assert_eq!(Request::route(8, 5, Change::Remove, &route), expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn golden_bytes_of_an_address_and_of_link_settings() {
        #[rustfmt::skip]
        let address = [
            40, 0, 0, 0,  20, 0,  0x05, 0x06,  1, 0, 0, 0,  0, 0, 0, 0,
            2, 30, 2, 0,  3, 0, 0, 0,
            8, 0, 2, 0,  10, 0, 0, 1,
            8, 0, 1, 0,  10, 0, 0, 1,
        ];
        assert_eq!(Request::address(1, 3, Change::Add, [10, 0, 0, 1].into(), 30), address);
        #[rustfmt::skip]
        let mtu = [
            40, 0, 0, 0,  16, 0,  0x05, 0x00,  2, 0, 0, 0,  0, 0, 0, 0,
            0, 0, 0, 0,  3, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,
            8, 0, 4, 0,  0x78, 0x05, 0, 0,
        ];
        assert_eq!(Request::link(2, 3, LinkSetting::Mtu(1400)), mtu);
        let mut queue = mtu;
        queue[34] = 13;
        assert_eq!(Request::link(2, 3, LinkSetting::Queue(1400)), queue);
        #[rustfmt::skip]
        let up = [
            32, 0, 0, 0,  16, 0,  0x05, 0x00,  2, 0, 0, 0,  0, 0, 0, 0,
            0, 0, 0, 0,  3, 0, 0, 0,  1, 0, 0, 0,  1, 0x10, 0, 0,
        ];
        assert_eq!(Request::link(2, 3, LinkSetting::Up), up);
        #[rustfmt::skip]
        let no_link_local = [
            48, 0, 0, 0,  16, 0,  0x05, 0x00,  2, 0, 0, 0,  0, 0, 0, 0,
            0, 0, 0, 0,  3, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,
            16, 0, 26, 0,  12, 0, 10, 0,  5, 0, 8, 0,  1, 0, 0, 0,
        ];
        assert_eq!(Request::link(2, 3, LinkSetting::NoLinkLocal), no_link_local);
    }

    /// EEXIST for request 9, with the kernel's reason behind a capped echo.
    #[cfg(target_endian = "little")]
    const REFUSED: [u8; 52] = [
        52, 0, 0, 0, 2, 0, 0, 3, 9, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
        0xef, 0xff, 0xff, 0xff, 44, 0, 0, 0, 24, 0, 5, 6, 9, 0, 0, 0, 0, 0, 0, 0, // nlmsgerr
        15, 0, 1, 0, b'F', b'i', b'l', b'e', b' ', b'e', b'x', b'i', b's', b't', 0, 0,
    ];

    #[test]
    #[cfg(target_endian = "little")]
    fn an_answer_names_request_errno_and_reason() {
        let text = Some("File exist".to_owned());
        assert_eq!(parse_answer(&REFUSED), Some(Answer { sequence: 9, errno: libc::EEXIST, text }));
        let after_another = [&[16, 0, 0, 0, 3, 0][..], &[0; 10], &REFUSED].concat();
        assert_eq!(parse_answer(&after_another), parse_answer(&REFUSED));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn an_answer_cut_anywhere_is_none_or_without_reason_and_never_a_panic() {
        // The last byte is padding.
        for cut in 0..REFUSED.len() - 1 {
            assert_eq!(parse_answer(&REFUSED[..cut]), None, "at {cut}");
            let mut shorter = REFUSED[..cut].to_vec();
            if cut >= HEADER {
                shorter[0] = cut as u8;
            }
            assert!(parse_answer(&shorter).is_none_or(|answer| answer.text.is_none()), "at {cut}");
        }
    }
}
