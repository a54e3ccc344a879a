//! What handshakes may take: so many at a time, and a share of their thread's time. A party that
//! has not answered our first flight has no place yet: it costs retransmissions, and who is not
//! there must not keep those out who are. Of one call so many handshakes have a place at a time.
//!
//! A handshake costs a core a millisecond, and whoever may speak to a leg can ask for one. Beyond
//! the share everything else of the thread (ICE, legs that are up) goes on, and handshakes wait
//! their turn. The time is the wall's: where workers leave the thread less of its core, handshakes
//! get less of that still.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::relay::command::CallKey;

/// Of one thread; see the module's documentation.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    running: usize,
    /// Of each call that has any.
    of_call: HashMap<CallKey, usize>,
    share: f64,
    /// Seconds that may be spent; below zero after a step that took more.
    credit: f64,
    since: Instant,
}

impl Budget {
    /// `most` at a time, for `share` of the time from `now` on.
    pub(super) fn new(most: usize, share: f64, now: Instant) -> Self {
        let of_call = HashMap::new();
        Self { most: most.max(1), running: 0, of_call, share, credit: BURST, since: now }
    }

    /// New limits. What runs goes on.
    pub(super) fn change(&mut self, most: usize, share: f64) {
        (self.most, self.share) = (most.max(1), share);
    }

    /// Whether a step of a handshake may be done at `now`.
    pub(super) fn has_time(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = self.since.max(now);
        self.credit = (self.credit + passed * self.share).min(BURST);
        self.credit > 0.0
    }

    /// A step took this long.
    pub(super) fn spend(&mut self, took: Duration) {
        self.credit -= took.as_secs_f64();
    }

    /// When there is time again, as far as is known; `None`: there is.
    pub(super) fn next(&self) -> Option<Instant> {
        let lacking = -self.credit;
        (lacking >= 0.0).then(|| {
            let wait = Duration::from_secs_f64(lacking / self.share.max(0.001));
            // Not a moment before: having waited, there is something to spend.
            self.since + wait + Duration::from_micros(100)
        })
    }

    /// Takes a place for a handshake of `call`, if there is one for it.
    pub(super) fn begin(&mut self, call: CallKey) -> bool {
        let of_call = self.of_call.get(&call).copied().unwrap_or(0);
        let free = self.has_place() && of_call < OF_A_CALL;
        if free {
            self.running += 1;
            self.of_call.insert(call, of_call + 1);
        }
        free
    }

    /// Whether there is a place.
    pub(super) fn has_place(&self) -> bool {
        self.running < self.most
    }

    /// A place of a handshake of `call` is free.
    pub(super) fn end(&mut self, call: CallKey) {
        self.running = self.running.saturating_sub(1);
        let Some(of_call) = self.of_call.get_mut(&call) else { return };
        *of_call -= 1;
        if *of_call == 0 {
            self.of_call.remove(&call);
        }
    }

    /// Handshakes under way that have a place.
    pub(super) fn running(&self) -> usize {
        self.running
    }
}

/// Seconds of work that an idle thread may do at once: a call centre's browsers come back together.
const BURST: f64 = 0.05;

/// More than the sections that browsers offer without BUNDLE; who has more of them waits a moment.
const OF_A_CALL: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// Does steps of `step` whenever that is allowed, for a second; returns how many.
    fn steps_in_a_second(share: f64, step: Duration) -> usize {
        let start = Instant::now();
        let mut budget = Budget::new(1, share, start);
        let (mut now, mut steps) = (start, 0);
        while now < start + Duration::from_secs(1) {
            if budget.has_time(now) {
                steps += 1;
                budget.spend(step);
                now += step;
            } else {
                let next = budget.next().unwrap();
                assert!(next > now);
                now = next;
            }
        }
        steps
    }

    #[test]
    fn steps_take_their_share_of_the_time_and_a_burst() {
        for share in [0.1, 0.5, 0.8] {
            let steps = steps_in_a_second(share, Duration::from_millis(1));
            let expected = 1000.0 * share + 1000.0 * BURST;
            let off = (steps as f64 - expected).abs() / expected;
            assert!(off < 0.05, "{steps} steps at {share}");
        }
        let steps = steps_in_a_second(1.0, Duration::from_millis(1));
        assert!(steps >= 999, "{steps}");
    }

    #[test]
    fn a_long_step_is_paid_back_before_the_next() {
        let start = Instant::now();
        let mut budget = Budget::new(1, 0.5, start);
        assert!(budget.has_time(start));
        budget.spend(Duration::from_millis(550));
        let after = start + Duration::from_millis(550);
        assert!(!budget.has_time(after));
        let next = budget.next().unwrap();
        assert!(next > after + Duration::from_millis(440), "{:?}", next - after);
        assert!(budget.has_time(next));
        assert_eq!(budget.next(), None);
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let mut budget = Budget::new(2, 1.0, Instant::now());
        let (one, other) = (CallKey(1), CallKey(2));
        assert!(budget.begin(one) && budget.begin(other) && !budget.begin(one));
        budget.end(one);
        assert!(budget.has_place() && budget.begin(one));
        budget.change(1, 1.0);
        budget.end(other);
        assert!(!budget.begin(one), "one runs, and one is the most now");
        assert_eq!(budget.running(), 1);
    }

    #[test]
    fn a_call_leaves_places_to_others() {
        let mut budget = Budget::new(256, 1.0, Instant::now());
        let (one, other) = (CallKey(1), CallKey(2));
        assert_eq!((0..20).filter(|_| budget.begin(one)).count(), OF_A_CALL);
        assert!(budget.begin(other));
        budget.end(one);
        assert!(budget.begin(one) && !budget.begin(one));
        (0..OF_A_CALL).for_each(|_| budget.end(one));
        budget.end(other);
        assert_eq!((budget.running(), budget.of_call.len()), (0, 0));
    }
}
