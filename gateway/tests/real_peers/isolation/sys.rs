//! The two system calls that std lacks: a network namespace for this thread, and a signal to a
//! process group.

#![allow(unsafe_code)]

use std::io;

/// Gives the calling thread a new, empty network namespace (unshare(2)); needs CAP_SYS_ADMIN.
/// Threads and processes that it starts from then on share it.
pub(super) fn unshare_network() -> io::Result<()> {
    // SAFETY: takes no pointer; CLONE_NEWNET alone changes nothing but the calling thread's
    // network namespace.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends `signal` to every process of `group` (kill(2) with a negative id).
pub(super) fn signal_group(group: u32, signal: i32) -> io::Result<()> {
    let group = libc::pid_t::try_from(group).map_err(io::Error::other)?;
    // SAFETY: takes no pointer; the group is one that `Peer::start` made and has not reaped.
    let result = unsafe { libc::kill(-group, signal) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
