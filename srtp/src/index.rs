//! The 48-bit packet index and its estimation from 16 bits on the wire (RFC 3711 section 3.3.1).
//!
//! `index = 2^16 * ROC + SEQ`. The wire carries only SEQ; ROC, the rollover counter, is inferred
//! from the highest index known. Nothing here changes state: an estimate is a guess until the
//! packet has authenticated under it.

/// A packet's place in its stream: rollover counter and sequence number, 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketIndex(u64);

impl PacketIndex {
    /// How many indexes there are: 2^48.
    pub const COUNT: u64 = 1 << 48;

    /// The index of sequence number `sequence` in the `roc`th round.
    pub const fn new(roc: u32, sequence: u16) -> Self {
        Self((roc as u64) << 16 | sequence as u64)
    }

    pub(crate) const fn from_value(index: u64) -> Self {
        Self(index)
    }

    /// The whole 48-bit number.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Rollover counter: how often the sequence number has wrapped.
    pub const fn roc(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// The sequence number as it stands in the packet.
    pub const fn sequence(self) -> u16 {
        self.0 as u16
    }
}

/// What a sequence number means, given the highest index so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Estimate {
    /// The likeliest index.
    Index(PacketIndex),
    /// It belongs to a round before the first: ROC -1.
    BeforeFirstRound,
    /// It belongs to a round after the last: the 48 bits have run out.
    AfterLastRound,
}

/// The index of `sequence` that lies closest to `highest` (RFC 3711 section 3.3.1, appendix A).
pub(crate) fn estimate(highest: PacketIndex, sequence: u16) -> Estimate {
    let (roc, known) = (highest.roc(), highest.sequence());
    let round = if known < HALF {
        if sequence.saturating_sub(known) > HALF { roc.checked_sub(1) } else { Some(roc) }
    } else if known - HALF > sequence {
        match roc.checked_add(1) {
            None => return Estimate::AfterLastRound,
            next => next,
        }
    } else {
        Some(roc)
    };
    round.map_or(Estimate::BeforeFirstRound, |roc| Estimate::Index(PacketIndex::new(roc, sequence)))
}

/// Half the sequence space: the distance from which a wrap is likelier than a jump.
const HALF: u16 = 1 << 15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(roc: u32, sequence: u16) -> Estimate {
        Estimate::Index(PacketIndex::new(roc, sequence))
    }

    #[test]
    fn wraps_forward_from_65535_to_0() {
        assert_eq!(estimate(PacketIndex::new(0, 65_535), 0), index(1, 0));
        assert_eq!(estimate(PacketIndex::new(7, 65_530), 3), index(8, 3));
    }

    #[test]
    fn a_late_packet_belongs_to_the_round_before() {
        assert_eq!(estimate(PacketIndex::new(1, 0), 65_535), index(0, 65_535));
        assert_eq!(estimate(PacketIndex::new(8, 3), 65_530), index(7, 65_530));
    }

    #[test]
    fn exactly_half_away_stays_in_the_round() {
        assert_eq!(estimate(PacketIndex::new(5, 0), 32_768), index(5, 32_768));
        assert_eq!(estimate(PacketIndex::new(5, 0), 32_769), index(4, 32_769));
        assert_eq!(estimate(PacketIndex::new(5, 32_768), 0), index(5, 0));
        assert_eq!(estimate(PacketIndex::new(5, 32_769), 0), index(6, 0));
    }

    #[test]
    fn there_is_no_round_before_the_first_or_after_the_last() {
        assert_eq!(estimate(PacketIndex::new(0, 5), 65_530), Estimate::BeforeFirstRound);
        assert_eq!(estimate(PacketIndex::new(u32::MAX, 65_530), 5), Estimate::AfterLastRound);
    }

    proptest! {
        #[test]
        fn is_the_closest_of_the_three_candidates(
            roc in 1..u32::MAX, known: u16, sequence: u16
        ) {
            let highest = PacketIndex::new(roc, known);
            let Estimate::Index(found) = estimate(highest, sequence) else {
                return Err(TestCaseError::fail("an inner round always has an index"));
            };
            let closest = [roc - 1, roc, roc + 1]
                .map(|roc| PacketIndex::new(roc, sequence).value().abs_diff(highest.value()))
                .into_iter()
                .min();
            prop_assert_eq!(Some(found.value().abs_diff(highest.value())), closest);
            prop_assert_eq!(found.sequence(), sequence);
        }

        #[test]
        fn follows_any_walk_of_less_than_half_the_space(
            start: u16, steps in proptest::collection::vec(-30_000i64..30_000, 1..200)
        ) {
            // The truth is a 48-bit walk; the estimator sees only its low 16 bits.
            let mut truth = (1 << 20) + i64::from(start);
            let mut highest = PacketIndex::new((truth >> 16) as u32, truth as u16);
            for step in steps {
                truth = (highest.value() as i64 + step).max(1 << 17);
                let expected = PacketIndex::new((truth >> 16) as u32, truth as u16);
                prop_assert_eq!(estimate(highest, truth as u16), Estimate::Index(expected));
                highest = highest.max(expected);
            }
        }
    }
}
