//! The ioctls of a TUN device, one thin function each.
//!
//! Nothing here keeps a pointer: what the kernel reads or writes lives for the length of the call.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

const _: () = assert!(size_of::<libc::ifreq>() == 40, "struct ifreq of linux/if.h, 64-bit");

/// TUNSETIFF: makes or joins the device `name` with `flags`.
///
/// # Errors
/// EBUSY with IFF_TUN_EXCL when a device of that name exists; EPERM without CAP_NET_ADMIN.
pub(crate) fn set_interface(fd: BorrowedFd<'_>, name: &CStr, flags: u16) -> io::Result<()> {
    // SAFETY: ifreq holds integers, arrays and pointers in unions: all-zero is a value of each.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (target, &byte) in request.ifr_name.iter_mut().zip(name.to_bytes().iter().take(15)) {
        *target = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is, during the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    done(result)
}

/// TUNSETVNETHDRSZ: how long the header before each packet is.
pub(crate) fn set_header_length(fd: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int, which `bytes` is, during the call.
    let result =
        unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ as _, ptr::from_ref(&bytes)) };
    done(result)
}

/// TUNSETOFFLOAD: what the kernel may leave to whoever reads (`TUN_F_*`).
///
/// # Errors
/// EINVAL when it does not know one of `features`; nothing changes then.
pub(crate) fn set_offload(fd: BorrowedFd<'_>, features: u32) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value: no pointer.
    let result = unsafe {
        libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(features))
    };
    done(result)
}

/// if_nametoindex(3), in the calling thread's network namespace.
pub(crate) fn interface_index(name: &CStr) -> io::Result<u32> {
    // SAFETY: `name` is a terminated string that lives here; it is only read.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn done(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
