//! Congestion marks across a tunnel (RFC 6040), and DSCP (RFC 4301 section 5.1.2).
//!
//! On the way in, normal mode: the outer header has the inner one's whole traffic class, so there
//! is nothing to compute. On the way out the inner DSCP stays, and the two ECN fields are combined
//! here.

use super::DropReason;

/// An ECN field (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// 00: not capable of it.
    NotEct,
    /// 01
    Ect1,
    /// 10
    Ect0,
    /// 11: congestion experienced.
    Ce,
}

impl Ecn {
    /// The lower two bits of a TOS or traffic class byte.
    pub const fn of(traffic_class: u8) -> Self {
        match traffic_class & MASK {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0b00,
            Self::Ect1 => 0b01,
            Self::Ect0 => 0b10,
            Self::Ce => 0b11,
        }
    }
}

/// The ECN field that leaves a tunnel (RFC 6040 figure 4); `None`: the packet is to be dropped.
pub const fn decapsulated(inner: Ecn, outer: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        // A sender that does not understand the mark has to learn by the loss.
        (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::Ect0 | Ecn::Ect1, Ecn::Ce) => Some(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
        (inner, _) => Some(inner),
    }
}

/// Tells the IP packet `inner` what the outer `traffic_class` says. Its IPv4 checksum is mended
/// (RFC 1624). A packet too short for a header stays as it is.
///
/// # Errors
/// [`DropReason::Congestion`].
pub fn decapsulate(inner: &mut [u8], traffic_class: u8) -> Result<(), DropReason> {
    // Of most packets the outer field is the inner one's copy, and says nothing new.
    let Some(class) = traffic_class_of(inner) else { return Ok(()) };
    if (class ^ traffic_class) & MASK == 0 {
        return Ok(());
    }
    let ecn = decapsulated(Ecn::of(class), Ecn::of(traffic_class)).ok_or(DropReason::Congestion)?;
    let changed = class & !MASK | ecn.bits();
    if changed != class {
        set_traffic_class(inner, changed);
    }
    Ok(())
}

/// TOS or traffic class of an IP packet.
fn traffic_class_of(packet: &[u8]) -> Option<u8> {
    match packet {
        [first, tos, rest @ ..] if first >> 4 == 4 && rest.len() >= 18 => Some(*tos),
        [first, second, rest @ ..] if first >> 4 == 6 && rest.len() >= 38 => {
            Some(first << 4 | second >> 4)
        }
        _ => None,
    }
}

/// Only for packets of which [`traffic_class_of`] told something.
fn set_traffic_class(packet: &mut [u8], class: u8) {
    if packet[0] >> 4 == 6 {
        packet[0] = 0x60 | class >> 4;
        packet[1] = class << 4 | packet[1] & 0x0f;
        return;
    }
    // RFC 1624 equation 3: HC' = ~(~HC + ~m + m'), over the word that holds the TOS.
    let before = u16::from_be_bytes([packet[0], packet[1]]);
    packet[1] = class;
    let after = u16::from_be_bytes([packet[0], packet[1]]);
    let checksum = u16::from_be_bytes([packet[10], packet[11]]);
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

const MASK: u8 = 0b11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combines_as_the_table_of_rfc_6040_says() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        let outers = [NotEct, Ect0, Ect1, Ce];
        let rows = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in rows {
            assert_eq!(outers.map(|outer| decapsulated(inner, outer)), row, "inner {inner:?}");
        }
    }

    fn header_sum(header: &[u8]) -> u16 {
        let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[test]
    fn an_ipv4_header_keeps_its_dscp_and_a_right_checksum() {
        let mut packet = [0; 20];
        packet[..12].copy_from_slice(&[0x45, 0xb8 | 0b10, 0, 20, 1, 2, 0, 0, 64, 17, 0, 0]);
        packet[12..].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let checksum = !header_sum(&packet);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        decapsulate(&mut packet, 0b11).expect("capable of ECN");
        assert_eq!(packet[1], 0xb8 | 0b11);
        assert_eq!(header_sum(&packet), 0xffff);
    }

    #[test]
    fn an_ipv6_header_keeps_its_flow_label() {
        let mut packet = [0; 40];
        packet[..4].copy_from_slice(&[0x6b, 0xa5, 0x67, 0x89]);
        decapsulate(&mut packet, 0b11).expect("capable of ECN");
        assert_eq!(packet[..4], [0x6b, 0xb5, 0x67, 0x89]);
        packet[1] = 0x85;
        assert_eq!(decapsulate(&mut packet, 0b11), Err(DropReason::Congestion));
    }
}
