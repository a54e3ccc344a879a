//! Sliding windows over the indexes of streams (RFC 3711 section 3.3.2), side by side in one
//! allocation.
//!
//! A window answers one question, "was this index used?", for a stream's newest `size` indexes.
//! Receiving, a used index is a replay; sending, it is a nonce about to be used twice. Checking
//! and marking are apart, because only an authenticated packet may move the window. Whose window
//! it is, the table of streams knows.
//!
//! ```text
//! row:  highest | ring: words[0] .. words[n - 1]      8 + 128 bytes for 1,024 indexes
//! ```
//!
//! The bits form a ring: index `i` has bit `i mod ring`, with the ring a power of two so that
//! no division is needed. Moving forward clears the bits that come into view.

/// Which of the newest indexes have been used, for each stream of a table.
#[derive(Debug)]
pub(crate) struct Windows {
    size: u64,
    /// Of a ring, in words.
    ring: usize,
    rows: Vec<u64>,
}

/// Why an index cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    /// It was used before.
    Used,
    /// It lies behind the window, so nobody knows.
    TooOld,
}

impl Windows {
    /// No windows yet; each will be of `size` indexes (a multiple of 64).
    pub(crate) fn new(size: usize) -> Self {
        let ring = (size / 64).next_power_of_two();
        Self { size: size as u64, ring, rows: Vec::new() }
    }

    /// Adds a window whose first and highest used index is `index`.
    pub(crate) fn push(&mut self, index: u64) {
        let stride = self.stride();
        let at = self.rows.len() / stride;
        double_if_full(&mut self.rows, stride);
        self.rows.resize((at + 1) * stride, 0);
        self.restart(at, index);
    }

    /// Lets the window at `at` serve a stream whose first used index is `index`.
    pub(crate) fn restart(&mut self, at: usize, index: u64) {
        let (highest, ring) = self.row_mut(at);
        *highest = index;
        ring.fill(0);
        set(ring, index);
    }

    /// Lets the window at `at` serve a stream that goes on after `highest`: what it used up to
    /// there is not known, so all of it counts as used.
    pub(crate) fn resume(&mut self, at: usize, highest: u64) {
        let (known, ring) = self.row_mut(at);
        *known = highest;
        ring.fill(u64::MAX);
    }

    /// The highest index used.
    pub(crate) fn highest(&self, at: usize) -> u64 {
        self.row(at)[0]
    }

    /// Whether `index` may be used; changes nothing.
    pub(crate) fn check(&self, at: usize, index: u64) -> Result<(), Stale> {
        let row = self.row(at);
        if index > row[0] {
            return Ok(());
        }
        if row[0] - index >= self.size {
            return Err(Stale::TooOld);
        }
        let ring = &row[1..];
        if ring[word(ring, index)] & bit(index) == 0 { Ok(()) } else { Err(Stale::Used) }
    }

    /// Records that `index`, which [`Self::check`] allowed, is used now.
    pub(crate) fn mark(&mut self, at: usize, index: u64) {
        let (highest, ring) = self.row_mut(at);
        if index > *highest {
            advance(ring, *highest, index);
            *highest = index;
        }
        set(ring, index);
    }

    /// Indexes in a window.
    pub(crate) fn bits(&self) -> usize {
        self.size as usize
    }

    /// Which of the newest indexes are used, in a form that is the same for every ring: bit
    /// `n mod 64` of word `n / 64` is that of the highest index minus `n`.
    pub(crate) fn history(&self, at: usize) -> Vec<u64> {
        let mut words = vec![0; self.size as usize / 64];
        for back in 0..self.size {
            let index = self.highest(at).checked_sub(back);
            if index.is_none_or(|index| self.check(at, index).is_err()) {
                words[(back >> 6) as usize] |= bit(back);
            }
        }
        words
    }

    /// Lets the window at `at` serve a stream with this history, of a window of any size: what
    /// it does not tell counts as used.
    pub(crate) fn restore(&mut self, at: usize, highest: u64, history: &[u64]) {
        self.resume(at, highest);
        let known = self.size.min(64 * history.len() as u64).min(highest + 1);
        let (_, ring) = self.row_mut(at);
        for back in 1..known {
            if history[(back >> 6) as usize] & bit(back) == 0 {
                let index = highest - back;
                ring[word(ring, index)] &= !bit(index);
            }
        }
    }

    fn row(&self, at: usize) -> &[u64] {
        &self.rows[at * self.stride()..][..self.stride()]
    }

