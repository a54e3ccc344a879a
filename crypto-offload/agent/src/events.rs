//! What happened, for whoever asks: a bounded ring, and waiting for what comes next.
//!
//! Written by the owner of the engines, read by connections; a reader that is too slow misses the
//! oldest, which the gap in `seq` tells it.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gateway_control::{Event, EventKind};

/// The ring.
#[derive(Default)]
pub struct EventLog {
    ring: Mutex<Ring>,
    news: Condvar,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Event>,
    last: u64,
}

/// What the writer says of an event; the ring adds number and time.
pub(crate) struct News {
    pub(crate) kind: EventKind,
    pub(crate) object: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) reason: String,
    pub(crate) owner: &'static str,
}

impl EventLog {
    pub(crate) fn push(&self, news: News) {
        let News { kind, object, from, to, reason, owner } = news;
        tracing::info!(kind = kind.name(), object, from, to, reason, owner, "event");
        let mut ring = self.locked();
        ring.last += 1;
        let event = Event {
            seq: ring.last,
            time: milliseconds_since_1970(),
            kind,
            object,
            from,
            to,
            reason: short(reason),
            owner: owner.to_owned(),
        };
        if ring.events.len() == KEPT {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
        self.news.notify_all();
    }

    /// What came after `seq`, as many as a message holds; waits for the first. A `seq` from the
    /// future is from before a restart, and knows nothing of this run.
    pub(crate) fn after(&self, seq: u64, wait: Duration) -> Vec<Event> {
        let deadline = Instant::now() + wait;
        let mut ring = self.locked();
        loop {
            let known = if seq > ring.last { 0 } else { seq };
            if ring.last > known {
                let new = ring.events.iter().filter(|event| event.seq > known);
                return new.take(AT_ONCE).cloned().collect();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Vec::new();
            }
            let woken = self.news.wait_timeout(ring, left);
            ring = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All that are kept.
    pub fn recent(&self) -> Vec<Event> {
        self.locked().events.iter().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without control characters, which JSON writes with six each.
fn short(text: String) -> String {
    let mut text = text.replace(char::is_control, " ");
    if text.len() > LONGEST_REASON {
        let end = (0..=LONGEST_REASON).rfind(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

fn milliseconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A rotation of a thousand pairs that all fall back is two thousand events.
const KEPT: usize = 4096;

/// With their texts at their longest they fill less than a message.
const AT_ONCE: usize = 64;

/// Bytes: several engines' reasons in a row.
const LONGEST_REASON: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn news(object: &str) -> News {
        News {
            kind: EventKind::SaLost,
            object: object.to_owned(),
            from: String::new(),
            to: String::new(),
            reason: "é".repeat(2000),
            owner: "kernel",
        }
    }

    #[test]
    fn a_reader_gets_what_it_does_not_know_and_starts_over_after_a_restart() {
        let log = EventLog::default();
        log.push(news("a"));
        log.push(news("b"));
        let objects = |seq| -> Vec<String> {
            log.after(seq, Duration::ZERO).into_iter().map(|event| event.object).collect()
        };
        assert_eq!(objects(0), ["a", "b"]);
        assert_eq!(objects(1), ["b"]);
        assert!(objects(2).is_empty());
        assert_eq!(objects(99), ["a", "b"]);
    }

    #[test]
    fn a_waiting_reader_is_woken() {
        let log = EventLog::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| log.after(0, Duration::from_secs(20)));
            log.push(news("a"));
            assert_eq!(reader.join().expect("no panic").len(), 1);
        });
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_cuts_long_reasons_at_a_letter() {
        let log = EventLog::default();
        (0..KEPT + 5).for_each(|_| log.push(news("a")));
        let first = log.after(0, Duration::ZERO).remove(0);
        assert_eq!(first.seq, 6);
        assert_eq!(first.reason.len(), LONGEST_REASON);
    }
}
