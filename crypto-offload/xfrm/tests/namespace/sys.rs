//! The two system calls that std lacks: a network namespace for this thread, and giving up its
//! capabilities.
#![allow(unsafe_code)]

use std::io;

/// Gives the calling thread a new, empty network namespace (unshare(2)); needs CAP_SYS_ADMIN.
/// Programs that it starts from then on share it.
pub(super) fn unshare_network() -> io::Result<()> {
    // SAFETY: takes no pointer; CLONE_NEWNET alone changes nothing but the calling thread's
    // network namespace.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into())
}

/// Takes every capability from the calling thread (capset(2)).
pub(super) fn drop_capabilities() -> io::Result<()> {
    // version 3, this thread
    let header = [0x2008_0522u32, 0];
    // effective, permitted, inheritable; twice
    let none = [0u32; 6];
    // SAFETY: both arrays are live and as large as version 3 has them (8 and 24 bytes); capset
    // reads them and keeps neither.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
