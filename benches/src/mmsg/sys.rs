//! sendmmsg(2), recvmmsg(2) and sched_setaffinity(2).
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use super::{BATCH, SLOT};

/// What the kernel says of one received datagram.
#[derive(Clone, Copy)]
pub(super) struct Meta {
    pub(super) length: usize,
    pub(super) source: SocketAddrV4,
    pub(super) timestamp_ns: u64,
}

/// The result of one recvmmsg.
pub(super) struct ReceivedMany {
    pub(super) metas: [Meta; BATCH],
    pub(super) count: usize,
}

/// Room for one SCM_TIMESTAMPNS control message, aligned for `cmsghdr`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

fn to_sockaddr(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn from_sockaddr(address: &libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(
        Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes()),
        u16::from_be(address.sin_port),
    )
}

/// One sendmmsg over up to [`BATCH`] datagrams; returns how many were taken.
pub(super) fn send_many(
    socket: &UdpSocket,
    slots: &[[u8; SLOT]],
    lengths: &[usize],
    destinations: &[SocketAddrV4],
) -> io::Result<usize> {
    let count = slots.len().min(BATCH);
    // SAFETY: all-zero is a valid value of these plain C structs (null pointers, zero lengths).
    let mut names: [libc::sockaddr_in; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    for i in 0..count {
        names[i] = to_sockaddr(destinations[i]);
        vectors[i] = libc::iovec { iov_base: slots[i].as_ptr() as *mut _, iov_len: lengths[i] };
        let header = &mut messages[i].msg_hdr;
        header.msg_name = (&raw mut names[i]).cast();
        header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        header.msg_iov = &raw mut vectors[i];
        header.msg_iovlen = 1;
    }
    // SAFETY: sendmmsg reads `count` headers, each pointing at a name, a vector and a slot that
    // are borrowed or owned by this frame until it returns; it writes only `msg_len`.
    let sent =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count as u32, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// One recvmmsg into `slots`, without waiting.
pub(super) fn receive_many(
    socket: &UdpSocket,
    slots: &mut [[u8; SLOT]],
) -> io::Result<ReceivedMany> {
    // SAFETY: all-zero is a valid value of these plain C structs (null pointers, zero lengths).
    let mut names: [libc::sockaddr_in; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    let mut controls = [Control([0; 64]); BATCH];
    let count = slots.len().min(BATCH);
    for i in 0..count {
        vectors[i] = libc::iovec { iov_base: slots[i].as_mut_ptr().cast(), iov_len: SLOT };
        let header = &mut messages[i].msg_hdr;
        header.msg_name = (&raw mut names[i]).cast();
        header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        header.msg_iov = &raw mut vectors[i];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut controls[i]).cast();
        header.msg_controllen = size_of::<Control>();
    }
    // SAFETY: recvmmsg writes into `count` headers, each pointing at a name, a vector over an
    // exclusively borrowed slot and a control buffer, all alive until it returns; MSG_DONTWAIT
    // allows the null timeout.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count as u32,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    let unset =
        Meta { length: 0, source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), timestamp_ns: 0 };
    let mut result = ReceivedMany { metas: [unset; BATCH], count: 0 };
    if received < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(result) } else { Err(error) };
    }
    result.count = received as usize;
    for i in 0..result.count {
        result.metas[i] = Meta {
            length: messages[i].msg_len as usize,
            source: from_sockaddr(&names[i]),
            timestamp_ns: timestamp(&messages[i].msg_hdr),
        };
    }
    Ok(result)
}

/// The SCM_TIMESTAMPNS of a received message, or 0.
fn timestamp(header: &libc::msghdr) -> u64 {
    // SAFETY: `header` was filled by recvmmsg and its control buffer is still alive in the
    // caller's frame, which is what CMSG_FIRSTHDR needs.
    let first = unsafe { libc::CMSG_FIRSTHDR(header) };
    if first.is_null() {
        return 0;
    }
    // SAFETY: non-null from CMSG_FIRSTHDR points at a whole cmsghdr within the control buffer.
    let found = unsafe { *first };
    if found.cmsg_level != libc::SOL_SOCKET || found.cmsg_type != libc::SCM_TIMESTAMPNS {
        return 0;
    }
    // SAFETY: CMSG_DATA of a non-null header stays within its control message.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: SCM_TIMESTAMPNS carries one timespec; the read is unaligned as CMSG_DATA may be.
    let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Pins the calling thread to one core.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: `core` indexes bits of the set; libc's CPU_SET bounds-checks it.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set outlives the call and its true size is given; 0 names this thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// setsockopt(2) of one integer at SOL_SOCKET.
pub(super) fn set_option(
    socket: &impl AsRawFd,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: `value` lives on this frame for the call and its true size is given; the
    // descriptor is open because `socket` is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
