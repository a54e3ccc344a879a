//! Where in a table an SSRC is, for tables too long to be searched.
//!
//! The peer chooses the SSRCs, and a peer that authenticates may still be hostile: with a known
//! hash it would choose them to collide, and a lookup, which even a forged packet asks for, would
//! become a search. So the hash has a secret of this table, drawn at random by the standard
//! library when the table grows to need it. It is not derived from the session's keys, which the
//! peer knows. Nothing shows the secret: the table's order is not the order of anything that
//! leaves it.
//!
//! The hash is `((a * ssrc + b) mod 2^128) >> 64`. Over all `a` and `b` of 128 bits it is
//! pairwise independent (Dietzfelbinger 1996: the words exceed key and hash together by more than
//! they must), so two SSRCs, however chosen, share a bucket of `n` with a chance of one in `n`.
//! SipHash, the standard library's own, would claim more and cost more; here it only stretches the
//! secret. An SSRC is never removed, only moved, so nothing is left behind that slows a lookup.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
};

/// The places of SSRCs: 9 bytes and the share of a free place for each.
#[derive(Debug)]
pub(crate) struct SsrcIndex {
    places: HashMap<u32, Place, Keyed>,
}

/// Which entry of which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Busy(u16),
    Retired(u16),
}

impl SsrcIndex {
    pub(crate) fn new() -> Self {
        Self { places: HashMap::with_hasher(Keyed::random()) }
    }

    pub(crate) fn place(&self, ssrc: u32) -> Option<Place> {
        self.places.get(&ssrc).copied()
    }

    /// From now on `ssrc` is at `place`.
    pub(crate) fn put(&mut self, ssrc: u32, place: Place) {
        self.places.insert(ssrc, place);
    }
}

/// The secret of a table.
#[derive(Clone, Copy)]
struct Keyed {
    a: u128,
    b: u128,
}

struct Hash {
    keyed: Keyed,
    ssrc: u32,
}

impl Keyed {
    fn random() -> Self {
        let random = RandomState::new();
        let word = |n: u32| u128::from(random.hash_one(n));
        Self { a: word(0) << 64 | word(1), b: word(2) << 64 | word(3) }
    }
}

impl BuildHasher for Keyed {
    type Hasher = Hash;

    fn build_hasher(&self) -> Hash {
        Hash { keyed: *self, ssrc: 0 }
    }
}

impl Hasher for Hash {
    fn write_u32(&mut self, ssrc: u32) {
        self.ssrc = ssrc;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.ssrc = bytes.iter().fold(self.ssrc, |ssrc, byte| ssrc << 8 | u32::from(*byte));
    }

    fn finish(&self) -> u64 {
        let Keyed { a, b } = self.keyed;
        (a.wrapping_mul(u128::from(self.ssrc)).wrapping_add(b) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn two_tables_hash_differently() {
        let hashes = |keyed: Keyed| (0..100u32).map(|ssrc| keyed.hash_one(ssrc)).collect();
        let (one, two): (BTreeSet<_>, BTreeSet<_>) =
            (hashes(Keyed::random()), hashes(Keyed::random()));
        assert!(one.is_disjoint(&two));
    }

    /// Patterns that a mask would pile up in one bucket. Evenly spaced SSRCs make a quarter of
    /// them meet only if `a` is within 2^-20 of a fraction of small numbers: not in our time.
    #[test]
    fn regular_ssrcs_spread_over_low_bits_and_high_bits() {
        for stride in [1u32, 2, 1 << 8, 1 << 12, 1 << 20, 0x9e37_79b9, u32::MAX] {
            let keyed = Keyed::random();
            for shift in [0, 52] {
                let mut counts = vec![0; 4096];
                for n in 0..4096u32 {
                    let hash = keyed.hash_one(n.wrapping_mul(stride));
                    counts[(hash >> shift) as usize & 4095] += 1;
                }
                let fullest = counts.iter().max().copied();
                assert!(fullest < Some(1024), "stride {stride}, shift {shift}: {fullest:?}");
            }
        }
    }
}
