//! The high half of a sequence number, of which only the low half is sent (RFC 4303 appendix A2).

/// The number that `low` stands for, when `highest` is the highest accepted so far and the window
/// has `window` numbers. `None` when it would be below zero or above 64 bits.
///
/// Of the numbers with that low half it is the one in the window, or else the first above it: a
/// window that does not span a multiple of 2^32 is case A, one that does is case B.
pub(super) fn extended(highest: u64, window: u32, low: u32) -> Option<u64> {
    let (high, top) = ((highest >> 32) as u32, highest as u32);
    let bottom = top.wrapping_sub(window - 1);
    let high = if top >= window - 1 {
        if low >= bottom { high } else { high.checked_add(1)? }
    } else if low >= bottom {
        high.checked_sub(1)?
    } else {
        high
    };
    Some(u64::from(high) << 32 | u64::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WRAP: u64 = 1 << 32;

    #[test]
    fn a_wrap_raises_the_high_half_and_a_late_packet_lowers_it() {
        assert_eq!(extended(WRAP - 1, 64, 0), Some(WRAP));
        assert_eq!(extended(WRAP + 5, 64, u32::MAX), Some(WRAP - 1));
        assert_eq!(extended(WRAP + 63, 64, 0), Some(WRAP));
        assert_eq!(extended(WRAP + 63, 64, u32::MAX), Some(2 * WRAP - 1));
    }

    #[test]
    fn there_is_nothing_before_the_first_and_nothing_after_the_last() {
        assert_eq!(extended(0, 64, u32::MAX), None);
        assert_eq!(extended(u64::MAX, 64, 0), None);
    }

    proptest! {
        #[test]
        fn every_number_in_the_window_or_up_to_its_span_above_is_found(
            highest in prop_oneof![0..1u64 << 40, WRAP - 5_000..WRAP + 5_000],
            window in 1u32..=4096,
            offset in prop_oneof![-4096i64..4096, 0..(1i64 << 32) - 4096],
        ) {
            let sequence = highest as i64 + offset;
            prop_assume!(sequence >= 0 && offset > -i64::from(window));
            let sequence = sequence as u64;
            prop_assert_eq!(extended(highest, window, sequence as u32), Some(sequence));
        }
    }
}
