//! `struct virtio_net_hdr`: what stands before each packet of a TUN device with IFF_VNET_HDR.
//!
//! It says which checksum is still to be computed and into what a super-packet is to be split.
//! Fields are in the machine's byte order (the device's default, as set by `TUNSETVNETHDRSZ`'s
//! legacy layout of 10 bytes); the transport header's length is never taken from it, because for
//! forwarded packets the kernel writes that of the first fragment of its buffer.

/// Bytes of the header, without the `num_buffers` that only drivers of rings need.
pub(crate) const LENGTH: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds the pseudo-header's sum only.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_ECN`, beside a TCP kind: the packet has CWR set.
const ECN: u8 = 0x80;

/// The header, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Where the transport header starts and where in it the checksum is, when it is to be
    /// completed.
    pub(crate) checksum: Option<Partial>,
    /// What the packet is to be split into.
    pub(crate) segmentation: Segmentation,
    /// Length of all headers, for the kernel's use.
    pub(crate) headers: u16,
}

/// A checksum to be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partial {
    /// Offset of the transport header.
    pub(crate) start: u16,
    /// Offset of the checksum from there.
    pub(crate) offset: u16,
}

/// Whether one packet or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Segmentation {
    /// One packet.
    #[default]
    None,
    /// TCP over IPv4 or IPv6, in segments of so many bytes of payload.
    Tcp(u16),
    /// UDP, in datagrams of so many bytes of payload.
    Udp(u16),
    /// Something that was never asked for.
    Unknown(u8),
}

/// The IP version of a super-packet, which its kind names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Header {
    /// Reads what the kernel wrote.
    pub(crate) fn parse(bytes: [u8; LENGTH]) -> Self {
        let field = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let partial = Partial { start: field(6), offset: field(8) };
        let size = field(4);
        let segmentation = match bytes[1] & !ECN {
            0 => Segmentation::None,
            kind::TCPV4 | kind::TCPV6 => Segmentation::Tcp(size),
            kind::UDP_L4 => Segmentation::Udp(size),
            other => Segmentation::Unknown(other),
        };
        let checksum = (bytes[0] & NEEDS_CHECKSUM != 0).then_some(partial);
        Self { checksum, segmentation, headers: field(2) }
    }

    /// Lays it out for the kernel; `version` chooses between the two kinds of TCP.
    pub(crate) fn encode(self, version: Version) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let mut field = |at: usize, value: u16| {
            bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        };
        let (gso, size) = match (self.segmentation, version) {
            (Segmentation::None, _) => (0, 0),
            (Segmentation::Tcp(size), Version::V4) => (kind::TCPV4, size),
            (Segmentation::Tcp(size), Version::V6) => (kind::TCPV6, size),
            (Segmentation::Udp(size), _) => (kind::UDP_L4, size),
            (Segmentation::Unknown(other), _) => (other, 0),
        };
        field(2, self.headers);
        field(4, size);
        if let Some(Partial { start, offset }) = self.checksum {
            field(6, start);
            field(8, offset);
            bytes[0] = NEEDS_CHECKSUM;
        }
        bytes[1] = gso;
        bytes
    }
}

/// `VIRTIO_NET_HDR_GSO_*` of linux/virtio_net.h.
mod kind {
    pub(super) const TCPV4: u8 = 1;
    pub(super) const TCPV6: u8 = 4;
    /// Since Linux 6.2.
    pub(super) const UDP_L4: u8 = 5;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_kernel_layout() {
        let checksum = Some(Partial { start: 40, offset: 16 });
        for segmentation in [Segmentation::None, Segmentation::Tcp(1448), Segmentation::Udp(160)] {
            for version in [Version::V4, Version::V6] {
                let header = Header { checksum, segmentation, headers: 60 };
                assert_eq!(Header::parse(header.encode(version)), header);
            }
        }
        assert_eq!(Header::parse([0; LENGTH]), Header::default());
        assert_eq!(Header::default().encode(Version::V4), [0; LENGTH]);
    }

    #[test]
    fn what_a_plain_write_says_is_nothing_at_all() {
        // No DATA_VALID: the kernel is to check what came over the network.
        assert_eq!(Header::default().encode(Version::V6), [0; LENGTH]);
    }

    /// As it is laid out before a TCP segment of 2 × 1448 bytes over IPv4 with CWR set.
    #[test]
    #[cfg(target_endian = "little")]
    fn golden_bytes_of_a_super_packet() {
        let bytes = [0x01, 0x81, 0x34, 0x00, 0xa8, 0x05, 0x14, 0x00, 0x10, 0x00];
        let header = Header::parse(bytes);
        assert_eq!(header.segmentation, Segmentation::Tcp(1448));
        assert_eq!(header.checksum, Some(Partial { start: 20, offset: 16 }));
        assert_eq!(header.headers, 52);
        assert_eq!(
            Header::parse([0, 3, 0, 0, 0, 0, 0, 0, 0, 0]).segmentation,
            Segmentation::Unknown(3)
        );
    }
}
