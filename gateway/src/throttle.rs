//! Log lines that strangers can cause: one each interval, with the count of those left out.

use std::time::{Duration, Instant};

/// Admits one occasion per interval.
#[derive(Debug)]
pub(crate) struct Throttle {
    interval: Duration,
    next: Option<Instant>,
    refused: u64,
}

impl Throttle {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, next: None, refused: 0 }
    }

    /// `Some` when the line may be written: how many were left out since the last one.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.refused += 1;
            return None;
        }
        self.next = Some(now + self.interval);
        Some(std::mem::take(&mut self.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_one_an_interval_and_counts_the_rest() {
        let start = Instant::now();
        let mut throttle = Throttle::new(Duration::from_secs(10));
        assert_eq!(throttle.admit(start), Some(0));
        for _ in 0..3 {
            assert_eq!(throttle.admit(start + Duration::from_secs(9)), None);
        }
        assert_eq!(throttle.admit(start + Duration::from_secs(10)), Some(3));
    }
}
