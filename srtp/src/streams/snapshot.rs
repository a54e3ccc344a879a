//! A table's streams as values, for somebody who takes a session over.
//!
//! What leaves here names no place and no ring, so that the taker may have another policy; sealing
//! and writing it down are for whoever carries it. It is not secret, but its integrity is that of
//! the session: a window set back lets replays in and, sending, uses nonces twice. So nothing is
//! imported over a stream that is known.

use thiserror::Error;

use super::{MAX_RETIRED, Slot, Streams};
use crate::{NotRestored, PacketIndex};

/// One stream: what it takes to go on with it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamState {
    pub(crate) ssrc: u32,
    /// The highest index used; its upper 32 of 48 bits are the ROC.
    pub(crate) highest: u64,
    /// Bit `n mod 64` of word `n / 64` says whether `highest - n` is used; further back everything
    /// is. Without words the stream is retired.
    pub(crate) history: Vec<u64>,
}

/// Why a stream was not imported.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum NotImported {
    /// The table has the stream already.
    #[error("the stream is known already")]
    Known,
    /// The table is full.
    #[error("too many SSRCs")]
    TooManyStreams,
    /// The highest index has more than 48 bits.
    #[error("the index has more than 48 bits")]
    IndexTooHigh,
}

impl Streams {
    /// Every stream: the retired ones, then the busy ones, the longest silent first. Imported in
    /// this order they will retire in the same order.
    pub(crate) fn export(&self) -> impl Iterator<Item = StreamState> {
        let retired = self.retired.iter().map(|retired| (retired.ssrc, retired.highest));
        let retired =
            retired.map(|(ssrc, highest)| StreamState { ssrc, highest, history: Vec::new() });
        retired.chain(self.recency.oldest_first().map(|at| StreamState {
            ssrc: self.ssrcs[at],
            highest: self.windows.highest(at),
            history: self.windows.history(at),
        }))
    }

    /// A table like this one, empty as it is, with these streams.
    pub(crate) fn imported(&self, states: &[StreamState]) -> Result<Self, NotRestored> {
        let mut streams = self.emptied();
        for state in states {
            streams.import(state).map_err(|why| match why {
                NotImported::TooManyStreams => {
                    NotRestored::TooManyStreams { got: states.len(), most: self.most() }
                }
                NotImported::Known | NotImported::IndexTooHigh => NotRestored::BrokenSeal,
            })?;
        }
        Ok(streams)
    }

    /// Takes over a stream whose packets may come here too. Of one that is known already all
    /// indexes up to the higher of both count as used. For one without room nothing is to be
    /// done: its packets are refused.
    pub(crate) fn absorb(&mut self, state: &StreamState) {
        if self.import(state) != Err(NotImported::Known) {
            return;
        }
        if let Ok(slot) = self.slot(state.ssrc) {
            let highest = self.highest_in(slot).map_or(state.highest, |it| it.max(state.highest));
            self.mark(slot, state.ssrc, highest);
            self.windows.resume(self.recency.newest(), highest);
        }
    }

    /// Takes over a stream that is not known yet. What its history does not tell, because its
    /// window was smaller, counts as used.
    pub(crate) fn import(&mut self, state: &StreamState) -> Result<(), NotImported> {
        if state.highest >= PacketIndex::COUNT {
            return Err(NotImported::IndexTooHigh);
        }
        match self.slot(state.ssrc) {
            Ok(Slot::New) => {}
            Ok(Slot::Known(_) | Slot::Retired(_)) => return Err(NotImported::Known),
            Err(_) => return Err(NotImported::TooManyStreams),
        }
        if !state.history.is_empty() {
            let at = self.begin(state.ssrc, state.highest);
            self.windows.restore(at, state.highest, &state.history);
        } else if self.retired.len() < MAX_RETIRED {
            self.retire(state.ssrc, state.highest);
        } else {
            return Err(NotImported::TooManyStreams);
        }
        Ok(())
    }
}
