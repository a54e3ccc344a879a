//! The system allocator, counting what each thread asks of it; and a network namespace for a
//! thread.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;

thread_local! {
    // Constant and without a destructor: reading it never allocates.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// How often the calling thread has allocated.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.get()
}

pub(crate) struct Counting;

// SAFETY: every call is passed on unchanged to `System`, which keeps the contract; counting
// touches a thread-local that is never allocated.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise about `layout` is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `alloc` above, which is `System`'s, with the same layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Gives the calling thread a new, empty network namespace (unshare(2)); needs CAP_SYS_ADMIN.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: takes no pointer; CLONE_NEWNET alone changes nothing but the calling thread's
    // network namespace.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
