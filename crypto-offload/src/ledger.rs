//! Which keys were ever used: never the same key and salt twice.
//!
//! AES-GCM and ChaCha20-Poly1305 break when an IV is used twice under one key, and a new SA begins
//! with the first IV. So each key is recorded before it is installed, and one that is there
//! already is refused, wherever it comes from. The ledger keeps fingerprints only, and does no
//! I/O: its owner writes [`RecordedKey::bytes`] to a file, syncs it, and only then installs.
//!
//! Memory is bounded: two generations of at most half the capacity each. When the newer one is
//! full it becomes the older one, and the oldest keys are forgotten; the newest half of the
//! capacity is always remembered. What keeps a forgotten key away is that epochs never repeat.

use std::collections::BTreeSet;

use crate::KeyFingerprint;

/// Every key that was used, by its fingerprint.
#[derive(Clone, Debug)]
pub struct KeyLedger {
    half: usize,
    /// Sorted.
    older: Vec<KeyFingerprint>,
    newer: BTreeSet<KeyFingerprint>,
}

/// A key that was new, and is now recorded: append it to the file before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a key that is not written before it is used is forgotten by a restart"]
pub struct RecordedKey(KeyFingerprint);

impl RecordedKey {
    /// What to append.
    pub const fn bytes(&self) -> &[u8; KeyLedger::ENTRY_LEN] {
        &self.0.0
    }
}

/// The key was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {0} was used before: its IVs would be used again")]
pub struct KeyReused(pub KeyFingerprint);

/// A file that no ledger wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of used keys: it begins otherwise")]
pub struct NotALedger;

impl KeyLedger {
    /// Bytes of an entry.
    pub const ENTRY_LEN: usize = 16;
    /// What a file begins with.
    pub const MAGIC: [u8; 8] = *b"PSTNKEY1";
    /// Keys that are kept unless told otherwise: 16 MB in the file, some three times that in
    /// memory at worst. A thousand pairs that rotate every day have two keys each: 250 days at
    /// least.
    pub const DEFAULT_CAPACITY: usize = 1_000_000;

    /// Empty; remembers at least half of `capacity`, and at least one key.
    pub fn new(capacity: usize) -> Self {
        Self { half: (capacity / 2).max(1), older: Vec::new(), newer: BTreeSet::new() }
    }

    /// Whether the key was used.
    pub fn contains(&self, key: &KeyFingerprint) -> bool {
        self.newer.contains(key) || self.older.binary_search(key).is_ok()
    }

    /// Records a new key.
    ///
    /// # Errors
    /// When it was used before. Then nothing has changed.
    pub fn check_and_record(&mut self, key: KeyFingerprint) -> Result<RecordedKey, KeyReused> {
        if self.contains(&key) {
            return Err(KeyReused(key));
        }
        if self.newer.len() >= self.half {
            self.older = std::mem::take(&mut self.newer).into_iter().collect();
        }
        self.newer.insert(key);
        Ok(RecordedKey(key))
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.older.len() + self.newer.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A file with all of them and nothing forgotten, to replace one that has grown. What
    /// [`check_and_record`](Self::check_and_record) gives is appended to it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::MAGIC.len() + self.len() * Self::ENTRY_LEN);
        bytes.extend(Self::MAGIC);
        for key in self.older.iter().chain(&self.newer) {
            bytes.extend(key.0);
        }
        bytes
    }

    /// From a file, and how many of its bytes are whole entries. A last entry that was cut off by
    /// a crash was never used; the file is to be cut there before anything is appended.
    ///
    /// # Errors
    /// When it is the file of something else. An empty one is an empty ledger's.
    pub fn from_bytes(bytes: &[u8], capacity: usize) -> Result<(Self, usize), NotALedger> {
        let mut ledger = Self::new(capacity);
        if bytes.len() < Self::MAGIC.len() {
            return if Self::MAGIC.starts_with(bytes) { Ok((ledger, 0)) } else { Err(NotALedger) };
        }
        let Some(entries) = bytes.strip_prefix(&Self::MAGIC) else { return Err(NotALedger) };
        let (entries, torn) = entries.as_chunks::<{ Self::ENTRY_LEN }>();
        for entry in entries {
            // One that is there twice was appended twice, and is one key all the same.
            let _ = ledger.check_and_record(KeyFingerprint(*entry));
        }
        Ok((ledger, bytes.len() - torn.len()))
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

    #[test]
    fn a_key_is_taken_once_also_over_a_restart() {
        let mut ledger = KeyLedger::default();
        let mut file = ledger.to_bytes();
        file.extend(ledger.check_and_record(key(1)).expect("new").bytes());
        file.extend(ledger.check_and_record(key(2)).expect("new").bytes());
        assert_eq!(ledger.check_and_record(key(1)), Err(KeyReused(key(1))));
        let (mut again, whole) = KeyLedger::from_bytes(&file, 100).expect("ours");
        assert_eq!((again.len(), whole), (2, file.len()));
        assert_eq!(again.check_and_record(key(2)), Err(KeyReused(key(2))));
    }

    #[test]
    fn a_torn_entry_is_cut_off_and_another_file_is_refused() {
        let mut ledger = KeyLedger::default();
        let mut file = ledger.to_bytes();
        file.extend(ledger.check_and_record(key(1)).expect("new").bytes());
        let whole = file.len();
        file.extend(&key(2).0[..5]);
        let (read, valid) = KeyLedger::from_bytes(&file, 100).expect("ours");
        assert_eq!((read.len(), valid), (1, whole));
        let cut = KeyLedger::from_bytes(&KeyLedger::MAGIC[..3], 100).expect("torn at once");
        assert_eq!((cut.0.len(), cut.1), (0, 0));
        assert_eq!(KeyLedger::from_bytes(b"something else", 100).err(), Some(NotALedger));
    }

    #[test]
    fn memory_is_bounded_and_the_newest_half_is_always_remembered() {
        let mut ledger = KeyLedger::new(100);
        for number in 0..1000 {
            let _ = ledger.check_and_record(key(number)).expect("new");
            assert!(ledger.len() <= 100);
            let newest = number.saturating_sub(49)..=number;
            assert!(newest.into_iter().all(|number| ledger.contains(&key(number))), "{number}");
        }
    }

    proptest! {
        #[test]
        fn below_its_capacity_it_answers_as_a_set_does(keys in prop::collection::vec(0_u64..200, 0..400)) {
            let (mut ledger, mut set) = (KeyLedger::new(1000), HashSet::new());
            for number in keys {
                prop_assert_eq!(ledger.check_and_record(key(number)).is_ok(), set.insert(number));
            }
            let (read, _) = KeyLedger::from_bytes(&ledger.to_bytes(), 1000).expect("ours");
            prop_assert!(set.iter().all(|number| read.contains(&key(*number))));
            prop_assert_eq!(read.len(), set.len());
        }
    }
}
