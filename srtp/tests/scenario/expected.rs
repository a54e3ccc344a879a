//! What must become of a packet, told from its true index.
//!
//! A receiver sees 16 bits of an index and guesses the rest (RFC 3711 section 3.3.1); the model
//! sees all 48 and says whether the guess can be right.

use std::collections::BTreeSet;

use super::Refused;

/// The indexes of one source that one side has used or accepted.
pub(crate) struct Expected {
    indexes: BTreeSet<u64>,
    window: u64,
    wire_bits: u32,
}

impl Expected {
    /// RTP: a window of 1,024, and 16 bits of index in the packet.
    pub(crate) fn rtp() -> Self {
        Self { indexes: BTreeSet::new(), window: 1024, wire_bits: 16 }
    }

    /// RTCP: a window of 128, and the whole index in the packet.
    pub(crate) fn rtcp() -> Self {
        Self { indexes: BTreeSet::new(), window: 128, wire_bits: 31 }
    }

    /// What must become of the packet of `index`, and records it if it's taken.
    pub(crate) fn judge(&mut self, index: u64) -> Result<(), Refused> {
        let Some(highest) = self.highest() else {
            self.indexes.insert(index);
            return Ok(());
        };
        let guess = self.guess(highest, index);
        if guess <= highest && highest - guess >= self.window {
            return Err(Refused::TooOld);
        }
        if self.indexes.contains(&guess) {
            return Err(Refused::Replayed);
        }
        if guess != index {
            return Err(Refused::NotAuthentic);
        }
        self.indexes.insert(index);
        Ok(())
    }

    /// Whether the guess at `index` depends on whether one counts from the highest index, as RFC
    /// 3711 does, or from the last one, as `webrtc-srtp` does: it's near half the space away.
    pub(crate) fn is_ambiguous(&self, index: u64) -> bool {
        let half = 1u64 << (self.wire_bits - 1);
        let distance = self.highest().unwrap_or(index).wrapping_sub(index) % (2 * half);
        distance.abs_diff(half) <= self.window
    }

    pub(crate) fn highest(&self) -> Option<u64> {
        self.indexes.last().copied()
    }

    /// Of all indexes that look like `index` in the packet, the closest to `highest`.
    fn guess(&self, highest: u64, index: u64) -> u64 {
        let space = 1u64 << self.wire_bits;
        let in_this_round = highest / space * space + index % space;
        let before = in_this_round.checked_sub(space);
        [before, Some(in_this_round), Some(in_this_round + space)]
            .into_iter()
            .flatten()
            .min_by_key(|guess| guess.abs_diff(highest))
            .unwrap_or(index)
    }
}
