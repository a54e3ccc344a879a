//! The two socket calls of ESP that `crate::sys` has no word for: messages gathered from many
//! packets, and the error queue.
//!
//! Nothing here keeps a pointer between calls: what the kernel is given lives in a caller's
//! reference, or in boxes of `Gather`, for exactly the length of the call.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::address::{NAME_LENGTH, RawAddress};

/// The headers of a sendmmsg(2) whose messages consist of several packets each.
pub(crate) struct Gather<const CONTROL: usize> {
    messages: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    controls: Box<[[u8; CONTROL]]>,
}

/// One message to be sent: where to, and where the iterator's packets of it end.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// The destination.
    pub(crate) to: &'a RawAddress,
    /// How many packets make it up.
    pub(crate) packets: usize,
}

impl<const CONTROL: usize> Gather<CONTROL> {
    /// Room for `messages` of together `packets` a call.
    pub(crate) fn new(messages: usize, packets: usize) -> Self {
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            // SAFETY: mmsghdr holds integers and pointers: all-zero is a value of each.
            messages: vec![unsafe { mem::zeroed() }; messages].into_boxed_slice(),
            vectors: vec![vector; packets].into_boxed_slice(),
            controls: vec![[0; CONTROL]; messages].into_boxed_slice(),
        }
    }

    /// sendmmsg(2), never waiting. Message `n` takes its number of packets from `packets` in turn,
    /// and the control messages that `control` writes for it (it returns their length). How many
    /// messages went before one failed; what exceeds the room is not sent.
    pub(crate) fn send<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        messages: impl Iterator<Item = Message<'a>>,
        mut packets: impl Iterator<Item = &'a [u8]>,
        mut control: impl FnMut(usize, &mut [u8; CONTROL]) -> usize,
    ) -> io::Result<usize> {
        let mut vectors = &mut self.vectors[..];
        let mut count = 0;
        for (at, message) in messages.take(self.messages.len()).enumerate() {
            let Some((own, rest)) = mem::take(&mut vectors).split_at_mut_checked(message.packets)
            else {
                break;
            };
            vectors = rest;
            for vector in own.iter_mut() {
                // A short iterator makes a short message, never a stale vector.
                let bytes = packets.next().unwrap_or_default();
                *vector = libc::iovec {
                    iov_base: bytes.as_ptr().cast_mut().cast(),
                    iov_len: bytes.len(),
                };
            }
            let header = &mut self.messages[at].msg_hdr;
            header.msg_name = message.to.as_ptr().cast_mut().cast();
            header.msg_namelen = message.to.len();
            header.msg_iov = own.as_mut_ptr();
            header.msg_iovlen = own.len() as _;
            let length = control(at, &mut self.controls[at]).min(CONTROL);
            header.msg_control = self.controls[at].as_mut_ptr().cast();
            header.msg_controllen = length as _;
            header.msg_flags = 0;
            count = at + 1;
        }
        // SAFETY: the first `count` headers were just pointed at vectors and control areas owned
        // by `self`, each with its own length, at names borrowed for `'a`, and the vectors at
        // packets borrowed for `'a`; all outlive the call, and sending only reads them.
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

/// recvmsg(2) with MSG_ERRQUEUE, never waiting: lengths of the name (to whom the packet in
/// question went) and of the control messages.
pub(crate) fn receive_error(
    fd: BorrowedFd<'_>,
    name: &mut [u8; NAME_LENGTH],
    control: &mut [u8],
) -> io::Result<(usize, usize)> {
    // SAFETY: msghdr holds integers and pointers: all-zero is a value of each.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = NAME_LENGTH as _;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = control.len() as _;
    // SAFETY: `header` points at `name` and `control`, exclusively borrowed for the call, with
    // their lengths, and at no vectors: the packet's own bytes are cut off.
    let result = unsafe {
        libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    done(result)?;
    Ok((NAME_LENGTH.min(header.msg_namelen as usize), control.len().min(header.msg_controllen)))
}

fn done(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
