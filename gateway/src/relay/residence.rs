//! Residence time: how long a packet was ours, from the kernel's receive timestamp to the
//! return of the batch's sends, both on CLOCK_REALTIME because the kernel stamps with that.
//!
//! A worker keeps an HDR histogram; a stream, of which there are thousands, keeps [`Buckets`].
//! A stepped clock makes nonsense of the difference: such packets are counted apart.

use hdrhistogram::Histogram;

use super::command::Residence;

/// Longest residence believed, in nanoseconds; beyond it the clock was stepped.
pub(super) const LONGEST_NS: u64 = 10_000_000_000;

/// The time between two readings of CLOCK_REALTIME, or `None` when a step lies between.
pub(super) fn between(received_ns: u64, sent_ns: u64) -> Option<u64> {
    sent_ns.checked_sub(received_ns).filter(|&elapsed| elapsed <= LONGEST_NS)
}

/// An empty worker histogram: 1 ns to 10 s, three significant digits, fixed size.
pub(super) fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "constant bounds that the constructor accepts")]
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("1 <= low, 2 * low <= high, digits <= 5")
}

/// Residence times of one stream in buckets of two per octave, from 1 µs to about 8 s.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    counts: [u32; Self::COUNT],
    max_ns: u64,
}

impl Buckets {
    /// Two per octave over 23 octaves, and one for everything below the first.
    const COUNT: usize = 47;
    /// The first octave begins at 2^10 ns: the kernel's own path takes longer.
    const FIRST_OCTAVE: u32 = 10;

    /// No packets yet.
    pub(super) const fn new() -> Self {
        Self { counts: [0; Self::COUNT], max_ns: 0 }
    }

    /// Counts one packet.
    pub(super) fn record(&mut self, elapsed_ns: u64) {
        let count = &mut self.counts[Self::bucket(elapsed_ns)];
        *count = count.saturating_add(1);
        self.max_ns = self.max_ns.max(elapsed_ns);
    }

    /// Percentiles as the upper edge of their bucket, never above the maximum.
    pub(super) fn report(&self) -> Residence {
        let count: u64 = self.counts.iter().copied().map(u64::from).sum();
        Residence {
            count,
            p50_ns: self.percentile(count, 500),
            p99_ns: self.percentile(count, 990),
            p999_ns: self.percentile(count, 999),
            max_ns: self.max_ns,
        }
    }

    fn percentile(&self, count: u64, per_mille: u64) -> u64 {
        let wanted = (count * per_mille).div_ceil(1000).max(1);
        let mut below = 0;
        for (bucket, &here) in self.counts.iter().enumerate() {
            below += u64::from(here);
            if below >= wanted {
                return Self::upper_edge(bucket).min(self.max_ns);
            }
        }
        self.max_ns
    }

    fn bucket(elapsed_ns: u64) -> usize {
        let Some(log) = elapsed_ns.checked_ilog2().filter(|&log| log >= Self::FIRST_OCTAVE) else {
            return 0;
        };
        let half = (elapsed_ns >> (log - 1)) & 1;
        let bucket = 1 + 2 * (log - Self::FIRST_OCTAVE) as usize + half as usize;
        bucket.min(Self::COUNT - 1)
    }

    /// The first value beyond `bucket`.
    fn upper_edge(bucket: usize) -> u64 {
        let octave = 1_u64 << (Self::FIRST_OCTAVE as usize + bucket / 2);
        if bucket.is_multiple_of(2) { octave } else { octave + octave / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_step_is_not_a_residence_time() {
        assert_eq!(between(1_000, 1_250), Some(250));
        assert_eq!(between(1_000, 999), None);
        assert_eq!(between(0, LONGEST_NS + 1), None);
    }

    #[test]
    fn every_time_lies_below_its_buckets_upper_edge_and_not_below_the_one_before() {
        for log in 0..=33 {
            for value in [1_u64 << log, (1 << log) + 1, (1 << log) + (1 << log) / 2] {
                let bucket = Buckets::bucket(value);
                assert!(value < Buckets::upper_edge(bucket) || bucket == Buckets::COUNT - 1);
                assert!(bucket == 0 || value >= Buckets::upper_edge(bucket - 1));
            }
        }
    }

    #[test]
    fn percentiles_are_within_half_an_octave_and_the_maximum_is_exact() {
        let mut buckets = Buckets::new();
        for _ in 0..989 {
            buckets.record(40_000);
        }
        for _ in 0..11 {
            buckets.record(2_345_678);
        }
        let report = buckets.report();
        assert_eq!(report.count, 1000);
        assert!((40_000..60_000).contains(&report.p50_ns), "{report:?}");
        assert_eq!((report.p99_ns, report.max_ns), (2_345_678, 2_345_678));
    }

    #[test]
    fn nothing_measured_reports_zeros() {
        assert_eq!(Buckets::new().report(), Residence::default());
    }

    #[test]
    fn the_worker_histogram_takes_every_believed_time() {
        let mut histogram = histogram();
        for value in [1, 999, LONGEST_NS] {
            histogram.record(value).unwrap();
        }
    }
}
