//! A sliding window over the indexes of one stream (RFC 3711 section 3.3.2).
//!
//! It answers one question, "was this index used?", for the newest `size` indexes. Receiving, a
//! used index is a replay; sending, it is a nonce about to be used twice. Checking and marking
//! are apart, because only an authenticated packet may move the window.
//!
//! The bits form a ring: index `i` has bit `i mod ring`, with the ring a power of two so that
//! no division is needed. Moving forward clears the bits that come into view.

/// Which of a stream's newest indexes have been used.
#[derive(Debug)]
pub(crate) struct Window {
    highest: u64,
    size: u64,
    ring: Box<[u64]>,
}

/// Why an index cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    /// It was used before.
    Used,
    /// It lies behind the window, so nobody knows.
    TooOld,
}

impl Window {
    /// A window of `size` indexes (a multiple of 64) whose first and highest used one is `index`.
    pub(crate) fn starting_at(index: u64, size: usize) -> Self {
        let words = (size / 64).next_power_of_two();
        let mut window =
            Self { highest: index, size: size as u64, ring: vec![0; words].into_boxed_slice() };
        window.set(index);
        window
    }

    /// Forgets its stream and serves another, whose first used index is `index`.
    pub(crate) fn restart(&mut self, index: u64) {
        self.ring.fill(0);
        self.highest = index;
        self.set(index);
    }

    /// Forgets its stream and serves one that goes on with `index` after `highest`: what else
    /// it used up to there is not known, so all of it counts as used.
    pub(crate) fn resume(&mut self, highest: u64, index: u64) {
        self.ring.fill(u64::MAX);
        self.highest = highest;
        self.mark(index);
    }

    /// The highest index used.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether `index` may be used; changes nothing.
    pub(crate) fn check(&self, index: u64) -> Result<(), Stale> {
        if index > self.highest {
            return Ok(());
        }
        if self.highest - index >= self.size {
            return Err(Stale::TooOld);
        }
        if self.ring[self.word(index)] & bit(index) == 0 { Ok(()) } else { Err(Stale::Used) }
    }

    /// Records that `index`, which [`Self::check`] allowed, is used now.
    pub(crate) fn mark(&mut self, index: u64) {
        if index > self.highest {
            self.advance(index);
        }
        self.set(index);
    }

    /// Clears the bits of `highest + 1 ..= index`, a word at a time.
    fn advance(&mut self, index: u64) {
        let distance = index - self.highest;
        if distance >= 64 * self.ring.len() as u64 {
            self.ring.fill(0);
        } else {
            let mut next = self.highest + 1;
            while next <= index {
                let end = index.min(next | 63);
                let run = u64::MAX >> (63 - (end - next)) << (next & 63);
                let word = self.word(next);
                self.ring[word] &= !run;
                next = end + 1;
            }
        }
        self.highest = index;
    }

    fn set(&mut self, index: u64) {
        let word = self.word(index);
        self.ring[word] |= bit(index);
    }

    fn word(&self, index: u64) -> usize {
        (index >> 6) as usize & (self.ring.len() - 1)
    }
}

fn bit(index: u64) -> u64 {
    1 << (index & 63)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_edge_is_exact() {
        for size in [64, 128, 192, 1024, 32_768] {
            let mut window = Window::starting_at(100_000, size);
            window.mark(200_000);
            let oldest = 200_000 - size as u64 + 1;
            assert_eq!(window.check(oldest), Ok(()), "size {size}");
            assert_eq!(window.check(oldest - 1), Err(Stale::TooOld), "size {size}");
            window.mark(oldest);
            assert_eq!(window.check(oldest), Err(Stale::Used), "size {size}");
            window.mark(200_001);
            assert_eq!(window.check(oldest), Err(Stale::TooOld), "size {size}");
        }
    }

    #[test]
    fn a_jump_of_exactly_the_ring_forgets_the_old_bits() {
        let mut window = Window::starting_at(10, 64);
        window.mark(74);
        assert_eq!(window.check(11), Ok(()));
        assert_eq!(window.check(73), Ok(()));
        assert_eq!(window.check(74), Err(Stale::Used));
    }

    /// The window as one would write it without thinking of cost.
    struct Model {
        used: BTreeSet<u64>,
        size: u64,
    }

    impl Model {
        fn check(&self, index: u64) -> Result<(), Stale> {
            let highest = *self.used.last().expect("starts with one");
            if index + self.size <= highest {
                Err(Stale::TooOld)
            } else if self.used.contains(&index) {
                Err(Stale::Used)
            } else {
                Ok(())
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_model(
            words in 1usize..20,
            start in 0u64..5_000,
            steps in proptest::collection::vec(
                prop_oneof![-1_500i64..40, -70i64..70, 0i64..5_000], 1..400
            )
        ) {
            let size = words * 64;
            let mut window = Window::starting_at(start, size);
            let mut model = Model { used: BTreeSet::from([start]), size: size as u64 };
            for step in steps {
                let index = (window.highest() as i64 + step).max(0) as u64;
                prop_assert_eq!(window.check(index), model.check(index), "index {}", index);
                if window.check(index).is_ok() {
                    window.mark(index);
                    model.used.insert(index);
                }
                prop_assert_eq!(Some(&window.highest()), model.used.last());
            }
        }
    }
}
