//! An allocator that counts, per thread, what the thread asks of the system's.
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
}

/// How often `work` allocated, and how many more bytes are held after it than before.
pub(crate) fn count<T>(work: impl FnOnce() -> T) -> (usize, isize, T) {
    let (calls, held) = (CALLS.get(), HELD.get());
    let result = work();
    (CALLS.get() - calls, HELD.get() - held, result)
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
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        record(0, -(layout.size() as isize));
        // SAFETY: `memory` came from `System` through us, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}
