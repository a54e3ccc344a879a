//! The one system call that the standard library has no word for.
#![expect(unsafe_code, reason = "unshare(2) has no safe wrapper")]

use std::io;

/// Gives the calling thread a new, empty network namespace (unshare(2)); needs CAP_SYS_ADMIN.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: unshare takes flags and no pointer. CLONE_NEWNET alone changes only which network
    // namespace this thread's later calls see; descriptors stay what they are.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
