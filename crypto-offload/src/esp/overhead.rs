//! How many bytes a tunnel adds, and what is left of a path's MTU for the packets inside.

use super::{ALIGNMENT, HEADROOM, TRAILER_LEN};
use crate::{Aead, UdpEncapsulation};

/// The outer IP header, without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// 20 bytes.
    Ipv4,
    /// 40 bytes.
    Ipv6,
}

impl Outer {
    const fn len(self) -> usize {
        match self {
            Self::Ipv4 => 20,
            Self::Ipv6 => 40,
        }
    }
}

/// Bytes of the outer packet, its IP header included, around an inner packet of `inner` bytes.
pub const fn encapsulated_len(
    inner: usize,
    outer: Outer,
    encapsulation: Option<UdpEncapsulation>,
) -> usize {
    around(outer, encapsulation) + (inner + TRAILER_LEN).next_multiple_of(ALIGNMENT)
}

/// Bytes of the longest inner packet whose outer packet fits `path_mtu`; 0 when none does. Every
/// [`Aead`] has an IV and an ICV of the same length.
pub const fn inner_mtu(
    path_mtu: usize,
    outer: Outer,
    encapsulation: Option<UdpEncapsulation>,
) -> usize {
    let room = path_mtu.saturating_sub(around(outer, encapsulation));
    (room - room % ALIGNMENT).saturating_sub(TRAILER_LEN)
}

/// All but the ciphertext.
const fn around(outer: Outer, encapsulation: Option<UdpEncapsulation>) -> usize {
    const UDP_HEADER_LEN: usize = 8;
    let udp = if encapsulation.is_some() { UDP_HEADER_LEN } else { 0 };
    outer.len() + udp + HEADROOM + Aead::ICV_LEN
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: Option<UdpEncapsulation> =
        Some(UdpEncapsulation { source_port: 4500, destination_port: 4500 });

    #[test]
    fn ethernets_mtu_leaves_what_kernels_leave() {
        // Linux, for rfc4106 with a 16-byte ICV over 1,500 bytes: xfrm_state_mtu() says 1446.
        assert_eq!(inner_mtu(1500, Outer::Ipv4, None), 1446);
        assert_eq!(inner_mtu(1500, Outer::Ipv4, UDP), 1438);
        assert_eq!(inner_mtu(1500, Outer::Ipv6, None), 1426);
        assert_eq!(inner_mtu(1500, Outer::Ipv6, UDP), 1418);
        assert_eq!(inner_mtu(60, Outer::Ipv6, UDP), 0);
    }

    #[test]
    fn the_longest_packet_fits_and_one_byte_more_does_not() {
        for outer in [Outer::Ipv4, Outer::Ipv6] {
            for encapsulation in [None, UDP] {
                for mtu in 100..2_000 {
                    let inner = inner_mtu(mtu, outer, encapsulation);
                    assert!(encapsulated_len(inner, outer, encapsulation) <= mtu);
                    assert!(encapsulated_len(inner + 1, outer, encapsulation) > mtu);
                }
            }
        }
    }
}
