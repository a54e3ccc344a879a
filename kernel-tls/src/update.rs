//! When keys are renewed (RFC 8446 section 4.6.3), and how often a peer may ask for it.
//!
//! AES-GCM's keys are good for 2^24 records (RFC 8446 section 5.5); ChaCha20-Poly1305's have no
//! limit worth counting. TLS 1.2 cannot renew: its connection ends at the limit. A KeyUpdate costs
//! some microseconds, so that a peer gets a small number at once and then one at a time; beyond
//! that its connection ends, as a storm of them has brought proxies down. Time comes in as an
//! argument, and nothing is sent or counted by the system here.

use std::time::{Duration, Instant};

/// Limits of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpdateLimits {
    /// Renew the keys before this many records were sent under them; `None`: the cipher's own
    /// limit. At least [`UpdateLimits::LEAST_RECORDS`].
    pub(crate) records: Option<u64>,
    /// How many post-handshake messages (KeyUpdate, NewSessionTicket) a peer may send at once.
    pub(crate) burst: u32,
    /// After how long it may send one more.
    pub(crate) interval: Duration,
}

impl UpdateLimits {
    /// Less would not hold what one call may send.
    pub(crate) const LEAST_RECORDS: u64 = 64;
}

impl Default for UpdateLimits {
    /// 32 at once, as BoringSSL and rustls allow, and then one a second: a peer that renews at
    /// every gigabyte needs no more at 8 Gbit/s.
    fn default() -> Self {
        Self { records: None, burst: 32, interval: Duration::from_secs(1) }
    }
}

/// What keeps a peer from sending us KeyUpdates without end: a bucket of tokens. Those that we asked
/// for are free, one for each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FloodGuard {
    burst: u32,
    interval: Duration,
    left: u32,
    /// KeyUpdates that we asked for and have not got.
    asked: u32,
    /// When `left` was last brought up to date; `None` while it is full.
    since: Option<Instant>,
}

impl FloodGuard {
    /// With everything that `limits` allow at once.
    pub(crate) fn new(limits: &UpdateLimits) -> Self {
        let UpdateLimits { burst, interval, .. } = *limits;
        Self { burst, interval, left: burst, asked: 0, since: None }
    }

    /// We have asked the peer for new keys. It may answer several requests by one KeyUpdate.
    pub(crate) fn ask(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    /// Counts one KeyUpdate. False: it was one too many, and the connection ends.
    #[must_use]
    pub(crate) fn admits_update(&mut self, now: Instant) -> bool {
        match self.asked.checked_sub(1) {
            Some(asked) => {
                self.asked = asked;
                true
            }
            None => self.admits(now),
        }
    }

    /// Counts one message. False: it was one too many, and the connection ends.
    #[must_use]
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        self.refill(now);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.since.get_or_insert(now);
                true
            }
            None => false,
        }
    }

    fn refill(&mut self, now: Instant) {
        let Some(since) = self.since else { return };
        let interval = self.interval.max(Duration::from_nanos(1));
        let earned = now.saturating_duration_since(since).as_nanos() / interval.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(self.burst);
        self.since = (self.left < self.burst)
            .then(|| since.checked_add(interval.saturating_mul(earned)).unwrap_or(now));
    }
}

/// How many records were sent, or received, under one key: a bound that is never too low, made
/// exact now and then by whoever can ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordCount {
    limit: u64,
    bound: u64,
}

/// What to do before some more records are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Headroom {
    /// Send them.
    Enough,
    /// They might not fit: find out how many there were, [`correct`](RecordCount::correct) the
    /// count, and if that does not help, renew the keys or end the connection.
    Doubtful,
}

impl RecordCount {
    /// Beginning at `records`, for keys that are good for `limit`.
    pub(crate) fn new(records: u64, limit: u64) -> Self {
        Self { limit: limit.max(UpdateLimits::LEAST_RECORDS), bound: records }
    }

    /// Whether `records` more, and one KeyUpdate or close_notify after them, are within the limit.
    pub(crate) fn headroom(&self, records: u64) -> Headroom {
        if self.bound.saturating_add(records).saturating_add(RESERVED) <= self.limit {
            Headroom::Enough
        } else {
            Headroom::Doubtful
        }
    }

