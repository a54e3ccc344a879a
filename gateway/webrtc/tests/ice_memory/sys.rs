//! An allocator that counts how much memory is in use. A binary that installs it has a single test,
//! because it counts the whole process.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

/// The system's allocator, counted.
pub(crate) struct Counting {
    live: AtomicIsize,
}

impl Counting {
    /// Nothing counted yet.
    pub(crate) const fn new() -> Self {
        Self { live: AtomicIsize::new(0) }
    }

    /// Bytes in use.
    pub(crate) fn live_bytes(&self) -> isize {
        self.live.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: isize) {
        self.live.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to `System` unchanged; counting touches no memory it hands out and
// neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size() as isize);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.live.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: `pointer` came from `alloc` or `realloc` above, so from `System`, with `layout`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(size as isize - layout.size() as isize);
        // SAFETY: `pointer` came from `System` with `layout`; the promise about `size` is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
