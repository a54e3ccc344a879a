//! Sequence numbers of one source as RFC 3550 appendix A.1 reads them, and the offset under
//! which a source that restarts its sequence goes on.
//!
//! Protection never uses an index twice, so a plain source that starts over (music on hold, a
//! re-INVITE that keeps key and SSRC) would stall until it passed its old sequence. [`Offset`]
//! moves its numbers on instead: what leaves us only ever grows. Timestamps stay as they are;
//! another SSRC is another source. The receiver's feedback speaks of our numbers and is mapped
//! back ([`Offset::source_extended`], [`Offset::source_sequence`]).
//!
//! A jump alone is not a restart: A.1 wants two packets in a row. The first of them still goes
//! out, under the next free number, so a restart loses nothing and a stray costs one number.

/// Furthest forward step that is loss, not a restart (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3000;
/// Furthest backward step that is reordering, not a restart (RFC 3550 A.1), kept within `seen`.
const MAX_MISORDER: u16 = 100;

/// What a sequence number means, given those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The first of its source.
    First,
    /// Further on.
    Advance,
    /// Late, not seen before.
    Reordered,
    /// Seen before.
    Duplicate,
    /// Out of every range; the next packet tells what it was.
    Stray,
    /// The source has started over, here.
    Restart,
}

/// The receiving state of one source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tracker {
    /// `cycles << 16 | highest sequence`, of the current run.
    extended: u32,
    /// Bit n: `highest - n` was seen.
    seen: u128,
    /// The number after the last stray or duplicate: coming next, it proves a restart.
    suspect: Option<u16>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Fresh,
    Running,
    /// Signalling spoke: within so many packets a jump needs no second one to be believed.
    RestartLikely {
        packets: u8,
    },
}

/// Packets after signalling within which a restart is likely: what was on its way, and five
/// seconds of 20 ms audio for the party to act on it.
const RESTART_LIKELY: u8 = 250;
/// A repeat no further behind than this is the network's even then.
const NETWORK_REPEAT: u16 = 8;

impl Tracker {
    /// Takes the next sequence number.
    pub(super) fn step(&mut self, sequence: u16) -> Step {
        let likely = match self.phase {
            Phase::Fresh => {
                self.restart(sequence);
                return Step::First;
            }
            Phase::RestartLikely { packets: packets @ 1.. } => {
                self.phase = Phase::RestartLikely { packets: packets - 1 };
                true
            }
            Phase::Running | Phase::RestartLikely { packets: 0 } => false,
        };
        let ahead = sequence.wrapping_sub(self.highest());
        let behind = self.highest().wrapping_sub(sequence);
        if (1..=MAX_DROPOUT).contains(&ahead) {
            self.advance(ahead);
            return Step::Advance;
        }
        let bit = 1_u128.checked_shl(u32::from(behind)).unwrap_or(0);
        if behind < MAX_MISORDER && self.seen & bit == 0 {
            self.seen |= bit;
            return Step::Reordered;
        }
        // Impossible twice in a row, or soon after signalling: the source has started over.
        if self.suspect == Some(sequence) || (likely && behind > NETWORK_REPEAT) {
            self.restart(sequence);
            return Step::Restart;
        }
        self.suspect = Some(sequence.wrapping_add(1));
        if behind < MAX_MISORDER { Step::Duplicate } else { Step::Stray }
    }

    /// Signalling spoke: for a while a jump needs no second one to be believed.
    pub(super) fn expect_restart(&mut self) {
        if self.phase != Phase::Fresh {
            self.phase = Phase::RestartLikely { packets: RESTART_LIKELY };
        }
    }

    /// `cycles << 16 | highest sequence` of the current run.
    pub(super) fn extended(&self) -> u32 {
        self.extended
    }

    /// The highest sequence number.
    pub(super) fn highest(&self) -> u16 {
        self.extended as u16
    }

    fn advance(&mut self, ahead: u16) {
        self.extended = self.extended.wrapping_add(u32::from(ahead));
        self.seen = self.seen.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
        self.suspect = None;
    }

    fn restart(&mut self, sequence: u16) {
        self.extended = u32::from(sequence);
        self.phase = Phase::Running;
        // What lies before the start counts as seen: late packets of the old run are not new.
        self.seen = u128::MAX;
        self.suspect = None;
    }
}

/// One outgoing source's numbers: what the sender wrote plus an offset.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offset {
    tracker: Tracker,
    /// Number sent minus number received, modulo 2^16.
    offset: u16,
    /// Extended number received with which the current run began.
    since: u32,
    /// The last number taken for a stray.
    stray: Option<u16>,
}

impl Offset {
    /// The number under which `sequence` leaves.
    pub(super) fn next(&mut self, sequence: u16) -> u16 {
        let next_free = self.tracker.highest().wrapping_add(self.offset).wrapping_add(1);
        match self.tracker.step(sequence) {
            Step::First => self.since = u32::from(sequence),
            Step::Advance | Step::Reordered | Step::Duplicate => {}
            Step::Stray => {
                // It spends a number; the run it interrupted goes on after that.
                self.offset = self.offset.wrapping_add(1);
                self.stray = Some(sequence);
                return next_free;
            }
            Step::Restart => {
                self.offset = next_free.wrapping_sub(sequence);
                // The stray before it was the first of the run, sent under the number before.
                let after_stray = self.stray == Some(sequence.wrapping_sub(1));
                self.since = u32::from(sequence).wrapping_sub(u32::from(after_stray));
            }
        }
        sequence.wrapping_add(self.offset)
    }

