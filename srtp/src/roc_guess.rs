//! Which round a packet may be in besides the one that its stream's own indexes say.
//!
//! The wire carries 16 bits of an index of 48, so whoever has not heard a stream from its start
//! must be told its ROC or guess it. Two things make a guess worth trying, each once per stream:
//! * somebody knows where the stream stood (a peer that changes its key goes on in its round, or
//!   begins again: the field does both; a standby takes over a call; a late joiner is told);
//! * signalling has spoken and the peer may have begun again under the same key, at ROC 0.
//!
//! A guess is only where to look: nothing opens that does not authenticate there. But a restart
//! may also be somebody's replay of a packet from the first round, and then the stream itself goes
//! on where it was. So for a while its old place is a guess too, for packets after all that was
//! heard there: those nobody but the peer can have. What remains is that packets of earlier rounds
//! open once more: who calls [`crate::Receiver::expect_restarts`] accepts that.
//!
//! The guesses lie outside the receiver's own state, boxed, and are gone once used: the packet
//! path asks one question, whether there are any, and only then whether there is one for this
//! stream. So one that never comes back makes no other stream's packets dear.

use crate::{
    PacketIndex,
    index::{Estimate, estimate},
};

/// The guesses of one receiver, and room to try a packet more than once.
#[derive(Debug)]
pub(crate) struct RocGuesses {
    /// Where streams stood that were not heard here yet.
    stood: Vec<(u32, PacketIndex)>,
    /// Streams that may begin again, and how many more packets they may go on for.
    restarts: Vec<(u32, u16)>,
    /// Where streams stood that have begun again, and for how many more packets they may return.
    left: Vec<(u32, PacketIndex, u16)>,
    /// Opening spoils what it refuses.
    pub(crate) kept: Vec<u8>,
}

/// Another index to try a packet under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guess {
    /// The stream goes on from where it stood elsewhere.
    GoesOn(PacketIndex),
    /// The stream begins again with this packet.
    Restarts(PacketIndex),
    /// The stream had not begun again.
    Returns(PacketIndex),
}

impl RocGuesses {
    /// At most this many streams are kept in mind of each kind; later ones are let go.
    pub(crate) const MOST: usize = 64;

    pub(crate) fn new() -> Self {
        let kept = Vec::with_capacity(USUAL_PACKET);
        Self { stood: Vec::new(), restarts: Vec::new(), left: Vec::new(), kept }
    }

    /// The last packet of `ssrc` that somebody saw was `last`.
    pub(crate) fn stood(&mut self, ssrc: u32, last: PacketIndex) {
        self.stood.retain(|(known, _)| *known != ssrc);
        if self.stood.len() < Self::MOST {
            self.stood.push((ssrc, last));
        }
    }

