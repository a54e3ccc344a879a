//! The one system call that std lacks: a network namespace for this thread.
#![allow(unsafe_code)]

use std::io;

/// Gives the calling thread a new, empty network namespace (unshare(2)); needs CAP_SYS_ADMIN.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: takes no pointer; CLONE_NEWNET alone changes nothing but the calling thread's
    // network namespace.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
