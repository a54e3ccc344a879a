//! Super-packets made into packets as they go over a wire: what a NIC does for TSO and USO.
//!
//! The kernel hands over one TCP segment or UDP datagram of up to 64 KiB with the size that its
//! pieces are to have. Each piece gets the headers with lengths, IPv4 identification (RFC 6864),
//! TCP sequence number and flags, and checksums of its own; the payloads, joined, are the whole
//! payload. [`Split`] remembers how far it has come, so that a full batch loses nothing.

use super::virtio::{Header, Partial, Segmentation, Version};
use crate::checksum::{Sum, nonzero};

/// A super-packet, checked, and how much of it has been cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    version: Version,
    transport: Transport,
    /// Offset of the transport header.
    start: usize,
    /// Offset of the payload.
    headers: usize,
    /// Payload bytes of a piece.
    size: usize,
    /// Length of the whole.
    total: usize,
    /// Offset of the next piece's payload.
    next: usize,
    /// How many pieces came before.
    index: u16,
}

/// What can be split and joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// The kernel's header and the packet do not fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Split {
    /// Checks `packet` against what its header says.
    pub(crate) fn new(packet: &[u8], header: Header) -> Result<Self, Malformed> {
        let (transport, size) = match header.segmentation {
            Segmentation::Tcp(size) => (Transport::Tcp, size),
            Segmentation::Udp(size) => (Transport::Udp, size),
            Segmentation::None | Segmentation::Unknown(_) => return Err(Malformed),
        };
        let version = version(packet).ok_or(Malformed)?;
        let start = usize::from(header.checksum.ok_or(Malformed)?.start);
        let least = match version {
            Version::V4 => 20,
            Version::V6 => 40,
        };
        let headers = start + transport.header_length(packet.get(start..).ok_or(Malformed)?)?;
        if start < least || size == 0 || headers >= packet.len() {
            return Err(Malformed);
        }
        let size = usize::from(size);
        let total = packet.len();
        let next = headers;
        Ok(Self { version, transport, start, headers, size, total, next, index: 0 })
    }

    /// The longest piece, headers included.
    pub(crate) fn longest(&self) -> usize {
        self.headers + self.size.min(self.total - self.headers)
    }

    /// All pieces are written.
    pub(crate) fn is_done(&self) -> bool {
        self.next >= self.total
    }

    /// Writes the next piece of `packet`, the one that [`Split::new`] was given, to the start of
    /// `area`, which has room for [`Split::longest`]: its length, or `None` when all are written.
    pub(crate) fn write_next(&mut self, packet: &[u8], area: &mut [u8]) -> Option<usize> {
        let payload = packet.get(self.next..self.total.min(self.next + self.size))?;
        if payload.is_empty() {
            return None;
        }
        let length = self.headers + payload.len();
        let piece = area.get_mut(..length)?;
        piece[..self.headers].copy_from_slice(&packet[..self.headers]);
        piece[self.headers..].copy_from_slice(payload);
        match self.version {
            Version::V4 => self.mend_ipv4(piece),
            // RFC 8200, 3: the length of what follows the fixed header.
            Version::V6 => put(piece, 4, (length - 40) as u16),
        }
        match self.transport {
            Transport::Tcp => self.mend_tcp(piece),
            Transport::Udp => put(piece, self.start + 4, (length - self.start) as u16),
        }
        self.mend_checksum(piece);
        self.next += payload.len();
        self.index += 1;
        Some(length)
    }

    /// Length, identification and header checksum of RFC 791, 3.1.
    fn mend_ipv4(&self, piece: &mut [u8]) {
        put(piece, 2, piece.len() as u16);
        let identification = u16::from_be_bytes([piece[4], piece[5]]).wrapping_add(self.index);
        put(piece, 4, identification);
        put(piece, 10, 0);
        // Up to the transport header: IPv4 has no other headers in between.
        let checksum = Sum::default().add(&piece[..self.start]).checksum();
        put(piece, 10, checksum);
    }

    /// Sequence number and flags (RFC 9293, 3.1): FIN and PSH belong to the last piece; CWR
    /// (RFC 3168, 6.1.2: sent once) to the first.
    fn mend_tcp(&self, piece: &mut [u8]) {
        let at = self.start + 4;
        let sequence = u32::from_be_bytes([piece[at], piece[at + 1], piece[at + 2], piece[at + 3]]);
        let sequence = sequence.wrapping_add((self.next - self.headers) as u32);
        piece[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
        let flags = &mut piece[self.start + 13];
        if self.next + self.size < self.total {
            *flags &= !(FIN | PSH);
        }
        if self.index > 0 {
            *flags &= !CWR;
        }
    }

    fn mend_checksum(&self, piece: &mut [u8]) {
        let (protocol, field) = (self.transport.protocol(), self.start + self.transport.checksum());
        put(piece, field, 0);
        let length = piece.len() - self.start;
        let checksum = Sum::default()
            .pseudo_header(addresses(piece, self.version), protocol, length)
            .add(&piece[self.start..])
            .checksum();
        let checksum = match self.transport {
            Transport::Tcp => checksum,
            Transport::Udp => nonzero(checksum),
        };
        put(piece, field, checksum);
    }
}

