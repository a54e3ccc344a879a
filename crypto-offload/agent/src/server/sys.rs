//! The one socket option that no crate of ours wraps: the groups of a Unix socket's peer.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The supplementary groups that the peer had when it connected (`SO_PEERGROUPS`, Linux 4.13).
pub(super) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; MOST_GROUPS];
    let mut length = libc::socklen_t::try_from(size_of::<u32>() * MOST_GROUPS)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the descriptor is open while it is borrowed; `groups` is writable memory of `length`
    // bytes, of which the kernel fills as many as it then writes to `length`, a live integer; it
    // keeps neither. A gid_t is a u32.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(usize::try_from(length).unwrap_or(0) / size_of::<u32>());
    Ok(groups)
}

/// <https://github.com/torvalds/linux/blob/master/include/uapi/asm-generic/socket.h>; every
/// architecture that we build for has the generic number.
const SO_PEERGROUPS: libc::c_int = 59;

/// `NGROUPS_MAX` is 65,536; whoever is in more than these is asked to use fewer (`ERANGE`).
const MOST_GROUPS: usize = 1024;
