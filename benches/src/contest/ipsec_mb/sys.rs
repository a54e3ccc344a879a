//! The four functions of `shim.c`, which `build.rs` compiles against the installed
//! intel-ipsec-mb (Debian: `libipsec-mb-dev`).
#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::contest::packets::{BATCH, HEADER_LEN, Packet, ROOM};

/// Keys of one session, the twin of `struct postern_keys`.
#[repr(C)]
pub(super) struct Keys {
    pub(super) cipher: [u8; 32],
    pub(super) auth: [u8; 20],
    pub(super) salt: [u8; 14],
    pub(super) unused: [u8; 6],
}

/// Manager, sessions and jobs of the library.
pub(super) struct Engine {
    engine: NonNull<RawEngine>,
    sessions: usize,
    tag_len: usize,
}

impl Engine {
    /// Sessions with these keys, or `None` if the library does not take this CPU.
    ///
    /// # Panics
    /// If a length is none that the shim knows.
    pub(super) fn new(keys: &[Keys], key_len: usize, tag_len: usize) -> Option<Self> {
        assert!(matches!((key_len, tag_len), (16 | 32, 4 | 10 | 16)), "{key_len} {tag_len}");
        let (count, key_len) = (keys.len() as u64, key_len as u64);
        // SAFETY: `keys` points to `count` structures whose twin in C has the same size (asserted
        // on both sides), and is only read during the call. The lengths were checked above.
        let engine = unsafe { postern_engine_new(keys.as_ptr(), count, key_len, tag_len as u64) };
        Some(Self { engine: NonNull::new(engine)?, sessions: keys.len(), tag_len })
    }

    /// Protects a batch of packets in place; returns how many.
    pub(super) fn protect(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        let raw = self.raw(packets, 0);
        let count = BATCH as u64;
        // SAFETY: the engine is live and exclusively borrowed; `raw` holds `count` packets,
        // which is the shim's batch, and `raw()` checked sessions, lengths and room. The packets behind its
        // pointers are borrowed until the call returns, which keeps none of them.
        let done = unsafe { postern_protect(self.engine.as_ptr(), raw.as_ptr(), count) };
        packets.iter_mut().for_each(|packet| packet.len += self.tag_len);
        done as usize
    }

    /// Opens a batch of packets in place; returns how many, 0 if any tag is wrong.
    pub(super) fn open(&mut self, packets: &mut [Packet; BATCH]) -> usize {
        let raw = self.raw(packets, self.tag_len);
        let count = BATCH as u64;
        // SAFETY: as in `protect`.
        let done = unsafe { postern_open(self.engine.as_ptr(), raw.as_ptr(), count) };
        packets.iter_mut().for_each(|packet| packet.len -= self.tag_len);
        done as usize
    }

    /// The batch as C sees it; `tail` bytes of each packet are its tag.
    fn raw(&self, packets: &mut [Packet; BATCH], tail: usize) -> [RawPacket; BATCH] {
        packets.each_mut().map(|packet| {
            let len = packet.len - tail;
            assert!(packet.session < self.sessions, "no session {}", packet.session);
            // Behind the message the shim writes the tag, or the ROC while it authenticates.
            assert!(HEADER_LEN <= len && len + 16 <= ROOM, "{len} bytes");
            RawPacket {
                len: len as u64,
                session: packet.session as u64,
                index: packet.index,
                ssrc: packet.ssrc(),
                unused: 0,
                bytes: packet.bytes.as_mut_ptr(),
            }
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: the engine came from `postern_engine_new`, and its owner is going away.
        unsafe { postern_engine_free(self.engine.as_ptr()) }
    }
}

/// `struct postern_packet`.
#[repr(C)]
struct RawPacket {
    bytes: *mut u8,
    len: u64,
    session: u64,
    index: u64,
    ssrc: u32,
    unused: u32,
}

/// `struct postern_engine`, opaque.
#[repr(C)]
struct RawEngine {
    _opaque: [u8; 0],
}

const _: () = {
    assert!(size_of::<Keys>() == 72);
    assert!(size_of::<RawPacket>() == 40);
    // The shim's BATCH.
    assert!(BATCH == 32);
    assert!(std::mem::offset_of!(RawPacket, ssrc) == 32);
};

unsafe extern "C" {
    fn postern_engine_new(
        keys: *const Keys,
        count: u64,
        key_len: u64,
        tag_len: u64,
    ) -> *mut RawEngine;
    fn postern_engine_free(engine: *mut RawEngine);
    fn postern_protect(engine: *mut RawEngine, packets: *const RawPacket, count: u64) -> u64;
    fn postern_open(engine: *mut RawEngine, packets: *const RawPacket, count: u64) -> u64;
}
