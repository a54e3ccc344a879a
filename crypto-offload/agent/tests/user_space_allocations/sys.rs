//! The system allocator, counting what all threads ask of it.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// How often the process has allocated.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(SeqCst)
}

pub(crate) struct Counting;

// SAFETY: every call is passed on unchanged to `System`, which keeps the contract; counting is one
// atomic addition.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, SeqCst);
        // SAFETY: the caller's promise about `layout` is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `alloc` above, which is `System`'s, with the same layout.
        unsafe { System.dealloc(memory, layout) }
    }
}