impl Transport {
    /// How long the header at the start of `header` is.
    pub(crate) fn header_length(self, header: &[u8]) -> Result<usize, Malformed> {
        let length = match self {
            Self::Tcp => usize::from(header.get(12).ok_or(Malformed)? >> 4) * 4,
            Self::Udp => 8,
        };
        let least = if self == Self::Tcp { 20 } else { 8 };
        (length >= least && length <= header.len()).then_some(length).ok_or(Malformed)
    }

    /// Its number in an IP header.
    pub(crate) fn protocol(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Where in the header the checksum is.
    pub(crate) fn checksum(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// Completes the checksum of a packet whose field holds the pseudo-header's sum.
pub(crate) fn complete_checksum(packet: &mut [u8], partial: Partial) -> Result<(), Malformed> {
    let start = usize::from(partial.start);
    let field = start + usize::from(partial.offset);
    if field + 2 > packet.len() {
        return Err(Malformed);
    }
    let checksum = Sum::default().add(&packet[start..]).checksum();
    let is_udp = usize::from(partial.offset) == Transport::Udp.checksum();
    put(packet, field, if is_udp { nonzero(checksum) } else { checksum });
    Ok(())
}

/// The IP version of a packet with a whole fixed header.
pub(crate) fn version(packet: &[u8]) -> Option<Version> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => Some(Version::V4),
        6 if packet.len() >= 40 => Some(Version::V6),
        _ => None,
    }
}

/// Source and destination, as they lie in the header.
pub(crate) fn addresses(packet: &[u8], version: Version) -> &[u8] {
    match version {
        Version::V4 => &packet[12..20],
        Version::V6 => &packet[8..40],
    }
}

/// TOS or traffic class; 0 for what is not IP.
pub(crate) fn traffic_class(packet: &[u8]) -> u8 {
    match version(packet) {
        Some(Version::V4) => packet[1],
        Some(Version::V6) => packet[0] << 4 | packet[1] >> 4,
        None => 0,
    }
}

fn put(packet: &mut [u8], at: usize, value: u16) {
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A whole packet without checksums, as it stands before it is split.
    fn whole(version: Version, transport: Transport, options: usize, payload: &[u8]) -> Vec<u8> {
        let mut header = match transport {
            Transport::Tcp => {
                let mut tcp = vec![0x12, 0x34, 0x01, 0xbb, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 9];
                tcp.extend([((20 + options) as u8 / 4) << 4, CWR | PSH | FIN | 0x10, 0x20, 0]);
                tcp.extend([0; 4]);
                tcp.extend(vec![1; options]);
                tcp
            }
            Transport::Udp => vec![0x12, 0x34, 0x01, 0xbb, 0, 0, 0, 0],
        };
        header.extend(payload);
        let length = header.len() as u16;
        let mut packet = match version {
            Version::V4 => {
                let mut ip = vec![0x45, 0xb8, 0, 0, 0xff, 0xff, 0, 0, 64];
                ip.extend([transport.protocol(), 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
                put(&mut ip, 2, 20 + length);
                ip
            }
            Version::V6 => {
                let mut ip = vec![0x6b, 0x80, 0, 1, 0, 0, transport.protocol(), 64];
                put(&mut ip, 4, length);
                ip.extend((0..32).map(|at| 0x20 + at));
                ip
            }
        };
        packet.extend(header);
        packet
    }

    fn header(version: Version, transport: Transport, size: u16) -> Header {
        let start = if version == Version::V4 { 20 } else { 40 };
        let checksum = Some(Partial { start, offset: transport.checksum() as u16 });
        let segmentation = match transport {
            Transport::Tcp => Segmentation::Tcp(size),
            Transport::Udp => Segmentation::Udp(size),
        };
        Header { checksum, segmentation, headers: 0 }
    }

    fn pieces(packet: &[u8], header: Header) -> Vec<Vec<u8>> {
        let mut split = Split::new(packet, header).unwrap();
        let mut area = vec![0xee; split.longest()];
        let mut pieces = Vec::new();
        while let Some(length) = split.write_next(packet, &mut area) {
            pieces.push(area[..length].to_vec());
        }
        pieces
    }

    /// All sums of a packet, judged by its own fields.
    fn verifies(packet: &[u8]) -> bool {
        let version = version(packet).unwrap();
        let (start, protocol, length) = match version {
            Version::V4 => (20, packet[9], u16::from_be_bytes([packet[2], packet[3]]) - 20),
            Version::V6 => (40, packet[6], u16::from_be_bytes([packet[4], packet[5]])),
        };
        let is_whole = packet.len() == start + usize::from(length);
        let pseudo =
            Sum::default().pseudo_header(addresses(packet, version), protocol, length.into());
        let transport = pseudo.add(&packet[start..]).verifies();
        let ip = version == Version::V6 || Sum::default().add(&packet[..20]).verifies();
        is_whole && transport && ip
    }

    /// Two pieces of "abcdefghij" by 6, worked out by hand: sequence fffffff0 and fffffff6,
    /// identification ffff and 0000, CWR first, PSH and FIN last.
    #[test]
    fn golden_pieces_of_a_tcp_segment() {
        let packet = whole(Version::V4, Transport::Tcp, 0, b"abcdefghij");
        let pieces = pieces(&packet, header(Version::V4, Transport::Tcp, 6));
        #[rustfmt::skip]
        let golden: [&[u8]; 2] = [
            &[
                0x45, 0xb8, 0, 46, 0xff, 0xff, 0, 0, 64, 6, 0xf6, 0x0e, 192, 0, 2, 1, 192, 0, 2, 2,
                0x12, 0x34, 0x01, 0xbb, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 9, 0x50, 0x90, 0x20, 0,
                0xcd, 0x34, 0, 0, b'a', b'b', b'c', b'd', b'e', b'f',
            ],
            &[
                0x45, 0xb8, 0, 44, 0, 0, 0, 0, 64, 6, 0xf6, 0x10, 192, 0, 2, 1, 192, 0, 2, 2,
                0x12, 0x34, 0x01, 0xbb, 0xff, 0xff, 0xff, 0xf6, 0, 0, 0, 9, 0x50, 0x19, 0x20, 0,
                0x27, 0x02, 0, 0, b'g', b'h', b'i', b'j',
            ],
        ];
        assert_eq!(pieces, golden);
    }

    #[test]
    fn golden_pieces_of_a_udp_datagram() {
        let packet = whole(Version::V6, Transport::Udp, 0, b"abcde");
        let pieces = pieces(&packet, header(Version::V6, Transport::Udp, 3));
        let head = &packet[..40];
        for (piece, (length, tail)) in pieces.iter().zip([
            (11, [0x12, 0x34, 0x01, 0xbb, 0, 11, 0, 0, b'a', b'b', b'c'].as_slice()),
            (10, &[0x12, 0x34, 0x01, 0xbb, 0, 10, 0, 0, b'd', b'e']),
        ]) {
            assert_eq!((&piece[..4], piece[4..6] == [0, length]), (&head[..4], true));
            assert_eq!((&piece[6..40], &piece[40..46]), (&head[6..40], &tail[..6]));
            assert_eq!(piece[48..], tail[8..]);
            assert!(verifies(piece));
        }
        assert_eq!(pieces.len(), 2);
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() {
        let mut udp = whole(Version::V6, Transport::Udp, 0, &[0, 0]);
        put(&mut udp, 44, 10);
        let pseudo = Sum::default().pseudo_header(&udp[8..40], 17, 10);
        // What makes the sum all ones, and so the checksum zero.
        let rest = pseudo.add(&udp[40..]).checksum();
        put(&mut udp, 48, rest);
        put(&mut udp, 46, pseudo.folded());
        complete_checksum(&mut udp, Partial { start: 40, offset: 6 }).unwrap();
        assert_eq!(udp[46..48], [0xff, 0xff]);
        assert!(verifies(&udp));
    }

    #[test]
    fn what_does_not_fit_its_header_is_refused() {
        let packet = whole(Version::V4, Transport::Tcp, 0, b"abcdefghij");
        let good = header(Version::V4, Transport::Tcp, 6);
        assert!(Split::new(&packet, good).is_ok());
        let start = |start| Some(Partial { start, offset: 16 });
        for (bad, packet) in [
            (Header { segmentation: Segmentation::Tcp(0), ..good }, &packet[..]),
            (Header { segmentation: Segmentation::None, ..good }, &packet),
            (Header { segmentation: Segmentation::Unknown(3), ..good }, &packet),
            (Header { checksum: None, ..good }, &packet),
            (Header { checksum: start(0), ..good }, &packet),
            (Header { checksum: start(49), ..good }, &packet),
            (Header { checksum: start(u16::MAX), ..good }, &packet),
            (good, &packet[..40]),
            (good, &[]),
            (good, &[0; 60]),
        ] {
            assert_eq!(Split::new(packet, bad), Err(Malformed), "{bad:?}");
        }
        let mut outside = packet.clone();
        assert!(complete_checksum(&mut outside, Partial { start: 40, offset: 9 }).is_err());
        assert!(complete_checksum(&mut outside, Partial { start: 60, offset: 6 }).is_err());
    }

    fn versions() -> impl Strategy<Value = Version> {
        prop_oneof![Just(Version::V4), Just(Version::V6)]
    }

    fn transports() -> impl Strategy<Value = Transport> {
        prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)]
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_whole_and_each_verifies(
            version in versions(),
            transport in transports(),
            options in (0_usize..=10).prop_map(|words| words * 4),
            payload in prop::collection::vec(any::<u8>(), 1..5000),
            size in 1_u16..2000,
        ) {
            let packet = whole(version, transport, options, &payload);
            let pieces = pieces(&packet, header(version, transport, size));
            let headers = packet.len() - payload.len();
            let joined: Vec<u8> =
                pieces.iter().flat_map(|piece| &piece[headers..]).copied().collect();
            prop_assert_eq!(joined, payload);
            let all_but_last = &pieces[..pieces.len() - 1];
            let size = usize::from(size);
            prop_assert!(all_but_last.iter().all(|piece| piece.len() == headers + size));
            prop_assert!(pieces.iter().all(|piece| verifies(piece)));
        }

        #[test]
        fn no_header_and_no_packet_make_it_panic(
            bytes in any::<[u8; super::super::virtio::LENGTH]>(),
            packet in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let header = Header::parse(bytes);
            if let Ok(mut split) = Split::new(&packet, header) {
                let mut area = vec![0; split.longest()];
                while split.write_next(&packet, &mut area).is_some() {}
            }
            if let Some(partial) = header.checksum {
                let _ = complete_checksum(&mut packet.clone(), partial);
            }
        }
    }
}
