//! What a packet is taken for until its tag has told.

use crate::{
    streams::Slot,
    transform::{Cipher, OpenJob, PacketId, Trailer},
};

/// A packet that may be genuine: its tag will tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(super) id: PacketId,
    pub(super) slot: Slot,
    pub(super) header_len: usize,
    /// Of the CSRCs, if they are encrypted.
    pub(super) csrc_len: usize,
    /// Of the packet without its trailer.
    pub(super) len: usize,
    pub(super) key: KeyAt,
}

/// Which key of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyAt {
    Current,
    Other(usize),
}

impl Candidate {
    pub(super) fn job<'a>(
        &self,
        cipher: &'a Cipher,
        at: &Trailer,
        packet: &'a mut [u8],
    ) -> OpenJob<'a> {
        let (message, trailer) = packet.split_at_mut(self.len);
        let tag = &trailer[at.tag..][..at.tag_len];
        let (header_len, csrc_len) = (self.header_len, self.csrc_len);
        OpenJob { cipher, id: self.id, message, header_len, csrc_len, tag, outcome: Ok(()) }
    }

    /// Whether this packet could be another candidate once `earlier`, of the same receiver, has
    /// been opened: keys change places, and a stream's first packets decide its ROC. Two packets
    /// of a stream that lie close are estimated alike before and after each other.
    pub(crate) fn depends_on(&self, earlier: &Self) -> bool {
        let key_moves = self.key != KeyAt::Current || earlier.key != KeyAt::Current;
        let same_stream = self.id.ssrc == earlier.id.ssrc;
        let apart = self.id.index.abs_diff(earlier.id.index) >= CLOSE;
        key_moves || same_stream && (apart || matches!(self.slot, Slot::New))
    }
}

/// Well within half the sequence space.
const CLOSE: u64 = 1 << 14;
