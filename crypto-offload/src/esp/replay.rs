//! Which of the newest sequence numbers have been accepted (RFC 4303 section 3.4.3).
//!
//! Checking and marking are apart, because only an authentic packet may move the window. The bits
//! form a ring: number `n` has bit `n mod ring`, with the ring a power of two, so that nothing is
//! shifted; moving forward clears the bits that come into view.

/// A window of 1 to 4,096 numbers.
pub(super) struct Window {
    highest: u64,
    size: u32,
    ring: Box<[u64]>,
}

/// Why a number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    /// Accepted before.
    Replayed,
    /// Behind the window, so nobody knows.
    Late,
}

impl Window {
    /// A window of `size` numbers, of which all up to `highest` count as accepted. A size outside
    /// of 1 to [`MAX_REPLAY_WINDOW`](crate::MAX_REPLAY_WINDOW) is brought there.
    pub(super) fn new(size: u32, highest: u64) -> Self {
        let size = size.clamp(1, crate::MAX_REPLAY_WINDOW);
        let words = size.next_power_of_two().div_ceil(64) as usize;
        Self { highest, size, ring: vec![u64::MAX; words].into_boxed_slice() }
    }

    /// The highest number accepted.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Numbers in it.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Whether `sequence` may be accepted; changes nothing.
    pub(super) fn check(&self, sequence: u64) -> Result<(), Stale> {
        if sequence > self.highest {
            return Ok(());
        }
        if self.highest - sequence >= u64::from(self.size) {
            return Err(Stale::Late);
        }
        if self.ring[self.word(sequence)] & bit(sequence) == 0 {
            Ok(())
        } else {
            Err(Stale::Replayed)
        }
    }

    /// Records that `sequence`, which [`Self::check`] allowed, is accepted.
    pub(super) fn mark(&mut self, sequence: u64) {
        if sequence > self.highest {
            self.advance(sequence);
        }
        self.ring[self.word(sequence)] |= bit(sequence);
    }

    /// Clears the bits of `highest + 1 ..= sequence`, a word at a time.
    fn advance(&mut self, sequence: u64) {
        if sequence - self.highest >= 64 * self.ring.len() as u64 {
            self.ring.fill(0);
        } else {
            let mut next = self.highest + 1;
            while next <= sequence {
                let end = sequence.min(next | 63);
                let run = u64::MAX >> (63 - (end - next)) << (next & 63);
                self.ring[self.word(next)] &= !run;
                // No further number: the last word's end may be the last number there is.
                let Some(after) = end.checked_add(1) else { break };
                next = after;
            }
        }
        self.highest = sequence;
    }

    fn word(&self, sequence: u64) -> usize {
        (sequence >> 6) as usize & (self.ring.len() - 1)
    }
}

fn bit(sequence: u64) -> u64 {
    1 << (sequence & 63)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_edge_is_exact_for_every_size() {
        for size in 1..=4096 {
            let mut window = Window::new(size, 0);
            window.mark(100_000);
            let oldest = 100_000 - u64::from(size) + 1;
            assert_eq!(window.check(oldest - 1), Err(Stale::Late), "size {size}");
            if size > 1 {
                assert_eq!(window.check(oldest), Ok(()), "size {size}");
                window.mark(oldest);
            }
            assert_eq!(window.check(oldest), Err(Stale::Replayed), "size {size}");
            window.mark(100_001);
            assert_eq!(window.check(oldest), Err(Stale::Late), "size {size}");
        }
    }

    #[test]
    fn what_was_before_a_restart_is_refused_whole() {
        let window = Window::new(64, 1_000);
        assert_eq!(window.check(1_000), Err(Stale::Replayed));
        assert_eq!(window.check(937), Err(Stale::Replayed));
        assert_eq!(window.check(936), Err(Stale::Late));
        assert_eq!(window.check(1_001), Ok(()));
    }

    #[test]
    fn the_last_number_there_is_can_be_marked() {
        let mut window = Window::new(128, u64::MAX - 3);
        window.mark(u64::MAX);
        assert_eq!(window.check(u64::MAX), Err(Stale::Replayed));
        assert_eq!(window.check(u64::MAX - 1), Ok(()));
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_model(
            size in 1u32..=4096,
            floor in 0u64..10_000,
            steps in proptest::collection::vec(
                prop_oneof![-4_500i64..40, -70i64..70, 0i64..9_000], 1..400
            )
        ) {
            let mut window = Window::new(size, floor);
            let mut accepted = BTreeSet::new();
            let mut highest = floor;
            for step in steps {
                let sequence = (highest as i64 + step).max(0) as u64;
                let expected = if sequence + u64::from(size) <= highest {
                    Err(Stale::Late)
                } else if sequence <= floor || accepted.contains(&sequence) {
                    Err(Stale::Replayed)
                } else {
                    Ok(())
                };
                prop_assert_eq!(window.check(sequence), expected, "number {}", sequence);
                if expected.is_ok() {
                    window.mark(sequence);
                    accepted.insert(sequence);
                    highest = highest.max(sequence);
                }
                prop_assert_eq!(window.highest(), highest);
            }
        }
    }
}
