//! What is inside, as the trailer says it (RFC 4303 section 2.6).

/// An IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHeader(pub u8);

impl NextHeader {
    /// An IPv4 packet: tunnel mode.
    pub const IPV4: Self = Self(4);
    /// An IPv6 packet: tunnel mode.
    pub const IPV6: Self = Self(41);
    /// A dummy packet, to be discarded without a word.
    pub const NONE: Self = Self(59);

    /// For an IP packet that begins with `first`; `None` when it is of no version that is known.
    pub const fn of_packet(first: u8) -> Option<Self> {
        match first >> 4 {
            4 => Some(Self::IPV4),
            6 => Some(Self::IPV6),
            _ => None,
        }
    }
}