    /// Signalling spoke: see [`Tracker::expect_restart`].
    pub(super) fn expect_restart(&mut self) {
        self.tracker.expect_restart();
    }

    /// Numbers leave as they came: feedback about this source needs no mapping.
    pub(super) fn is_zero(&self) -> bool {
        self.offset == 0
    }

    /// The extended highest sequence number of a report block (RFC 3550 section 6.4.1) in the
    /// source's own numbers. Cycles are the source's, not the receiver's, who may have begun to
    /// count later; a report about what came before a restart says "only the first yet".
    pub(super) fn source_extended(&self, reported: u32) -> u32 {
        let sequence = self.source_sequence(reported as u16);
        let behind = u32::from(self.tracker.highest().wrapping_sub(sequence));
        let run = self.tracker.extended().wrapping_sub(self.since);
        if behind <= run { self.tracker.extended().wrapping_sub(behind) } else { self.since }
    }

    /// A packet id of a generic NACK (RFC 4585 section 6.2.1) in the source's own numbers.
    pub(super) fn source_sequence(&self, reported: u16) -> u16 {
        reported.wrapping_sub(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(numbers: impl IntoIterator<Item = u16>) -> Vec<u16> {
        let mut offset = Offset::default();
        numbers.into_iter().map(|number| offset.next(number)).collect()
    }

    #[test]
    fn an_ordinary_source_keeps_its_numbers_over_a_wrap() {
        let numbers: Vec<u16> = (65_000..=65_535).chain(0..500).collect();
        assert_eq!(sent(numbers.clone()), numbers);
    }

    #[test]
    fn loss_and_reordering_keep_their_numbers() {
        let numbers = [10, 11, 14, 12, 13, 2900, 2899, 2901];
        assert_eq!(sent(numbers), numbers);
    }

    #[test]
    fn a_restart_goes_on_without_a_gap() {
        assert_eq!(sent([40_000, 40_001, 7, 8, 9]), [40_000, 40_001, 40_002, 40_003, 40_004]);
    }

    #[test]
    fn a_restart_close_behind_goes_on_after_two_packets() {
        let first_run = 1..=50;
        let out = sent(first_run.chain(1..=50));
        assert_eq!(out[50], 1, "may be a duplicate still");
        assert_eq!(out[51..], (51..=99).collect::<Vec<u16>>());
    }

    #[test]
    fn a_restart_close_behind_goes_on_at_once_after_signalling() {
        let mut offset = Offset::default();
        for number in 1..=40 {
            offset.next(number);
        }
        offset.expect_restart();
        for number in 41..=50 {
            assert_eq!(offset.next(number), number, "sent before the party had the answer");
        }
        assert_eq!(offset.next(1), 51);
        assert_eq!(offset.next(2), 52);
    }

    #[test]
    fn signalling_alone_moves_nothing() {
        let mut offset = Offset::default();
        for number in 100..150 {
            offset.next(number);
            offset.expect_restart();
        }
        assert_eq!(offset.next(149), 149, "a duplicate");
        assert_eq!(offset.next(150), 150);
        assert!(offset.is_zero());
    }

    #[test]
    fn one_stray_costs_one_number_and_reuses_none() {
        assert_eq!(sent([100, 101, 30_000, 102, 103]), [100, 101, 102, 103, 104]);
    }

    #[test]
    fn network_duplicates_do_not_look_like_a_restart() {
        assert_eq!(sent([5, 5, 6, 6, 7, 7, 8]), [5, 5, 6, 6, 7, 7, 8]);
    }

    #[test]
    fn a_late_burst_does_not_look_like_a_restart() {
        assert_eq!(sent([1, 2, 3, 7, 8, 9, 4, 5, 6, 10]), [1, 2, 3, 7, 8, 9, 4, 5, 6, 10]);
    }

    #[test]
    fn numbers_sent_grow_over_repeated_restarts() {
        let mut offset = Offset::default();
        let mut extended = 0_u32;
        let mut last = offset.next(60_000);
        for _ in 0..10 {
            for number in 1_000..15_000 {
                let out = offset.next(number);
                assert_eq!(out.wrapping_sub(last), 1);
                last = out;
                extended += 1;
            }
        }
        assert_eq!(extended, 140_000);
    }

    #[test]
    fn feedback_is_mapped_back_into_the_sources_numbers() {
        let mut offset = Offset::default();
        for number in 65_000..=65_535 {
            offset.next(number);
        }
        for number in 20_500..20_600 {
            offset.next(number);
        }
        // Our numbers went 65535 -> 65536 (cycle 1, sequence 0) for the source's 20500.
        assert_eq!(offset.source_extended(0x1_0000), 20_500);
        assert_eq!(offset.source_extended(0x1_0000 + 99), 20_599);
        assert_eq!(offset.source_sequence(3), 20_503);
        assert_eq!(offset.source_extended(65_535), 20_500, "before the restart: the first only");
    }
}
