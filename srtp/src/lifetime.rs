//! How many packets a key has protected, and how many it may (RFC 3711 section 9.2).
//!
//! The count is per key, across all its SSRCs, SRTP and SRTCP apart. When either kind of packet
//! reaches its limit the key is finished for both: "as soon as either the maximum number of SRTP
//! or SRTCP packets has been secured with the same key" a new one is needed. The soft limit, at
//! seven eighths, says so early, as a value: at 50 packets a second even a lifetime of 2^20
//! leaves 40 minutes.

use crate::{PacketIndex, Refusal, Unsuitable};

/// How many packets a key may protect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    rtp: u64,
    rtcp: u64,
}

impl Lifetimes {
    /// The most that RFC 3711 allows: 2^48 SRTP and 2^31 SRTCP packets.
    pub const MAX: Self = Self { rtp: PacketIndex::COUNT, rtcp: 1 << 31 };

    /// 1 to 2^48 SRTP packets and 1 to 2^31 SRTCP packets.
    pub fn new(rtp: u64, rtcp: u64) -> Result<Self, Unsuitable> {
        let lifetimes = Self { rtp, rtcp };
        let within = (1..=Self::MAX.rtp).contains(&rtp) && (1..=Self::MAX.rtcp).contains(&rtcp);
        if within { Ok(lifetimes) } else { Err(Unsuitable::lifetimes(lifetimes)) }
    }

    /// The one number that SDES carries (RFC 4568 section 6.1): "the maximum number of SRTP or
    /// SRTCP packets encrypted using this master key", 1 to 2^48. It binds both kinds, SRTCP at
    /// most up to its own ceiling of 2^31.
    pub fn from_sdes(packets: u64) -> Result<Self, Unsuitable> {
        Self::new(packets, packets.min(Self::MAX.rtcp))
    }

    /// SRTP packets.
    pub fn rtp(self) -> u64 {
        self.rtp
    }

    /// SRTCP packets.
    pub fn rtcp(self) -> u64 {
        self.rtcp
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self::MAX
    }
}

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
pub(crate) struct Usage {
    rtp: Count,
    rtcp: Count,
}

#[derive(Debug)]
struct Count {
    used: u64,
    limit: u64,
}

impl Usage {
    pub(crate) fn new(lifetimes: Lifetimes) -> Self {
        Self {
            rtp: Count { used: 0, limit: lifetimes.rtp },
            rtcp: Count { used: 0, limit: lifetimes.rtcp },
        }
    }

    /// Whether the key may protect one more packet.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.is_exhausted() {
            return Err(Refusal::KeyExhausted);
        }
        Ok(())
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.rtp.is_exhausted() || self.rtcp.is_exhausted()
    }

    /// Counts an SRTP packet. A stream may also run out of indexes before the key runs out of
    /// packets (sequence numbers can jump), so the index counts towards the soft limit too.
    pub(crate) fn count_rtp(&mut self, index: PacketIndex) -> KeyState {
        self.rtp.used += 1;
        if index.value() >= soft(PacketIndex::COUNT) { KeyState::SoftLimit } else { self.state() }
    }

    /// Counts an SRTCP packet. Its index goes on over a change of key, so it may run out first.
    pub(crate) fn count_rtcp(&mut self, index: u32) -> KeyState {
        self.rtcp.used += 1;
        if u64::from(index) >= soft(Lifetimes::MAX.rtcp) {
            KeyState::SoftLimit
        } else {
            self.state()
        }
    }

    /// Counts what was protected elsewhere. Never goes back.
    pub(crate) fn resume(&mut self, rtp: u64, rtcp: u64) {
        self.rtp.used = self.rtp.used.max(rtp);
        self.rtcp.used = self.rtcp.used.max(rtcp);
    }

    pub(crate) fn rtp_packets(&self) -> u64 {
        self.rtp.used
    }

    pub(crate) fn rtcp_packets(&self) -> u64 {
        self.rtcp.used
    }

    pub(crate) fn state(&self) -> KeyState {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn used(rtp: u64, rtcp: u64) -> Usage {
        let mut usage = Usage::new(Lifetimes::MAX);
        usage.rtp.used = rtp;
        usage.rtcp.used = rtcp;
        usage
    }

    #[test]
    fn either_kind_running_out_ends_the_key() {
        assert_eq!(used((1 << 48) - 1, (1 << 31) - 1).check(), Ok(()));
        assert_eq!(used(1 << 48, 0).check(), Err(Refusal::KeyExhausted));
        assert_eq!(used(0, 1 << 31).check(), Err(Refusal::KeyExhausted));
    }

    #[test]
    fn a_lifetime_of_zero_or_beyond_the_rfc_is_refused_with_the_numbers() {
        assert_eq!(Lifetimes::new(1 << 48, 1 << 31), Ok(Lifetimes::MAX));
        for (rtp, rtcp) in [(0, 1), (1, 0), ((1 << 48) + 1, 1), (1, (1 << 31) + 1)] {
            let refused = Lifetimes::new(rtp, rtcp);
            assert_eq!(refused, Err(Unsuitable::Lifetime { rtp, rtcp }));
        }
        let message = Unsuitable::Lifetime { rtp: 0, rtcp: 1 }.to_string();
        assert_eq!(
            message,
            "a lifetime is 1 to 2^48 SRTP and 1 to 2^31 SRTCP packets, not 0 and 1"
        );
    }

    #[test]
    fn the_number_of_sdes_binds_both_kinds() {
        let small = Lifetimes::from_sdes(1 << 20).expect("in range");
        assert_eq!((small.rtp(), small.rtcp()), (1 << 20, 1 << 20));
        let large = Lifetimes::from_sdes(1 << 48).expect("in range");
        assert_eq!((large.rtp(), large.rtcp()), (1 << 48, 1 << 31));
        assert!(Lifetimes::from_sdes(0).is_err());
    }

    #[test]
    fn the_soft_limit_is_reached_at_seven_eighths() {
        let first = PacketIndex::new(0, 0);
        let seven_eighths = (1 << 48) / 8 * 7;
        assert_eq!(used(seven_eighths - 2, 0).count_rtp(first), KeyState::Fresh);
        assert_eq!(used(seven_eighths - 1, 0).count_rtp(first), KeyState::SoftLimit);
        assert_eq!(used(0, (1 << 31) / 8 * 7 - 1).count_rtcp(0), KeyState::SoftLimit);
        let far = PacketIndex::new(u32::MAX / 8 * 7 + 7, 0);
        assert_eq!(used(0, 0).count_rtp(far), KeyState::SoftLimit);
        assert_eq!(used(0, 0).count_rtcp((1 << 31) / 8 * 7), KeyState::SoftLimit);
    }
}
