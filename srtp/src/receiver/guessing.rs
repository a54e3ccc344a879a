//! Receiving where a stream may be in another round than its own indexes say.
//!
//! What [`super::Receiver`] does beside its straight path: it is told what to expect, and tries a
//! packet that fails once more where [`crate::roc_guess`] says. The packet's bytes are kept
//! meanwhile, because opening spoils what it refuses.

use super::Receiver;
use crate::{
    Opened, PacketIndex, Refusal,
    roc_guess::{Guess, RocGuesses},
    rtp,
};

impl Receiver {
    /// Goes on with stream `ssrc` above `last`, as if all its packets up to that one had been
    /// received here: somebody else has, under this key. Never goes back. Of SRTCP it says
    /// nothing: where a whole session is taken over, [`Self::restore_state`] does.
    pub fn resume(&mut self, ssrc: u32, last: PacketIndex) -> Result<(), Refusal> {
        self.rtp.resume(ssrc, last.value())
    }

    /// The last packet of `ssrc` that somebody else saw was `last`: if this receiver has not heard
    /// the stream, its first packet may go on from there instead of beginning with ROC 0. Up to
    /// 64 streams are kept in mind.
    ///
    /// For a new key. Under one that was in use, packets recorded before could still be the first:
    /// there [`Self::resume`] is right.
    pub fn expect(&mut self, ssrc: u32, last: PacketIndex) {
        self.guesses_mut().stood(ssrc, last);
    }

    /// The same where only the ROC is known: the first packet of `ssrc` may be in round `roc`.
    pub fn expect_roc(&mut self, ssrc: u32, roc: u32) {
        // From the middle of a round every sequence number is nearest in the same round.
        self.expect(ssrc, PacketIndex::new(roc, 1 << 15));
    }

    /// Signalling has spoken: for its next 250 packets, each stream beyond its first round may
    /// begin again at ROC 0 under the same key, as some peers do after a re-INVITE (RFC 3711 does
    /// not allow it: they encrypt with keystream that they have used). Once per call of this.
    ///
    /// The price: somebody who recorded the stream's first round can have packets of it opened
    /// again, until the stream's own next one. That does not silence the stream: if it goes on where
    /// it was, the next 250 packets take it back, and there is no second chance. But a stream that
    /// did begin again could be followed by packets of its earlier rounds when it comes to those.
    pub fn expect_restarts(&mut self) {
        let mut guesses = self.guesses.take();
        for (ssrc, _) in self.streams().filter(|(_, highest)| highest.roc() > 0) {
            guesses.get_or_insert_with(|| Box::new(RocGuesses::new())).may_restart(ssrc);
        }
        self.guesses = guesses;
    }

    /// Whether `packet` may need a guess: a stream that never comes
    /// must not make the others dear. Without a tag nothing would say whether a guess is right.
    #[cold]
    pub(super) fn may_guess(&self, packet: &[u8]) -> bool {
        let Some(guesses) = &self.guesses else { return false };
        let ssrc = packet.get(8..).and_then(<[u8]>::first_chunk).copied().map(u32::from_be_bytes);
        self.rtp_trailer.tag_len > 0 && ssrc.is_some_and(|ssrc| guesses.concern(ssrc))
    }

    /// [`Self::open_rtp`] where some stream may be elsewhere than its indexes say.
    #[cold]
    pub(super) fn open_guessing(&mut self, packet: &mut [u8]) -> Result<Opened, Refusal> {
        let Some(mut guesses) = self.guesses.take() else { return self.open_as_estimated(packet) };
        guesses.kept.clear();
        guesses.kept.extend_from_slice(packet);
        let (mut opened, mut guessed) = (self.open_as_estimated(packet), None);
        let mut before = None;
        if opened.is_err() {
            (guessed, before) = self.guess(&guesses).unzip();
            if let Some(guess) = guessed {
                packet.copy_from_slice(&guesses.kept);
                opened = self.open_as_guessed(guess, packet).or(opened);
            }
        }
        if let Ok(opened) = opened {
            guesses.settle(opened.ssrc, guessed, before.flatten());
        }
        self.guesses = Some(guesses).filter(|guesses| !guesses.is_empty());
        opened
    }

    pub(super) fn guesses_mut(&mut self) -> &mut RocGuesses {
        self.guesses.get_or_insert_with(|| Box::new(RocGuesses::new()))
    }

    /// A guess, and the highest index heard so far.
    fn guess(&self, guesses: &RocGuesses) -> Option<(Guess, Option<PacketIndex>)> {
        let (message, _) = self.split(&guesses.kept, self.rtp_trailer, rtp::FIXED_LEN).ok()?;
        let header = rtp::Header::new_checked(message).ok()?;
        let heard = self.highest(header.ssrc());
        Some((guesses.guess(header.ssrc(), heard, header.sequence())?, heard))
    }

    fn open_as_guessed(&mut self, guess: Guess, packet: &mut [u8]) -> Result<Opened, Refusal> {
        let (Guess::GoesOn(index) | Guess::Restarts(index) | Guess::Returns(index)) = guess;
        let mut candidate = self.candidate(packet, |_, _| Ok(index))?;
        self.decrypt(&candidate, packet)?;
        match guess {
            Guess::GoesOn(_) => {}
            Guess::Restarts(index) => self.rtp.restart(candidate.slot, index.value()),
            // What was heard before it is not known any more: it all counts as used.
            Guess::Returns(index) => {
                self.rtp.resume(candidate.id.ssrc, index.value())?;
                candidate.slot = self.rtp.slot(candidate.id.ssrc)?;
            }
        }
        Ok(self.accept(candidate))
    }
}
