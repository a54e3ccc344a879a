//! The bounded table of one direction's streams, by SSRC.
//!
//! A stream comes into being with its first authenticated (or protected) packet and is never
//! forgotten, because its packets could then be replayed, or its indexes be used again. Few are
//! busy at a time: those have a window. A call of hours may go through many (each announcement and
//! each transfer brings one), so the longest silent retires to make room: of it the highest
//! index remains, above which it may go on. A table that is full of retired streams too refuses.
//! Sessions have one to three SSRCs, so the lookup is a scan.

use crate::{
    PacketIndex, Refusal,
    index::{Estimate, estimate},
    replay::{Stale, Window},
};

/// The streams of one direction and one kind (RTP or RTCP).
#[derive(Debug)]
pub(crate) struct Streams {
    /// The busy ones, heard last first.
    streams: Vec<Stream>,
    retired: Vec<Retired>,
    capacity: usize,
    window_bits: usize,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    window: Window,
}

/// What is left of a stream that made room: 16 bytes.
#[derive(Debug)]
struct Retired {
    ssrc: u32,
    highest: u64,
}

/// Where a packet's stream is, or will be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Known(usize),
    Retired(usize),
    New,
}

/// Most retired streams: 16 KiB. With one new SSRC every ten seconds, three hours of them.
pub(crate) const MAX_RETIRED: usize = 1024;

impl Streams {
    pub(crate) fn new(capacity: usize, window_bits: usize) -> Self {
        let (streams, retired) = (Vec::new(), Vec::new());
        Self { streams, retired, capacity: capacity.max(1), window_bits }
    }

    /// The stream of `ssrc`, or room for it.
    pub(crate) fn slot(&self, ssrc: u32) -> Result<Slot, Refusal> {
        if let Some(at) = self.streams.iter().position(|stream| stream.ssrc == ssrc) {
            return Ok(Slot::Known(at));
        }
        if let Some(at) = self.retired.iter().position(|retired| retired.ssrc == ssrc) {
            return Ok(Slot::Retired(at));
        }
        if self.streams.len() == self.capacity && self.retired.len() == MAX_RETIRED {
            return Err(Refusal::TooManyStreams);
        }
        Ok(Slot::New)
    }

    /// Whether `index` may be used in `slot`; changes nothing.
    pub(crate) fn check(&self, slot: Slot, index: u64) -> Result<(), Stale> {
        match slot {
            Slot::Known(at) => self.streams[at].window.check(index),
            Slot::Retired(at) if index <= self.retired[at].highest => Err(Stale::TooOld),
            Slot::Retired(_) | Slot::New => Ok(()),
        }
    }

    /// The RTP index that `sequence` stands for in `slot`. A stream begins with ROC 0.
    pub(crate) fn estimate(&self, slot: Slot, sequence: u16) -> Estimate {
        let highest = match slot {
            Slot::Known(at) => self.streams[at].window.highest(),
            Slot::Retired(at) => self.retired[at].highest,
            Slot::New => return Estimate::Index(PacketIndex::new(0, sequence)),
        };
        estimate(PacketIndex::new((highest >> 16) as u32, highest as u16), sequence)
    }

    /// Records `index`, which [`Self::check`] allowed, as used, and the stream itself when it is
    /// new. Only a new stream allocates.
    pub(crate) fn mark(&mut self, slot: Slot, ssrc: u32, index: u64) {
        match slot {
            Slot::Known(at) => {
                self.streams[at].window.mark(index);
                if at > 0 {
                    self.streams[..=at].rotate_right(1);
                }
            }
            Slot::Retired(at) => {
                let highest = self.retired.swap_remove(at).highest;
                self.begin(ssrc, index).resume(highest, index);
            }
            Slot::New => _ = self.begin(ssrc, index),
        }
    }

    /// The highest index of `ssrc`, if it has been heard.
    pub(crate) fn highest(&self, ssrc: u32) -> Option<u64> {
        self.all().find(|(known, _)| *known == ssrc).map(|(_, highest)| highest)
    }

    /// Every stream with its highest index.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, u64)> {
        let busy = self.streams.iter().map(|stream| (stream.ssrc, stream.window.highest()));
        busy.chain(self.retired.iter().map(|retired| (retired.ssrc, retired.highest)))
    }

    /// Takes all indexes of `ssrc` up to `highest` for used. Never goes back.
    pub(crate) fn resume(&mut self, ssrc: u32, highest: u64) -> Result<(), Refusal> {
        let slot = self.slot(ssrc)?;
        if self.highest(ssrc).is_none_or(|known| known < highest) {
            self.mark(slot, ssrc, highest);
            self.streams[0].window.resume(highest, highest);
        }
        Ok(())
    }

    /// Lets the stream in `slot` begin again with `index`, which is to be marked next. What it
    /// used before is forgotten.
    pub(crate) fn restart(&mut self, slot: Slot, index: u64) {
        match slot {
            Slot::Known(at) => self.streams[at].window.restart(index),
            Slot::Retired(at) => self.retired[at].highest = index.saturating_sub(1),
            Slot::New => {}
        }
    }

    /// Puts a stream that begins with `index` first; the last retires if there is no room.
    fn begin(&mut self, ssrc: u32, index: u64) -> &mut Window {
        if self.streams.len() < self.capacity {
            self.streams.reserve_exact(1);
            let window = Window::starting_at(index, self.window_bits);
            self.streams.push(Stream { ssrc, window });
        } else if let Some(last) = self.streams.last_mut() {
            self.retired.push(Retired { ssrc: last.ssrc, highest: last.window.highest() });
            last.ssrc = ssrc;
            last.window.restart(index);
        }
        self.streams.rotate_right(1);
        &mut self.streams[0].window
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_index_is_allowed_twice_however_streams_come_and_go(
            steps in proptest::collection::vec((1u32..7, -200i64..200), 1..600)
        ) {
            let mut streams = Streams::new(2, 64);
            let mut used = BTreeSet::new();
            let mut highest = [1_000i64; 7];
            for (ssrc, step) in steps {
                let highest = &mut highest[ssrc as usize];
                let index = (*highest + step).max(0) as u64;
                let slot = streams.slot(ssrc).expect("the table holds six");
                let (active, retired) = (streams.streams.len(), streams.retired.len());
                if streams.check(slot, index).is_ok() {
                    streams.mark(slot, ssrc, index);
                    prop_assert!(used.insert((ssrc, index)), "{ssrc} used {index} before");
                    *highest = (*highest).max(index as i64);
                } else {
                    prop_assert_eq!(active, streams.streams.len());
                    prop_assert_eq!(retired, streams.retired.len());
                }
            }
            let all = streams.streams.iter().map(|stream| stream.ssrc);
            let all: Vec<_> = all.chain(streams.retired.iter().map(|retired| retired.ssrc)).collect();
            let distinct: BTreeSet<_> = all.iter().collect();
            prop_assert_eq!(distinct.len(), all.len(), "a stream twice in the table");
        }
    }
}
