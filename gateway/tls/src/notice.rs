//! What the relay tells whoever started it: rare things that an operator wants to know afterwards.
//!
//! The gateway turns each into an event and a log line. The channel is bounded: where nobody reads,
//! notices are lost and counted, and no connection ever waits for a reader. [`Throttle`] keeps a
//! cause that repeats with each connection down to one notice in a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gateway_control::EventKind;
use tokio::sync::mpsc;

/// Something that happened, in the words of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub kind: EventKind,
    /// To what: `listener sip`, `listener sip, upstream 10.0.0.10:5060`.
    pub object: String,
    /// The state before, where there was one.
    pub from: String,
    /// The state now.
    pub to: String,
    /// Why, and what to do about it.
    pub reason: String,
    /// Whose decision: `kernel`, `config`, `operator`, `gateway`, `peer`.
    pub owner: &'static str,
}

/// Where notices arrive.
pub type Notices = mpsc::Receiver<Notice>;

/// Where they are given in; clones share the channel.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    channel: mpsc::Sender<Notice>,
    lost: Arc<AtomicU64>,
}

impl Teller {
    pub(crate) fn new() -> (Self, Notices) {
        let (channel, notices) = mpsc::channel(KEPT);
        (Self { channel, lost: Arc::default() }, notices)
    }

    /// Tells it, or counts it as lost where nobody reads.
    pub(crate) fn tell(&self, notice: Notice) {
        if self.channel.try_send(notice).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notices that nobody read.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Lets one of many through in a while, and says how many it kept back since.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
    kept_back: u64,
}

impl Throttle {
    /// `Some(n)`: tell it now, and that it happened `n` times unsaid since it was last told.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < QUIET) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.kept_back))
    }
}

/// A burst of fallbacks from a reload fits in; the gateway reads at once.
const KEPT: usize = 256;

/// Two lines a minute from one cause can be read; the counters have the rest.
const QUIET: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            kind: EventKind::LimitReached,
            object: "listener sip".to_owned(),
            from: String::new(),
            to: String::new(),
            reason: String::new(),
            owner: "peer",
        }
    }

    #[test]
    fn notices_that_nobody_reads_are_lost_and_counted_and_block_nobody() {
        let (teller, mut notices) = Teller::new();
        for _ in 0..KEPT + 3 {
            teller.tell(notice());
        }
        assert_eq!(teller.lost(), 3);
        assert_eq!(notices.try_recv(), Ok(notice()));
    }

    #[test]
    fn a_repeated_cause_is_told_once_in_a_while_with_the_number_unsaid() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.pass(start), Some(0));
        assert_eq!(throttle.pass(start + QUIET / 2), None);
        assert_eq!(throttle.pass(start + QUIET / 2), None);
        assert_eq!(throttle.pass(start + QUIET), Some(2));
        assert_eq!(throttle.pass(start + QUIET * 2), Some(0));
    }
}
