//! Which keys were ever used: never the same key and salt twice.
//!
//! AES-GCM and ChaCha20-Poly1305 break when an IV is used twice under one key, and a new SA begins
//! with the first IV. So each key is recorded before it is installed, and one that is there
//! already is refused, wherever it comes from. Two come back: a key that no engine took is
//! [withdrawn](KeyLedger::withdraw), as nothing was sealed with it. One that only an inbound SA
//! had, and that opened no packet, [may open again](KeyLedger::opened_nothing), so that keys agreed
//! on by hand survive an attempt that failed half-way; as the other side may have sealed with it,
//! we never do.
//!
//! The ledger keeps fingerprints only, and does no I/O: its owner writes each change where it
//! outlives power before acting on it, and repeats the changes, oldest first, after a restart.
//!
//! Memory is bounded: two generations of at most half the capacity each. When the newer one is
//! full it becomes the older one, and the oldest keys are forgotten; the newest half of the
//! capacity is always remembered. What keeps a forgotten key away is that epochs never repeat.

use std::collections::BTreeSet;

use crate::{Direction, KeyFingerprint};

/// Every key that was used, by its fingerprint.
#[derive(Clone, Debug)]
pub struct KeyLedger {
    half: usize,
    /// Sorted.
    older: Vec<KeyFingerprint>,
    newer: BTreeSet<KeyFingerprint>,
    /// Of both, those that may open again.
    unopened: BTreeSet<KeyFingerprint>,
}

/// The key was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyReused {
    /// Whoever seals with it, begins with the first IV.
    #[error("key {0} was used before: its IVs would be used again")]
    Sealing(KeyFingerprint),
    /// A new inbound SA begins with an empty replay window.
    #[error("key {0} was used before: packets that it has opened would be taken again")]
    Opening(KeyFingerprint),
}

impl KeyLedger {
    /// Keys that are kept unless told otherwise, some 48 MB at worst. A thousand pairs that rotate
    /// every day have two keys each: 250 days at least.
    pub const DEFAULT_CAPACITY: usize = 1_000_000;

    /// Empty; remembers at least half of `capacity`, and at least one key.
    pub fn new(capacity: usize) -> Self {
        Self {
            half: (capacity / 2).max(1),
            older: Vec::new(),
            newer: BTreeSet::new(),
            unopened: BTreeSet::new(),
        }
    }

    /// Whether an SA of this direction may have the key.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, key: KeyFingerprint, direction: Direction) -> Result<(), KeyReused> {
        match direction {
            _ if !self.contains(key) => Ok(()),
            Direction::Inbound if self.unopened.contains(&key) => Ok(()),
            Direction::Inbound => Err(KeyReused::Opening(key)),
            Direction::Outbound => Err(KeyReused::Sealing(key)),
        }
    }

    /// Records a key that is about to be installed. One that is there stays where it is.
    pub fn record(&mut self, key: KeyFingerprint) {
        self.unopened.remove(&key);
        if self.contains(key) {
            return;
        }
        if self.newer.len() >= self.half {
            self.older = std::mem::take(&mut self.newer).into_iter().collect();
            let older = &self.older;
            self.unopened.retain(|key| older.binary_search(key).is_ok());
        }
        self.newer.insert(key);
    }

    /// Takes a key back that no engine took.
    pub fn withdraw(&mut self, key: KeyFingerprint) {
        self.unopened.remove(&key);
        self.newer.remove(&key);
        if let Ok(at) = self.older.binary_search(&key) {
            self.older.remove(at);
        }
    }

    /// A key's only SA was an inbound one, and is gone without having opened a packet. A key that
    /// was not recorded stays so.
    pub fn opened_nothing(&mut self, key: KeyFingerprint) {
        if self.contains(key) {
            self.unopened.insert(key);
        }
    }

    /// Every key, oldest generation first: to be recorded in this order by another ledger.
    pub fn recorded(&self) -> impl Iterator<Item = KeyFingerprint> {
        self.older.iter().chain(&self.newer).copied()
    }

    /// Those of them that may open again.
    pub fn unopened(&self) -> impl Iterator<Item = KeyFingerprint> {
        self.unopened.iter().copied()
    }

    fn contains(&self, key: KeyFingerprint) -> bool {
        self.newer.contains(&key) || self.older.binary_search(&key).is_ok()
    }
}

