//! A token bucket that is one instant: the generic cell rate algorithm. What it lets in is paid
//! for afterwards, an interval each; the debt is bounded, and that is the burst.

use std::time::{Duration, Instant};

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Between two, in the long run.
    pub(super) interval: Duration,
    /// How many at once after a silence; at least one.
    pub(super) at_once: u32,
}

/// What is left of a [`Rate`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// When all that was let in will have been paid for.
    paid: Option<Instant>,
}

impl Bucket {
    /// Whether one more may come in now.
    pub(super) fn admit(&mut self, rate: Rate, now: Instant) -> bool {
        let paid = self.paid.map_or(now, |paid| paid.max(now));
        if paid.duration_since(now) > rate.interval * (rate.at_once - 1) {
            return false;
        }
        self.paid = Some(paid + rate.interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_comes_at_once_and_then_one_in_each_interval() {
        let start = Instant::now();
        let rate = Rate { interval: Duration::from_secs(10), at_once: 4 };
        let mut bucket = Bucket::default();
        let mut admitted = |seconds| {
            let now = start + Duration::from_secs(seconds);
            (0..20).filter(|_| bucket.admit(rate, now)).count()
        };
        assert_eq!([0, 9, 10, 19, 40, 1_000].map(&mut admitted), [4, 0, 1, 0, 3, 4]);
    }
}
