//! Why a packet went no further. One counter each; no strings on the path.

/// Every way a packet's journey through the relay can end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Neither RTP, RTCP, STUN nor DTLS by its first byte (RFC 7983).
    NotMedia,
    /// Shorter than its header says, or with lengths that do not add up.
    Malformed,
    /// Longer than the buffer.
    Oversize,
    /// STUN or DTLS on a stream that speaks neither.
    UnexpectedProtocol,
    /// From an address that is not the peer's.
    WrongSource,
    /// SRTP or SRTCP tag does not verify.
    AuthenticationFailed,
    /// The index was seen before.
    Replayed,
    /// The index is older than the replay window.
    TooOld,
    /// The key has reached its hard limit.
    KeyExhausted,
    /// Protecting would use an index twice.
    IndexReused,
    /// More SSRCs than the stream's table holds.
    TooManySources,
    /// More packets a second than any media has: a loop through our own ports, or a flood.
    Flood,
    /// The stream has no peer yet (no answer).
    NoPeer,
    /// The peer's address is not known yet.
    NoDestination,
    /// SRTP is expected but no key is set, or the reverse.
    NoKey,
    /// Signalling says this direction is off (inactive, blocked).
    DirectionOff,
    /// DTLS from where neither ICE nor signalling says the party is.
    AgentSource,
    /// More STUN or DTLS than an agent needs.
    AgentRate,
    /// The agents' thread is behind: its queue is full.
    AgentQueue,
    /// Of a bundle, and nothing says of which section (RFC 9143 section 9.2).
    NoRoute,
    /// Its SSRC is that of another stream in the bundle that it goes into (RFC 3550 section 8.2).
    SsrcCollision,
    /// The kernel refused the send.
    SendFailed,
    /// The kernel dropped it before we read it (SO_RXQ_OVFL).
    KernelReceiveQueue,
}

impl DropReason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Every reason, in declaration order (`reason as usize` indexes it).
    pub const ALL: [Self; 23] = [
        Self::NotMedia,
        Self::Malformed,
        Self::Oversize,
        Self::UnexpectedProtocol,
        Self::WrongSource,
        Self::AuthenticationFailed,
        Self::Replayed,
        Self::TooOld,
        Self::KeyExhausted,
        Self::IndexReused,
        Self::TooManySources,
        Self::Flood,
        Self::NoPeer,
        Self::NoDestination,
        Self::NoKey,
        Self::DirectionOff,
        Self::AgentSource,
        Self::AgentRate,
        Self::AgentQueue,
        Self::NoRoute,
        Self::SsrcCollision,
        Self::SendFailed,
        Self::KernelReceiveQueue,
    ];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotMedia => "not_media",
            Self::Malformed => "malformed",
            Self::Oversize => "oversize",
            Self::UnexpectedProtocol => "unexpected_protocol",
            Self::WrongSource => "wrong_source",
            Self::AuthenticationFailed => "authentication_failed",
            Self::Replayed => "replayed",
            Self::TooOld => "too_old",
            Self::KeyExhausted => "key_exhausted",
            Self::IndexReused => "index_reused",
            Self::TooManySources => "too_many_sources",
            Self::Flood => "flood",
            Self::NoPeer => "no_peer",
            Self::NoDestination => "no_destination",
            Self::NoKey => "no_key",
            Self::DirectionOff => "direction_off",
            Self::AgentSource => "agent_source",
            Self::AgentRate => "agent_rate",
            Self::AgentQueue => "agent_queue",
            Self::NoRoute => "no_route",
            Self::SsrcCollision => "ssrc_collision",
            Self::SendFailed => "send_failed",
            Self::KernelReceiveQueue => "kernel_receive_queue",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_indexes_its_own_place() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
