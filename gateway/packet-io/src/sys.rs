//! The system calls that std has no word for, one thin function each.
//!
//! Nothing here keeps a pointer between calls: what the kernel is given lives in a caller's
//! reference for exactly the length of the call. What outlives a call is in `uring/sys.rs`.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use crate::address::{NAME_LENGTH, RawAddress};
use crate::ancillary::CONTROL_LENGTH;

/// setsockopt(2) with an integer.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes, the size of an i32, from `value`, which lives here.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), length)
    };
    done(result as isize).map(drop)
}

/// epoll_create1(2), close-on-exec.
pub(crate) fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; any flags are allowed and unknown ones refused.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    owned(fd)
}

/// eventfd(2), non-blocking, close-on-exec.
pub(crate) fn event_create() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; any flags are allowed and unknown ones refused.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    owned(fd)
}

/// EPOLL_CTL_ADD: edge-triggered reading, named `data`.
pub(crate) fn epoll_add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, data: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: data };
    // SAFETY: `event` is a live epoll_event that the kernel only reads during the call.
    let result = unsafe {
        libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
    };
    done(result as isize).map(drop)
}

/// EPOLL_CTL_ADD: level-triggered reading, named `data`.
pub(crate) fn epoll_watch(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, data: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: data };
    // SAFETY: `event` is a live epoll_event that the kernel only reads during the call.
    let result = unsafe {
        libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
    };
    done(result as isize).map(drop)
}

/// EPOLL_CTL_DEL.
pub(crate) fn epoll_delete(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: EPOLL_CTL_DEL takes no event since Linux 2.6.9: null is allowed.
    let result = unsafe {
        libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), ptr::null_mut())
    };
    done(result as isize).map(drop)
}

/// epoll_wait(2) for up to `milliseconds` (0: not at all; -1: no limit): how many of `events`
/// were filled.
pub(crate) fn epoll_wait(
    epoll: BorrowedFd<'_>,
    events: &mut [libc::epoll_event],
    milliseconds: i32,
) -> io::Result<usize> {
    let room = events.len().try_into().unwrap_or(i32::MAX);
    // SAFETY: the kernel writes at most `room` events, and `events` has at least that many.
    let count =
        unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, milliseconds) };
    done(count as isize)
}

/// poll(2) for reading: false when `milliseconds` (-1: no limit) went by first.
pub(crate) fn poll_readable(fd: BorrowedFd<'_>, milliseconds: i32) -> io::Result<bool> {
    poll(fd, libc::POLLIN, milliseconds)
}

/// poll(2) for writing: false when `milliseconds` (-1: no limit) went by first.
pub(crate) fn poll_writable(fd: BorrowedFd<'_>, milliseconds: i32) -> io::Result<bool> {
    poll(fd, libc::POLLOUT, milliseconds)
}

fn poll(fd: BorrowedFd<'_>, events: i16, milliseconds: i32) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one live pollfd, and 1 says so.
    let count = unsafe { libc::poll(&raw mut entry, 1, milliseconds) };
    done(count as isize).map(|count| count > 0)
}

/// sendto(2), never waiting.
pub(crate) fn send_to(fd: BorrowedFd<'_>, bytes: &[u8], to: &RawAddress) -> io::Result<usize> {
    // SAFETY: the kernel reads `bytes.len()` bytes at `bytes` and `to.len()` bytes at `to`; both
    // are borrowed for the call.
    let count = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            to.as_ptr(),
            to.len(),
        )
    };
    done(count)
}

/// One received datagram, described: its bytes are in the caller's buffer.
#[derive(Clone, Copy)]
pub(crate) struct Datagram<'a> {
    /// The source as the kernel laid it out.
    pub(crate) name: &'a [u8],
    /// The control messages.
    pub(crate) control: &'a [u8],
    /// Bytes received.
    pub(crate) length: usize,
    /// It was longer than its buffer.
    pub(crate) truncated: bool,
}

/// The headers of a recvmmsg(2) or sendmmsg(2), kept to spare the allocator, with room for
/// `CONTROL` bytes of control messages each.
pub(crate) struct Headers<const CONTROL: usize = CONTROL_LENGTH> {
    messages: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[[u8; NAME_LENGTH]]>,
    controls: Box<[[u8; CONTROL]]>,
}

impl<const CONTROL: usize> Headers<CONTROL> {
    /// Room for `count` messages a call.
    pub(crate) fn new(count: usize) -> Self {
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            // SAFETY: mmsghdr holds integers and pointers: all-zero is a value of each.
            messages: vec![unsafe { mem::zeroed() }; count].into_boxed_slice(),
            vectors: vec![vector; count].into_boxed_slice(),
            names: vec![[0; NAME_LENGTH]; count].into_boxed_slice(),
            controls: vec![[0; CONTROL]; count].into_boxed_slice(),
        }
    }

    /// recvmmsg(2), never waiting, one datagram into each of `buffers`: how many came.
    pub(crate) fn receive<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        buffers: impl Iterator<Item = &'a mut [u8]>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for (at, buffer) in buffers.take(self.messages.len()).enumerate() {
            let vector = &mut self.vectors[at];
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let header = &mut self.messages[at].msg_hdr;
            header.msg_name = self.names[at].as_mut_ptr().cast();
            header.msg_namelen = NAME_LENGTH as _;
            header.msg_control = self.controls[at].as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_flags = 0;
            count = at + 1;
        }
        // SAFETY: the first `count` headers were just pointed at one vector, name and control
        // area each, all owned by `self`, and at `buffers`, exclusively borrowed for `'a`, which
        // outlives the call; every length is that of the thing pointed at.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        done(received as isize)
    }

    /// What the last [`Headers::receive`] wrote about its datagram `at`.
    pub(crate) fn datagram(&self, at: usize) -> Datagram<'_> {
        let message = &self.messages[at];
        let header = &message.msg_hdr;
        Datagram {
            name: &self.names[at][..NAME_LENGTH.min(header.msg_namelen as usize)],
            control: &self.controls[at][..CONTROL.min(header.msg_controllen)],
            length: message.msg_len as usize,
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        }
    }

    /// sendmmsg(2), never waiting, of `packets` from one socket: how many went before one failed.
    pub(crate) fn send<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        packets: impl Iterator<Item = (&'a [u8], &'a RawAddress)>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for (at, (bytes, to)) in packets.take(self.messages.len()).enumerate() {
            let vector = &mut self.vectors[at];
            *vector =
                libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            let header = &mut self.messages[at].msg_hdr;
            header.msg_name = to.as_ptr().cast_mut().cast();
            header.msg_namelen = to.len();
            header.msg_control = ptr::null_mut();
            header.msg_controllen = 0;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_flags = 0;
            count = at + 1;
        }
        // SAFETY: the first `count` headers were just pointed at vectors owned by `self` and at
        // bytes and addresses borrowed for `'a`, which outlives the call; sending only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count as _,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        done(sent as isize)
    }
}

fn done(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    done(fd as isize)?;
    // SAFETY: the callers pass what a creating call has just returned, and it is not negative:
    // an open descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
