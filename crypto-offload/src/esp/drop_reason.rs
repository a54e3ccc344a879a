//! Why a packet goes no further, one counter each.

/// Why [`Seal`](super::Seal), [`Open`](super::Open) or the checks of an inner packet refused one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The SA has used up its hard limit of packets or bytes.
    HardLimit,
    /// The next sequence number would be a used one (RFC 4303 section 3.3.3).
    SequenceExhausted,
    /// The sequence number is above what its owner has reserved so far.
    Unreserved,
    /// The slot has not the room that ESP takes before and after the payload.
    NoRoom,
    /// Shorter than the shortest ESP packet.
    TooShort,
    /// The sequence number was accepted before.
    Replayed,
    /// The sequence number is older than the replay window.
    Late,
    /// The integrity check failed.
    Forged,
    /// Authentic, but the padding is longer than the packet or not the one of RFC 4303 section
    /// 2.4.
    Padding,
    /// Authentic, and traffic flow confidentiality's filler (RFC 4303 section 2.6).
    Dummy,
    /// Authentic, but no IP packet by its next header, or by its version field.
    NotIp,
    /// The inner packet's own length is more than there is, or less than its header.
    InnerLength,
    /// The outer header reports congestion to an inner packet that cannot (RFC 6040 section 4.2).
    Congestion,
}

impl DropReason {
    /// Each of them, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::HardLimit,
        Self::SequenceExhausted,
        Self::Unreserved,
        Self::NoRoom,
        Self::TooShort,
        Self::Replayed,
        Self::Late,
        Self::Forged,
        Self::Padding,
        Self::Dummy,
        Self::NotIp,
        Self::InnerLength,
        Self::Congestion,
    ];

    /// The name in statistics and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HardLimit => "hard_limit",
            Self::SequenceExhausted => "sequence_exhausted",
            Self::Unreserved => "unreserved",
            Self::NoRoom => "no_room",
            Self::TooShort => "too_short",
            Self::Replayed => "replayed",
            Self::Late => "late",
            Self::Forged => "forged",
            Self::Padding => "padding",
            Self::Dummy => "dummy",
            Self::NotIp => "not_ip",
            Self::InnerLength => "inner_length",
            Self::Congestion => "congestion",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_its_place_in_the_list() {
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{}", reason.name());
        }
    }
}
