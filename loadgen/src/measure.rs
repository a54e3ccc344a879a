//! What one direction of media measured: latency, jitter, loss, reorder, duplicates.
//!
//! A [`Stream`] follows one call's one direction on the receiving thread; when the run is over
//! its numbers are merged into a [`Direction`], whose histograms lose nothing by merging.
//! Latency runs from the *intended* send time, so a generator that falls behind shows the delay
//! instead of hiding it (no coordinated omission).

use hdrhistogram::Histogram;

/// Nanoseconds up to a minute, three significant digits.
fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "constant bounds that the constructor accepts")]
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("1 ns to 60 s with 3 digits")
}

/// One call's one direction, while it runs.
pub struct Stream {
    /// One bit per packet of the schedule: what has come.
    seen: Vec<u64>,
    scheduled: u32,
    highest: Option<u32>,
    received: u64,
    duplicates: u64,
    reordered: u64,
    /// Transit of the previous packet and the smoothed jitter, nanoseconds (RFC 3550 A.8).
    transit_ns: Option<i64>,
    jitter_ns: f64,
}

impl Stream {
    /// A stream of `scheduled` packets.
    pub fn new(scheduled: u32) -> Self {
        Self {
            seen: vec![0; scheduled.div_ceil(64) as usize],
            scheduled,
            highest: None,
            received: 0,
            duplicates: 0,
            reordered: 0,
            transit_ns: None,
            jitter_ns: 0.0,
        }
    }

    /// Counts packet `number` of the schedule, due at `intended_ns` and received at `arrived_ns`
    /// (both CLOCK_REALTIME).
    pub fn record(&mut self, into: &mut Direction, number: u32, intended_ns: u64, arrived_ns: u64) {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        match self.seen.get_mut(word) {
            None => return into.mismatched += 1,
            Some(seen) if *seen & bit != 0 => return self.duplicates += 1,
            Some(seen) => *seen |= bit,
        }
        self.received += 1;
        match self.highest {
            Some(highest) if number < highest => self.reordered += 1,
            _ => self.highest = Some(number),
        }
        let transit = arrived_ns as i64 - intended_ns as i64;
        into.latency_ns.saturating_record(transit.max(1) as u64);
        if let Some(previous) = self.transit_ns.replace(transit) {
            // RFC 3550 section 6.4.1: J += (|D| - J) / 16.
            self.jitter_ns += ((transit - previous).abs() as f64 - self.jitter_ns) / 16.0;
            into.jitter_ns.saturating_record(self.jitter_ns as u64);
        }
    }

    /// Adds this stream's counts to its direction; `sent` is how far the schedule got.
    pub fn finish(&self, into: &mut Direction, sent: u32) {
        into.sent += u64::from(sent.min(self.scheduled));
        into.received += self.received;
        into.duplicates += self.duplicates;
        into.reordered += self.reordered;
    }
}

/// All streams of one direction together.
pub struct Direction {
    /// One-way latency from intended send to kernel receive, nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// RFC 3550 interarrival jitter after each packet, nanoseconds.
    pub jitter_ns: Histogram<u64>,
    /// Packets sent.
    pub sent: u64,
    /// Different packets received.
    pub received: u64,
    /// Packets received again.
    pub duplicates: u64,
    /// Packets received after a later one.
    pub reordered: u64,
    /// Packets that did not decrypt.
    pub undecryptable: u64,
    /// Packets whose payload is not what was sent, or not on this stream.
    pub mismatched: u64,
}

impl Default for Direction {
    fn default() -> Self {
        Self {
            latency_ns: histogram(),
            jitter_ns: histogram(),
            sent: 0,
            received: 0,
            duplicates: 0,
            reordered: 0,
            undecryptable: 0,
            mismatched: 0,
        }
    }
}

impl Direction {
    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Lost packets as a fraction of those sent.
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.lost() as f64 / self.sent as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn counts_loss_reorder_and_duplicates_apart() {
        let (mut stream, mut direction) = (Stream::new(10), Direction::default());
        for number in [0, 2, 1, 1, 5] {
            stream.record(&mut direction, number, 0, MS);
        }
        stream.finish(&mut direction, 6);
        assert_eq!(direction.received, 4);
        assert_eq!(direction.lost(), 2);
        assert_eq!(direction.reordered, 1);
        assert_eq!(direction.duplicates, 1);
    }

    #[test]
    fn a_number_beyond_the_schedule_is_not_ours() {
        let (mut stream, mut direction) = (Stream::new(10), Direction::default());
        stream.record(&mut direction, 640, 0, MS);
        assert_eq!(direction.mismatched, 1);
    }

    #[test]
    fn jitter_of_a_steady_stream_is_zero_and_of_an_alternating_one_approaches_its_step() {
        let (mut stream, mut direction) = (Stream::new(1000), Direction::default());
        for number in 0..500 {
            let due = u64::from(number) * 20 * MS;
            stream.record(&mut direction, number, due, due + 3 * MS);
        }
        assert_eq!(direction.jitter_ns.max(), 0);
        for number in 500..1000_u32 {
            let due = u64::from(number) * 20 * MS;
            stream.record(&mut direction, number, due, due + u64::from(number % 2) * 2 * MS);
        }
        let jitter = direction.jitter_ns.max() as f64 / MS as f64;
        assert!((1.9..2.1).contains(&jitter), "{jitter} ms");
    }

    #[test]
    fn latency_counts_from_the_intended_time() {
        let (mut stream, mut direction) = (Stream::new(1), Direction::default());
        stream.record(&mut direction, 0, 10 * MS, 15 * MS);
        assert!(direction.latency_ns.max().abs_diff(5 * MS) < MS / 100);
    }
}
