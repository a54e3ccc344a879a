//! The bounded table of one direction's streams, by SSRC.
//!
//! A stream comes into being with its first authenticated (or protected) packet and is never
//! forgotten, because its packets could then be replayed, or its indexes be used again. Those that
//! are busy have a window. A call of hours may go through many (each announcement and each
//! transfer brings one), so where the busy ones have no more room the longest silent retires: of
//! it the highest index remains, above which it may go on. A table that is full of retired streams
//! too refuses.
//!
//! Looking up asks the stream heard last; then, up to sixteen streams, as nearly all sessions
//! have, it searches a list of SSRCs that fills one cache line; beyond that there is an
//! [`SsrcIndex`], so that neither 10,000 streams nor a flood of unknown SSRCs makes packets dear.
//! Nothing here grows for a packet that is refused, or for one of a known stream. When it grows it
//! doubles: a stream takes 145 bytes at 1,024 indexes, and twice that at worst, plus the index.

mod snapshot;

pub(crate) use snapshot::StreamState;

use crate::{
    PacketIndex, Refusal,
    index::{Estimate, estimate},
    recency::Recency,
    replay::{Stale, Windows, double_if_full},
    ssrc_index::{Place, SsrcIndex},
};

/// The streams of one direction and one kind (RTP or RTCP).
#[derive(Debug)]
pub(crate) struct Streams {
    /// The busy ones; a stream has the same place here, in `windows` and in `recency`.
    ssrcs: Vec<u32>,
    windows: Windows,
    recency: Recency,
    retired: Vec<Retired>,
    /// Of all of them, once they are more than [`FEW`].
    index: Option<Box<SsrcIndex>>,
    capacity: usize,
}

/// What is left of a stream that made room: 16 bytes.
#[derive(Debug)]
struct Retired {
    ssrc: u32,
    highest: u64,
}

/// Where a packet's stream is, or will be. Good until the next [`Streams::mark`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Known(usize),
    Retired(usize),
    New,
}

/// Most busy streams, so that a place takes two bytes.
pub(crate) const MAX_BUSY: usize = 1 << 16;
/// Most retired streams: 16 KiB. With one new SSRC every ten seconds, three hours of them.
pub(crate) const MAX_RETIRED: usize = 1024;
/// As many SSRCs as lie in a cache line: comparing them all is as quick as one hash.
const FEW: usize = 16;

impl Streams {
    /// An empty table with windows for up to `capacity` streams (brought into 1 to 65,536).
    pub(crate) fn new(capacity: usize, window_bits: usize) -> Self {
        Self {
            ssrcs: Vec::new(),
            windows: Windows::new(window_bits),
            recency: Recency::default(),
            retired: Vec::new(),
            index: None,
            capacity: capacity.clamp(1, MAX_BUSY),
        }
    }

    /// An empty table like this one.
    pub(crate) fn emptied(&self) -> Self {
        Self::new(self.capacity, self.windows.bits())
    }

    /// How many streams it holds, retired ones included.
    pub(crate) fn most(&self) -> usize {
        self.capacity + MAX_RETIRED
    }

    /// The stream of `ssrc`, or room for it.
    pub(crate) fn slot(&self, ssrc: u32) -> Result<Slot, Refusal> {
        let newest = self.recency.newest();
        if self.ssrcs.get(newest) == Some(&ssrc) {
            return Ok(Slot::Known(newest));
        }
        match self.place(ssrc) {
            Some(Place::Busy(at)) => Ok(Slot::Known(usize::from(at))),
            Some(Place::Retired(at)) => Ok(Slot::Retired(usize::from(at))),
            None if self.is_full() => Err(Refusal::TooManyStreams),
            None => Ok(Slot::New),
        }
    }

    /// Whether `index` may be used in `slot`; changes nothing.
    pub(crate) fn check(&self, slot: Slot, index: u64) -> Result<(), Stale> {
        match slot {
            Slot::Known(at) => self.windows.check(at, index),
            Slot::Retired(at) if index <= self.retired[at].highest => Err(Stale::TooOld),
            Slot::Retired(_) | Slot::New => Ok(()),
        }
    }

    /// The RTP index that `sequence` stands for in `slot`. A stream begins with ROC 0.
    pub(crate) fn estimate(&self, slot: Slot, sequence: u16) -> Estimate {
        let Some(highest) = self.highest_in(slot) else {
            return Estimate::Index(PacketIndex::new(0, sequence));
        };
        estimate(PacketIndex::from_value(highest), sequence)
    }

