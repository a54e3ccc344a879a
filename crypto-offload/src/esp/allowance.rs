//! How much one SA may still be used: packets and bytes, soft and hard (RFC 4301 section
//! 4.4.2.1).
//!
//! Time is not here: it needs a clock, and does not need to be asked at each packet.

use crate::{Lifetimes, Limits};

/// What an SA has used and may use. Bytes are those of payloads.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    packets: u64,
    bytes: u64,
    soft: Bound,
    hard: Bound,
}

/// How far an SA has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Below every limit.
    Free,
    /// A soft limit is reached: time for a successor.
    Soft,
    /// A hard limit is reached: no packet more.
    Hard,
}

impl Allowance {
    /// For an SA of which `packets` have been used before, whose bytes nobody knows any more.
    pub(super) fn new(lifetimes: &Lifetimes, packets: u64) -> Self {
        let (soft, hard) = (Bound::new(&lifetimes.soft), Bound::new(&lifetimes.hard));
        Self { packets, bytes: 0, soft, hard }
    }

    /// Packets used.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes used.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Compares with the limits.
    pub fn reach(&self) -> Reach {
        if self.is_spent() {
            Reach::Hard
        } else if self.soft.is_reached(self.packets, self.bytes) {
            Reach::Soft
        } else {
            Reach::Free
        }
    }

    /// A hard limit is reached.
    pub(super) fn is_spent(&self) -> bool {
        self.hard.is_reached(self.packets, self.bytes)
    }

    /// Counts a packet with a payload of `bytes`.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

/// Limits with "none" as the last number that a sequence number can be, which ends the SA anyway:
/// two comparisons, no branches on options.
#[derive(Clone, Copy, Debug)]
struct Bound {
    packets: u64,
    bytes: u64,
}

impl Bound {
    fn new(limits: &Limits) -> Self {
        Self {
            packets: limits.packets.unwrap_or(u64::MAX),
            bytes: limits.bytes.unwrap_or(u64::MAX),
        }
    }

    fn is_reached(&self, packets: u64, bytes: u64) -> bool {
        packets >= self.packets || bytes >= self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_comes_before_hard_and_each_at_its_number() {
        let lifetimes = Lifetimes {
            soft: Limits { packets: Some(2), bytes: Some(100), seconds: None },
            hard: Limits { packets: Some(3), bytes: Some(200), seconds: None },
        };
        let mut by_packets = Allowance::new(&lifetimes, 0);
        let reaches: Vec<_> = (0..4)
            .map(|_| {
                let reach = by_packets.reach();
                by_packets.spend(1);
                reach
            })
            .collect();
        assert_eq!(reaches, [Reach::Free, Reach::Free, Reach::Soft, Reach::Hard]);
        let mut by_bytes = Allowance::new(&lifetimes, 0);
        by_bytes.spend(150);
        assert_eq!(by_bytes.reach(), Reach::Soft);
        by_bytes.spend(50);
        assert_eq!(by_bytes.reach(), Reach::Hard);
    }

    #[test]
    fn what_was_used_before_a_restart_counts() {
        let hard = Limits { packets: Some(10), ..Limits::default() };
        let lifetimes = Lifetimes { soft: Limits::default(), hard };
        assert_eq!(Allowance::new(&lifetimes, 9).reach(), Reach::Free);
        assert_eq!(Allowance::new(&lifetimes, 10).reach(), Reach::Hard);
    }
}