    /// Where streams stood that have not come yet.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u32, PacketIndex)> {
        self.stood.iter().copied()
    }

    /// `ssrc` was heard here and has since gone on elsewhere, up to `last`.
    pub(crate) fn may_return(&mut self, ssrc: u32, last: PacketIndex) {
        self.left.retain(|(known, ..)| *known != ssrc);
        if self.left.len() < Self::MOST {
            self.left.push((ssrc, last, RESTART_WITHIN));
        }
    }

    /// `ssrc` may begin again.
    pub(crate) fn may_restart(&mut self, ssrc: u32) {
        self.restarts.retain(|(known, _)| *known != ssrc);
        if self.restarts.len() < Self::MOST {
            self.restarts.push((ssrc, RESTART_WITHIN));
        }
    }

    /// Whether there is anything to guess about `ssrc`.
    pub(crate) fn concern(&self, ssrc: u32) -> bool {
        self.stood.iter().any(|(known, _)| *known == ssrc)
            || self.restarts.iter().any(|(known, _)| *known == ssrc)
            || self.left.iter().any(|(known, ..)| *known == ssrc)
    }

    /// What to try for a packet of `ssrc`, whose stream has the highest index `heard` here.
    pub(crate) fn guess(
        &self,
        ssrc: u32,
        heard: Option<PacketIndex>,
        sequence: u16,
    ) -> Option<Guess> {
        let Some(heard) = heard else {
            let (_, last) = self.stood.iter().find(|(known, _)| *known == ssrc)?;
            return match estimate(*last, sequence) {
                Estimate::Index(index) => Some(Guess::GoesOn(index)),
                Estimate::BeforeFirstRound | Estimate::AfterLastRound => None,
            };
        };
        if let Some((_, last, _)) = self.left.iter().find(|(known, ..)| *known == ssrc) {
            return match estimate(*last, sequence) {
                Estimate::Index(index) if index > *last => Some(Guess::Returns(index)),
                _ => None,
            };
        }
        let restarts = heard.roc() > 0 && self.restarts.iter().any(|(known, _)| *known == ssrc);
        restarts.then(|| Guess::Restarts(PacketIndex::new(0, sequence)))
    }

    /// A packet of `ssrc` has opened, under `guess` or without any; `before` was the highest index
    /// until then.
    pub(crate) fn settle(&mut self, ssrc: u32, guess: Option<Guess>, before: Option<PacketIndex>) {
        self.stood.retain(|(known, _)| *known != ssrc);
        let (restarts, returns) =
            (matches!(guess, Some(Guess::Restarts(_))), matches!(guess, Some(Guess::Returns(_))));
        self.restarts.retain_mut(|(known, left)| *known != ssrc || spend(left, restarts));
        self.left.retain_mut(|(known, _, left)| *known != ssrc || spend(left, returns));
        if let (true, Some(before)) = (restarts, before) {
            self.left.push((ssrc, before, RESTART_WITHIN));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stood.is_empty() && self.restarts.is_empty() && self.left.is_empty()
    }
}

/// Takes one packet off, or all; whether any are left.
fn spend(left: &mut u16, all: bool) -> bool {
    *left = if all { 0 } else { left.saturating_sub(1) };
    *left > 0
}

/// Packets after which a stream that could have begun again has not: five seconds of speech.
const RESTART_WITHIN: u16 = 250;
/// Longer than what a network carries in one piece.
const USUAL_PACKET: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    const SSRC: u32 = 7;

    #[test]
    fn a_stream_that_stood_goes_on_once() {
        let mut guesses = RocGuesses::new();
        guesses.stood(SSRC, PacketIndex::new(3, 65_000));
        let over_the_wrap = Some(Guess::GoesOn(PacketIndex::new(4, 10)));
        assert_eq!(guesses.guess(SSRC, None, 10), over_the_wrap);
        assert_eq!(guesses.guess(SSRC + 1, None, 10), None);
        assert_eq!(guesses.guess(SSRC, Some(PacketIndex::new(3, 1)), 10), None);
        guesses.settle(SSRC, over_the_wrap, None);
        assert!(guesses.is_empty());
    }

    #[test]
    fn a_restart_is_a_guess_for_a_while_and_only_after_the_first_round() {
        let mut guesses = RocGuesses::new();
        guesses.may_restart(SSRC);
        assert_eq!(guesses.guess(SSRC, Some(PacketIndex::new(0, 9)), 5), None);
        let heard = Some(PacketIndex::new(2, 9));
        for _ in 0..RESTART_WITHIN {
            let restarts = Some(Guess::Restarts(PacketIndex::new(0, 5)));
            assert_eq!(guesses.guess(SSRC, heard, 5), restarts);
            guesses.settle(SSRC, None, heard);
        }
        assert!(guesses.is_empty());
    }

    #[test]
    fn the_guesses_are_bounded() {
        let mut guesses = RocGuesses::new();
        for ssrc in 0..1_000 {
            guesses.stood(ssrc, PacketIndex::new(1, 1));
            guesses.may_restart(ssrc);
        }
        assert_eq!((guesses.stood.len(), guesses.restarts.len()), (64, 64));
    }
}
