//! The buffers that the streams of one thread share.
//!
//! A stream is idle most of its life, so that a buffer of its own would be memory for nothing: a
//! record is read into, opened in and written from the thread's `Scratch`. What must outlive one
//! call, the front of a record or what the socket would not take, goes into a buffer of the stream
//! that comes from here and comes back when it is empty. Nothing here is secret for longer than a
//! call, and nothing is wiped: it is the same data that goes on in the clear.

use crate::record::MAX_GATHERED;

/// Buffers for one thread.
pub struct Scratch {
    /// Records as they come, opened in place.
    pub(crate) incoming: Box<[u8]>,
    /// Their data, one behind the other.
    pub(crate) plain: Box<[u8]>,
    /// Records to be sent.
    pub(crate) outgoing: Box<[u8]>,
    pub(crate) spare: Spare,
}

impl Scratch {
    /// Allocates them: about 350 KiB.
    pub fn new() -> Self {
        Self {
            incoming: vec![0; INCOMING].into(),
            plain: vec![0; INCOMING].into(),
            outgoing: vec![0; OUTGOING].into(),
            spare: Spare::default(),
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("spare", &self.spare.0.len()).finish_non_exhaustive()
    }
}

/// Emptied buffers of streams, so that a busy stream does not allocate for each read or write.
#[derive(Default)]
pub(crate) struct Spare(Vec<Vec<u8>>);

impl Spare {
    /// Makes `buffer` hold exactly `bytes`, in place of what it held.
    pub(crate) fn keep(&mut self, bytes: &[u8], buffer: &mut Vec<u8>) {
        if bytes.is_empty() {
            self.put_back(buffer);
            return;
        }
        if buffer.capacity() == 0 {
            *buffer = self.0.pop().unwrap_or_default();
        }
        buffer.clear();
        buffer.extend_from_slice(bytes);
    }

    /// Takes the memory of an emptied buffer.
    pub(crate) fn put_back(&mut self, buffer: &mut Vec<u8>) {
        let mut buffer = std::mem::take(buffer);
        if buffer.capacity() > 0 && self.0.len() < MAX_SPARE {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// Data taken by one write: four of the largest records.
pub(crate) const MAX_WRITE: usize = 64 << 10;

/// Bytes asked of the socket at once: as many.
pub(crate) const READ_AHEAD: usize = 64 << 10;

/// What a stream may hold back, and a read on top.
const INCOMING: usize = MAX_GATHERED + READ_AHEAD;

/// A write, and for each 256 bytes of it a record's header, nonce and tag: smaller records are
/// written in smaller writes.
const OUTGOING: usize = MAX_WRITE + (MAX_WRITE / 256) * 32 + 1024;

/// A few at a time are in use even where thousands of streams are busy: only those that were
/// interrupted in the middle of a record.
const MAX_SPARE: usize = 8;
