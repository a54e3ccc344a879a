//! The system call that std lacks: entering a network namespace.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Moves the calling thread into a network namespace (setns(2)); needs CAP_SYS_ADMIN.
pub(super) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointer; `namespace` is open for the call (borrowed), and CLONE_NEWNET
    // changes nothing but the calling thread's network namespace.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