    /// At most this many were sent just now.
    pub(crate) fn add(&mut self, records: u64) {
        self.bound = self.bound.saturating_add(records);
    }

    /// There were exactly this many.
    pub(crate) fn correct(&mut self, records: u64) {
        self.bound = records;
    }

    /// There is no limit any more.
    pub(crate) fn unlimited(&mut self) {
        self.limit = u64::MAX;
    }

    /// At most this many.
    pub(crate) fn bound(&self) -> u64 {
        self.bound
    }
}

/// For what has to be sent at the limit: the KeyUpdate or an alert, and a close_notify.
const RESERVED: u64 = 2;

/// The most records that `bytes` make when they are sent in one call.
pub(crate) const fn most_records(bytes: usize) -> u64 {
    bytes.div_ceil(MAX_PLAINTEXT) as u64
}

/// The most that one record holds (RFC 8446 section 5.1), in bytes.
pub(crate) const MAX_PLAINTEXT: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(burst: u32, interval: Duration) -> FloodGuard {
        FloodGuard::new(&UpdateLimits { records: None, burst, interval })
    }

    #[test]
    fn a_burst_passes_and_the_one_after_it_does_not() {
        let now = Instant::now();
        let mut guard = guard(3, Duration::from_secs(1));
        assert!((0..3).all(|_| guard.admits(now)));
        assert!(!guard.admits(now));
    }

    #[test]
    fn one_more_is_earned_with_every_interval() {
        let start = Instant::now();
        let mut guard = guard(2, Duration::from_secs(1));
        assert!(guard.admits(start) && guard.admits(start));
        let later = start + Duration::from_millis(999);
        assert!(!guard.admits(later));
        let later = start + Duration::from_millis(1_001);
        assert!(guard.admits(later));
        assert!(!guard.admits(later));
        // The millisecond of the last interval is not lost.
        assert!(guard.admits(start + Duration::from_millis(2_000)));
    }

    #[test]
    fn a_long_rest_earns_no_more_than_the_burst() {
        let start = Instant::now();
        let mut guard = guard(2, Duration::from_secs(1));
        assert!(guard.admits(start));
        let later = start + Duration::from_secs(100 * 365 * 86_400);
        assert!(guard.admits(later) && guard.admits(later));
        assert!(!guard.admits(later));
    }

    #[test]
    fn nothing_is_admitted_by_a_guard_without_tokens_and_a_clock_that_stands_still_earns_none() {
        let now = Instant::now();
        assert!(!guard(0, Duration::ZERO).admits(now));
        let mut guard = guard(1, Duration::ZERO);
        assert!(guard.admits(now));
        assert!(!guard.admits(now));
    }

    #[test]
    fn an_answer_that_we_asked_for_costs_the_peer_nothing_and_is_free_but_once() {
        let now = Instant::now();
        let mut guard = guard(1, Duration::from_secs(1));
        for _ in 0..100 {
            guard.ask();
            assert!(guard.admits_update(now));
        }
        assert!(guard.admits_update(now));
        assert!(!guard.admits_update(now));
    }

    #[test]
    fn room_for_the_key_update_is_kept() {
        let mut count = RecordCount::new(0, 100);
        count.add(90);
        assert_eq!(count.headroom(8), Headroom::Enough);
        assert_eq!(count.headroom(9), Headroom::Doubtful);
        count.correct(45);
        assert_eq!(count.headroom(53), Headroom::Enough);
        count.unlimited();
        assert_eq!(count.headroom(1 << 40), Headroom::Enough);
    }

    #[test]
    fn a_cipher_without_a_limit_never_doubts() {
        let mut count = RecordCount::new(1, u64::MAX);
        count.add(1 << 60);
        assert_eq!(count.headroom(1 << 20), Headroom::Enough);
    }

    #[test]
    fn a_full_record_is_one_and_a_byte_more_is_two() {
        assert_eq!([1, 16_384, 16_385].map(most_records), [1, 1, 2]);
    }
}
