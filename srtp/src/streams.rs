//! The bounded table of one direction's streams, by SSRC.
//!
//! A stream comes into being with its first authenticated (or protected) packet and stays: none
//! is evicted, because forgetting a stream would let its packets be replayed, or its indexes be
//! used again. A table that is full refuses. Sessions have one to three SSRCs, so the lookup is
//! a scan.

use crate::{
    PacketIndex, Refusal,
    index::{Estimate, estimate},
    replay::Window,
};

/// The streams of one direction and one kind (RTP or RTCP).
#[derive(Debug)]
pub(crate) struct Streams {
    streams: Vec<Stream>,
    capacity: usize,
    window_bits: usize,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    window: Window,
}

/// Where a packet's stream is, or will be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Known(usize),
    New,
}

impl Streams {
    pub(crate) fn new(capacity: usize, window_bits: usize) -> Self {
        Self { streams: Vec::new(), capacity: capacity.max(1), window_bits }
    }

    /// The stream of `ssrc`, or room for it.
    pub(crate) fn slot(&self, ssrc: u32) -> Result<Slot, Refusal> {
        match self.streams.iter().position(|stream| stream.ssrc == ssrc) {
            Some(at) => Ok(Slot::Known(at)),
            None if self.streams.len() < self.capacity => Ok(Slot::New),
            None => Err(Refusal::TooManyStreams),
        }
    }

    /// What is known of the indexes in `slot`; nothing when it is new.
    pub(crate) fn window(&self, slot: Slot) -> Option<&Window> {
        match slot {
            Slot::Known(at) => Some(&self.streams[at].window),
            Slot::New => None,
        }
    }

    /// The RTP index that `sequence` stands for in `slot`. A stream begins with ROC 0.
    pub(crate) fn estimate(&self, slot: Slot, sequence: u16) -> Estimate {
        match self.window(slot) {
            None => Estimate::Index(PacketIndex::new(0, sequence)),
            Some(window) => {
                let highest = window.highest();
                estimate(PacketIndex::new((highest >> 16) as u32, highest as u16), sequence)
            }
        }
    }

    /// Records `index` as used, and the stream itself when it is new. Only a new stream allocates.
    pub(crate) fn mark(&mut self, slot: Slot, ssrc: u32, index: u64) {
        match slot {
            Slot::Known(at) => self.streams[at].window.mark(index),
            Slot::New => {
                self.streams.reserve_exact(1);
                let window = Window::starting_at(index, self.window_bits);
                self.streams.push(Stream { ssrc, window });
            }
        }
    }
}
