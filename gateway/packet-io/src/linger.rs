//! Interrupt moderation for threads: while packets keep coming, let a few gather.
//!
//! Each sleep on the readiness descriptor costs the sender a wake-up and the receiver two context
//! switches, some 10 µs of CPU; at 100,000 packets a second that was a fifth of all there was. So
//! a thread that is woken sooner than a pause would have lasted pauses instead, from turn to turn,
//! until a pause brings too little; then it rests on the descriptor again. What comes seldom, one
//! by one or in bursts, is served and slept after at once.

use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use crate::driver::Turn;

/// Packets that make a pause worth repeating.
const WORTH_A_PAUSE: usize = 2;

/// Whether, and how long, the next turn pauses first.
pub(crate) struct Linger {
    pause: Duration,
    state: State,
    /// Packets since the last rest or pause.
    gathered: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The thread sleeps on the descriptor, since then.
    Resting(Instant),
    /// Woken after that long.
    Woken(Duration),
    /// The next turn starts with a pause.
    PauseDue,
    /// Turns follow a pause.
    Paused,
}

impl Linger {
    /// Pauses of this length; zero for none.
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, state: State::Woken(Duration::MAX), gathered: 0 }
    }

    /// At the start of a turn.
    pub(crate) fn pause(&mut self) {
        match self.state {
            State::Resting(since) => self.state = State::Woken(since.elapsed()),
            State::PauseDue => {
                thread::sleep(self.pause);
                self.state = State::Paused;
            }
            State::Woken(_) | State::Paused => {}
        }
    }

    /// At the end of a turn whose `more` says what is known to wait: whether the thread may rest.
    /// When it shall take another turn, `more` says so.
    pub(crate) fn may_rest(&mut self, turn: &mut Turn) -> bool {
        self.gathered += turn.received;
        if turn.more {
            return false;
        }
        let gathered = mem::take(&mut self.gathered);
        let busy = match self.state {
            State::Woken(after) => gathered > 0 && after < self.pause,
            _ => gathered >= WORTH_A_PAUSE,
        };
        turn.more = busy && !self.pause.is_zero();
        self.state = if turn.more { State::PauseDue } else { State::Resting(Instant::now()) };
        !turn.more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test thread is kept from running between two lines.
    const LONG: Duration = Duration::from_secs(60);

    /// One turn: whether the thread may rest after it.
    fn rests(linger: &mut Linger, received: usize, more: bool) -> bool {
        let mut turn = Turn { received, more, ..Turn::default() };
        let rests = linger.may_rest(&mut turn);
        assert_eq!(rests, !turn.more);
        rests
    }

    fn woken(pause: Duration, after: Duration) -> Linger {
        Linger { state: State::Woken(after), ..Linger::new(pause) }
    }

    #[test]
    fn a_thread_woken_soon_pauses_until_a_pause_brings_little() {
        let mut linger = woken(Duration::from_micros(1), Duration::ZERO);
        assert!(!rests(&mut linger, 1, false));
        for received in [2, 5] {
            assert_eq!(linger.state, State::PauseDue);
            linger.pause();
            assert_eq!(linger.state, State::Paused);
            assert!(!rests(&mut linger, received, false));
        }
        linger.pause();
        assert!(rests(&mut linger, 1, false));
    }

    #[test]
    fn what_comes_seldom_is_slept_after_at_once() {
        let mut linger = woken(LONG, 2 * LONG);
        assert!(rests(&mut linger, 100, false));
    }

    #[test]
    fn waking_for_nothing_is_no_reason_to_pause() {
        let mut linger = woken(LONG, Duration::ZERO);
        assert!(rests(&mut linger, 0, false));
        linger.pause();
        assert!(matches!(linger.state, State::Woken(after) if after < LONG));
    }

    #[test]
    fn what_is_known_to_wait_is_not_paused_for_and_counts_later() {
        let mut linger = woken(LONG, Duration::ZERO);
        assert!(!rests(&mut linger, 3, true));
        assert_eq!(linger.state, State::Woken(Duration::ZERO));
        assert!(!rests(&mut linger, 0, false));
        assert_eq!(linger.state, State::PauseDue);
    }

    #[test]
    fn zero_never_pauses() {
        let mut linger = woken(Duration::ZERO, Duration::ZERO);
        assert!(rests(&mut linger, 100, false));
    }
}