    /// Records `index`, which [`Self::check`] allowed, as used, and the stream itself when it is
    /// new. Only a new stream allocates.
    pub(crate) fn mark(&mut self, slot: Slot, ssrc: u32, index: u64) {
        match slot {
            Slot::Known(at) => {
                self.windows.mark(at, index);
                self.recency.touch(at);
            }
            Slot::Retired(at) => {
                let highest = self.recall(at);
                let at = self.begin(ssrc, index);
                self.windows.resume(at, highest);
                self.windows.mark(at, index);
            }
            Slot::New => _ = self.begin(ssrc, index),
        }
    }

    /// The highest index of `ssrc`, if it has been heard.
    pub(crate) fn highest(&self, ssrc: u32) -> Option<u64> {
        self.highest_in(self.slot(ssrc).ok()?)
    }

    /// Every stream with its highest index.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, u64)> {
        let busy = self.ssrcs.iter().enumerate();
        let busy = busy.map(|(at, ssrc)| (*ssrc, self.windows.highest(at)));
        busy.chain(self.retired.iter().map(|retired| (retired.ssrc, retired.highest)))
    }

    /// Takes all indexes of `ssrc` up to `highest` for used. Never goes back.
    pub(crate) fn resume(&mut self, ssrc: u32, highest: u64) -> Result<(), Refusal> {
        let slot = self.slot(ssrc)?;
        if self.highest_in(slot).is_none_or(|known| known < highest) {
            self.mark(slot, ssrc, highest);
            self.windows.resume(self.recency.newest(), highest);
        }
        Ok(())
    }

    /// Lets the stream in `slot` begin again with `index`, which is to be marked next. What it
    /// used before is forgotten.
    pub(crate) fn restart(&mut self, slot: Slot, index: u64) {
        match slot {
            Slot::Known(at) => self.windows.restart(at, index),
            Slot::Retired(at) => self.retired[at].highest = index.saturating_sub(1),
            Slot::New => {}
        }
    }

    fn place(&self, ssrc: u32) -> Option<Place> {
        if let Some(index) = &self.index {
            return index.place(ssrc);
        }
        self.places().find(|(known, _)| *known == ssrc).map(|(_, place)| place)
    }

    fn places(&self) -> impl Iterator<Item = (u32, Place)> {
        let busy = self.ssrcs.iter().zip(0..).map(|(ssrc, at)| (*ssrc, Place::Busy(at)));
        let retired = self.retired.iter().zip(0..);
        busy.chain(retired.map(|(retired, at)| (retired.ssrc, Place::Retired(at))))
    }

    fn is_full(&self) -> bool {
        self.ssrcs.len() == self.capacity && self.retired.len() == MAX_RETIRED
    }

    fn highest_in(&self, slot: Slot) -> Option<u64> {
        match slot {
            Slot::Known(at) => Some(self.windows.highest(at)),
            Slot::Retired(at) => Some(self.retired[at].highest),
            Slot::New => None,
        }
    }

    /// Puts a stream that begins with `index` first, and says where; the longest silent retires
    /// if there is no room.
    fn begin(&mut self, ssrc: u32, index: u64) -> usize {
        let mut at = self.ssrcs.len();
        if at < self.capacity {
            double_if_full(&mut self.ssrcs, 1);
            self.ssrcs.push(ssrc);
            self.windows.push(index);
            self.recency.push();
        } else {
            at = self.recency.oldest();
            let silent = std::mem::replace(&mut self.ssrcs[at], ssrc);
            self.retire(silent, self.windows.highest(at));
            self.windows.restart(at, index);
            self.recency.touch(at);
        }
        self.found(ssrc, Place::Busy(at as u16));
        at
    }

    fn retire(&mut self, ssrc: u32, highest: u64) {
        let at = self.retired.len() as u16;
        double_if_full(&mut self.retired, 1);
        self.retired.push(Retired { ssrc, highest });
        self.found(ssrc, Place::Retired(at));
    }

    /// Takes the stream at `at` out of the retired ones, and says how far it was.
    fn recall(&mut self, at: usize) -> u64 {
        let highest = self.retired.swap_remove(at).highest;
        if let Some(moved) = self.retired.get(at) {
            self.found(moved.ssrc, Place::Retired(at as u16));
        }
        highest
    }

    /// Sees to it that `ssrc`, which has come to `place`, is found there.
    fn found(&mut self, ssrc: u32, place: Place) {
        if let Some(index) = &mut self.index {
            index.put(ssrc, place);
        } else if self.ssrcs.len() + self.retired.len() > FEW {
            let mut index = Box::new(SsrcIndex::new());
            self.places().for_each(|(ssrc, place)| index.put(ssrc, place));
            self.index = Some(index);
        }
    }
}

#[cfg(test)]
mod tests;