    /// The highest index, and the ring.
    fn row_mut(&mut self, at: usize) -> (&mut u64, &mut [u64]) {
        let stride = self.stride();
        let (highest, ring) = self.rows[at * stride..][..stride].split_at_mut(1);
        (&mut highest[0], ring)
    }

    fn stride(&self) -> usize {
        1 + self.ring
    }
}

/// Makes room for `more`, doubling exactly: streams are many or few, so neither growth by one nor
/// the standard library's minimum of four fits both.
pub(crate) fn double_if_full<T>(all: &mut Vec<T>, more: usize) {
    if all.capacity() - all.len() < more {
        all.reserve_exact(all.len().max(more));
    }
}

/// Clears the bits of `highest + 1 ..= index`, a word at a time.
fn advance(ring: &mut [u64], highest: u64, index: u64) {
    if index - highest >= 64 * ring.len() as u64 {
        return ring.fill(0);
    }
    let mut next = highest + 1;
    while next <= index {
        let end = index.min(next | 63);
        let run = u64::MAX >> (63 - (end - next)) << (next & 63);
        ring[word(ring, next)] &= !run;
        next = end + 1;
    }
}

fn set(ring: &mut [u64], index: u64) {
    ring[word(ring, index)] |= bit(index);
}

fn word(ring: &[u64], index: u64) -> usize {
    (index >> 6) as usize & (ring.len() - 1)
}

fn bit(index: u64) -> u64 {
    1 << (index & 63)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Between two others, which must not change.
    const AT: usize = 1;

    fn one(size: usize, index: u64) -> Windows {
        let mut windows = Windows::new(size);
        [5, index, 7].into_iter().for_each(|index| windows.push(index));
        windows
    }

    #[test]
    fn the_edge_is_exact() {
        for size in [64, 128, 192, 1024, 32_768] {
            let mut window = one(size, 100_000);
            window.mark(AT, 200_000);
            let oldest = 200_000 - size as u64 + 1;
            assert_eq!(window.check(AT, oldest), Ok(()), "size {size}");
            assert_eq!(window.check(AT, oldest - 1), Err(Stale::TooOld), "size {size}");
            window.mark(AT, oldest);
            assert_eq!(window.check(AT, oldest), Err(Stale::Used), "size {size}");
            window.mark(AT, 200_001);
            assert_eq!(window.check(AT, oldest), Err(Stale::TooOld), "size {size}");
        }
    }

    #[test]
    fn a_jump_of_exactly_the_ring_forgets_the_old_bits() {
        let mut window = one(64, 10);
        window.mark(AT, 74);
        assert_eq!(window.check(AT, 11), Ok(()));
        assert_eq!(window.check(AT, 73), Ok(()));
        assert_eq!(window.check(AT, 74), Err(Stale::Used));
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
            let mut window = one(size, start);
            let mut model = Model { used: BTreeSet::from([start]), size: size as u64 };
            for step in steps {
                let index = (window.highest(AT) as i64 + step).max(0) as u64;
                prop_assert_eq!(window.check(AT, index), model.check(index), "index {}", index);
                if window.check(AT, index).is_ok() {
                    window.mark(AT, index);
                    model.used.insert(index);
                }
                prop_assert_eq!(Some(&window.highest(AT)), model.used.last());
            }
            let fresh = one(size, start);
            prop_assert_eq!(window.row(0), fresh.row(0));
            prop_assert_eq!(window.row(2), fresh.row(2));
        }

        #[test]
        fn a_history_restored_in_any_size_allows_nothing_used_and_forgets_nothing_known(
            words in 1usize..20,
            other in 1usize..20,
            steps in proptest::collection::vec(-1_300i64..200, 0..300)
        ) {
            let mut window = one(words * 64, 1_000);
            for step in steps {
                let index = (window.highest(AT) as i64 + step).max(0) as u64;
                if window.check(AT, index).is_ok() {
                    window.mark(AT, index);
                }
            }
            let highest = window.highest(AT);
            let mut restored = one(other * 64, 50);
            restored.restore(AT, highest, &window.history(AT));
            let both = 64 * words.min(other) as u64;
            for index in highest.saturating_sub(3_000)..=highest + 1 {
                let expected = if index + both > highest {
                    window.check(AT, index)
                } else if index + 64 * other as u64 > highest {
                    Err(Stale::Used)
                } else {
                    Err(Stale::TooOld)
                };
                prop_assert_eq!(restored.check(AT, index), expected, "index {}", index);
            }
        }
    }
}
