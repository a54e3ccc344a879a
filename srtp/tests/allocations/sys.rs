//! An allocator that counts, per thread, what the thread asks of the system's, and looks for a
//! secret in what it gives back.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system allocator, with a count of calls and of bytes held.
pub(crate) struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
    static SECRET: Cell<Option<[u8; 16]>> = const { Cell::new(None) };
    static LEAKS: Cell<usize> = const { Cell::new(0) };
}

/// How often `work` allocated, and how many more bytes are held after it than before.
pub(crate) fn count<T>(work: impl FnOnce() -> T) -> (usize, isize, T) {
    let (calls, held) = (CALLS.get(), HELD.get());
    let result = work();
    (CALLS.get() - calls, HELD.get() - held, result)
}

/// How many blocks of memory that held `secret` were freed during `work`.
pub(crate) fn leaks<T>(secret: [u8; 16], work: impl FnOnce() -> T) -> usize {
    LEAKS.set(0);
    SECRET.set(Some(secret));
    drop(work());
    SECRET.set(None);
    LEAKS.get()
}

fn look_for_secret(memory: *const u8, len: usize) {
    let Some(secret) = SECRET.get() else { return };
    let mut found = 0;
    for at in 0..len {
        // SAFETY: the block at `memory` has `len` bytes and is not given back yet; it was zeroed
        // when it was allocated. Volatile, so that padding is taken as it lies there.
        let byte = unsafe { memory.wrapping_add(at).read_volatile() };
        found = if byte == secret[found] { found + 1 } else { usize::from(byte == secret[0]) };
        if found == secret.len() {
            return LEAKS.set(LEAKS.get() + 1);
        }
    }
}

fn record(calls: usize, bytes: isize) {
    CALLS.set(CALLS.get() + calls);
    HELD.set(HELD.get() + bytes);
}

// SAFETY: every call is passed on to `System`, which meets the trait's contract; counting
// touches two const-initialized thread-locals without destructors and so never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        record(1, layout.size() as isize);
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        record(0, -(layout.size() as isize));
        look_for_secret(memory, layout.size());
        // SAFETY: `memory` came from `System` through us, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}