impl Default for KeyLedger {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> KeyFingerprint {
        let mut bytes = [0; 16];
        bytes[4..12].copy_from_slice(&number.to_le_bytes());
        KeyFingerprint(bytes)
    }

    fn again(ledger: &KeyLedger, capacity: usize) -> KeyLedger {
        let mut again = KeyLedger::new(capacity);
        ledger.recorded().for_each(|key| again.record(key));
        ledger.unopened().for_each(|key| again.opened_nothing(key));
        again
    }

    #[test]
    fn a_key_is_taken_once_in_either_direction_also_over_a_restart() {
        let mut ledger = KeyLedger::default();
        ledger.record(key(1));
        for ledger in [&ledger, &again(&ledger, 100)] {
            let sealing = ledger.check(key(1), Direction::Outbound);
            assert_eq!(sealing, Err(KeyReused::Sealing(key(1))));
            let opening = ledger.check(key(1), Direction::Inbound);
            assert_eq!(opening, Err(KeyReused::Opening(key(1))));
            assert_eq!(ledger.check(key(2), Direction::Outbound), Ok(()));
        }
    }

    #[test]
    fn a_key_that_no_engine_took_is_as_if_it_never_came() {
        let mut ledger = KeyLedger::new(2);
        ledger.record(key(1));
        ledger.record(key(2));
        for number in [1, 2] {
            ledger.withdraw(key(number));
            assert_eq!(ledger.check(key(number), Direction::Outbound), Ok(()));
        }
        assert_eq!(ledger.recorded().count(), 0);
    }

    #[test]
    fn a_key_that_opened_nothing_may_open_again_and_never_seals() {
        let mut ledger = KeyLedger::new(4);
        ledger.opened_nothing(key(1));
        assert_eq!(ledger.unopened().count(), 0, "it was never recorded");
        ledger.record(key(1));
        ledger.opened_nothing(key(1));
        for ledger in [&ledger, &again(&ledger, 4)] {
            assert_eq!(ledger.check(key(1), Direction::Inbound), Ok(()));
            assert!(ledger.check(key(1), Direction::Outbound).is_err());
        }
        ledger.record(key(1));
        assert!(ledger.check(key(1), Direction::Inbound).is_err(), "it is in use again");
        ledger.opened_nothing(key(1));
        (2..=5).for_each(|number| ledger.record(key(number)));
        assert_eq!(ledger.unopened().count(), 0, "forgotten with its key");
    }

    #[test]
    fn memory_is_bounded_and_the_newest_half_is_always_remembered() {
        let mut ledger = KeyLedger::new(100);
        for number in 0..1000 {
            ledger.record(key(number));
            ledger.opened_nothing(key(number));
            assert!(ledger.recorded().count() <= 100 && ledger.unopened().count() <= 100);
            let newest = number.saturating_sub(49)..=number;
            let used = |number| ledger.check(key(number), Direction::Outbound).is_err();
            assert!(newest.into_iter().all(used), "{number}");
        }
    }

    proptest! {
        #[test]
        fn below_its_capacity_it_answers_as_a_set_does(keys in prop::collection::vec(0_u64..200, 0..400)) {
            let (mut ledger, mut set) = (KeyLedger::new(1000), HashSet::new());
            for number in keys {
                let new = ledger.check(key(number), Direction::Inbound).is_ok();
                prop_assert_eq!(new, set.insert(number));
                ledger.record(key(number));
            }
            let read: HashSet<_> = again(&ledger, 1000).recorded().collect();
            prop_assert_eq!(read, set.into_iter().map(key).collect::<HashSet<_>>());
        }
    }
}
