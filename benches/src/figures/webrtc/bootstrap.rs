//! How far a ratio of medians can be trusted: bootstrap over pairs.

use serde::Serialize;

use crate::report::Quartiles;

/// One median over another, from pairs that were measured side by side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Ratio {
    /// Of the medians.
    pub(super) ratio: f64,
    /// The true ratio lies below with 95 % confidence: the 95th percentile of what the pairs give
    /// when they are drawn again, with replacement.
    pub(super) bound: f64,
}

impl Ratio {
    /// Of at least one pair (numerator, denominator). The same pairs always have the same bound.
    pub(super) fn of(pairs: &[(f64, f64)]) -> Self {
        let mut random = SplitMix64(0x5EED);
        let mut drawn = vec![(0.0, 0.0); pairs.len()];
        let mut ratios: Vec<f64> = (0..DRAWS)
            .map(|_| {
                drawn.fill_with(|| pairs[random.below(pairs.len())]);
                ratio_of_medians(&drawn)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        Self { ratio: ratio_of_medians(pairs), bound: ratios[DRAWS * 95 / 100] }
    }
}

fn ratio_of_medians(pairs: &[(f64, f64)]) -> f64 {
    let (above, below): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    Quartiles::of(&above).median / Quartiles::of(&below).median
}

/// Steele, Lea and Flood's generator: as good as this needs, and the same on every machine.
struct SplitMix64(u64);

impl SplitMix64 {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        // The high half of the product: no bias that would matter below 2^32.
        ((u128::from(word) * bound as u128) >> 64) as usize
    }
}

/// The bound's own noise is then below one in a hundred of the spread.
const DRAWS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_without_spread_leave_no_doubt() {
        assert_eq!(Ratio::of(&[(3.0, 2.0); 9]), Ratio { ratio: 1.5, bound: 1.5 });
    }

    #[test]
    fn the_bound_lies_above_the_ratio_and_below_the_worst_that_can_be_drawn() {
        let pairs: Vec<_> = (0..9).map(|n| (10.0 + f64::from(n), 12.0)).collect();
        let Ratio { ratio, bound } = Ratio::of(&pairs);
        assert_eq!(ratio, 14.0 / 12.0);
        assert!(ratio < bound && bound < 18.0 / 12.0, "{bound}");
        assert_eq!(Ratio::of(&pairs).bound, bound, "the same pairs, the same bound");
    }

    #[test]
    fn one_outlier_among_nine_does_not_move_the_ratio_and_hardly_the_bound() {
        let mut pairs = vec![(10.0, 10.0); 9];
        pairs[4].0 = 1_000.0;
        assert_eq!(Ratio::of(&pairs), Ratio { ratio: 1.0, bound: 1.0 });
    }

    #[test]
    fn draws_reach_every_pair_about_equally() {
        let mut random = SplitMix64(1);
        let mut counts = [0_u32; 9];
        (0..9_000).for_each(|_| counts[random.below(9)] += 1);
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }
}
