//! How many packets a key has protected, and how many it may (RFC 3711 section 9.2).
//!
//! The count is per key, across all its SSRCs. When either kind of packet reaches its limit the
//! key is finished for both: "as soon as either the maximum number of SRTP or SRTCP packets has
//! been secured with the same key" a new one is needed. The soft limit, at seven eighths, says
//! so early, as a value: at 50 packets a second even a lifetime of 2^20 leaves 40 minutes.

use crate::{PacketIndex, Policy, Refusal};

/// Whether a key should be replaced soon. Comes with every packet opened or protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Far from its limit.
    Fresh,
    /// Past seven eighths of its limit: ask for a new key now.
    SoftLimit,
}

/// The packets one key has protected, of both kinds.
#[derive(Debug)]
pub(crate) struct Lifetime {
    rtp: Count,
    rtcp: Count,
}

#[derive(Debug)]
struct Count {
    used: u64,
    limit: u64,
}

impl Lifetime {
    pub(crate) fn new(policy: &Policy) -> Self {
        let limit = |policy: Option<u64>, most: u64| policy.map_or(most, |limit| limit.min(most));
        Self {
            rtp: Count { used: 0, limit: limit(policy.rtp_lifetime, RTP_LIMIT) },
            rtcp: Count { used: 0, limit: limit(policy.rtcp_lifetime, RTCP_LIMIT) },
        }
    }

    /// Whether the key may protect one more packet.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.rtp.is_exhausted() || self.rtcp.is_exhausted() {
            return Err(Refusal::KeyExhausted);
        }
        Ok(())
    }

    /// Counts an SRTP packet. A stream may also run out of indexes before the key runs out of
    /// packets (sequence numbers can jump), so the index counts towards the soft limit too.
    pub(crate) fn count_rtp(&mut self, index: PacketIndex) -> KeyState {
        self.rtp.used += 1;
        if index.value() >= soft(PacketIndex::COUNT) { KeyState::SoftLimit } else { self.state() }
    }

    /// Counts an SRTCP packet.
    pub(crate) fn count_rtcp(&mut self) -> KeyState {
        self.rtcp.used += 1;
        self.state()
    }

    /// The next SRTCP index to send: how many have been sent (RFC 3711 section 3.4). It is one
    /// counter for all SSRCs, so that the limit of indexes and that of packets are the same.
    pub(crate) fn next_rtcp_index(&self) -> u32 {
        self.rtcp.used as u32
    }

    fn state(&self) -> KeyState {
        if self.rtp.is_soft() || self.rtcp.is_soft() {
            KeyState::SoftLimit
        } else {
            KeyState::Fresh
        }
    }
}

impl Count {
    fn is_exhausted(&self) -> bool {
        self.used >= self.limit
    }

    fn is_soft(&self) -> bool {
        self.used >= soft(self.limit)
    }
}

const fn soft(limit: u64) -> u64 {
    limit - limit / 8
}

/// SRTP packets that one key may protect (RFC 3711 section 9.2).
const RTP_LIMIT: u64 = PacketIndex::COUNT;
/// SRTCP packets that one key may protect: the SRTCP index has 31 bits.
const RTCP_LIMIT: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    fn used(rtp: u64, rtcp: u64) -> Lifetime {
        let mut lifetime = Lifetime::new(&Policy::default());
        lifetime.rtp.used = rtp;
        lifetime.rtcp.used = rtcp;
        lifetime
    }

    #[test]
    fn either_kind_running_out_ends_the_key() {
        assert_eq!(used((1 << 48) - 1, (1 << 31) - 1).check(), Ok(()));
        assert_eq!(used(1 << 48, 0).check(), Err(Refusal::KeyExhausted));
        assert_eq!(used(0, 1 << 31).check(), Err(Refusal::KeyExhausted));
    }

    #[test]
    fn a_lifetime_can_only_shorten_the_limit() {
        let policy =
            Policy { rtp_lifetime: Some(u64::MAX), rtcp_lifetime: Some(3), ..Policy::default() };
        let lifetime = Lifetime::new(&policy);
        assert_eq!((lifetime.rtp.limit, lifetime.rtcp.limit), (1 << 48, 3));
    }

    #[test]
    fn the_soft_limit_is_reached_at_seven_eighths() {
        let first = PacketIndex::new(0, 0);
        let seven_eighths = (1 << 48) / 8 * 7;
        assert_eq!(used(seven_eighths - 2, 0).count_rtp(first), KeyState::Fresh);
        assert_eq!(used(seven_eighths - 1, 0).count_rtp(first), KeyState::SoftLimit);
        assert_eq!(used(0, (1 << 31) / 8 * 7 - 1).count_rtcp(), KeyState::SoftLimit);
        let far = PacketIndex::new(u32::MAX / 8 * 7 + 7, 0);
        assert_eq!(used(0, 0).count_rtp(far), KeyState::SoftLimit);
    }
}
