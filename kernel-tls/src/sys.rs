//! The kernel's side of kTLS, raw: one thin function a system call, and the numbers of
//! linux/tls.h and linux/tcp.h. Nothing here knows what a record means or keeps
//! anything. Every call is made with the flags that keep it from blocking, and none raises SIGPIPE.
//! By `libc`, as `rustix` has neither these options nor control messages of `SOL_TLS`; what it has
//! (`send`, `splice`, netlink's sockets) is called where it is needed, without `unsafe`.
#![allow(unsafe_code)]

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
};

/// `SOL_TLS` (linux/socket.h).
const SOL_TLS: libc::c_int = 282;
/// `TCP_ULP` (linux/tcp.h).
const TCP_ULP: libc::c_int = 31;
/// `TLS_SET_RECORD_TYPE` (linux/tls.h).
const TLS_SET_RECORD_TYPE: libc::c_int = 1;
/// `TLS_GET_RECORD_TYPE` (linux/tls.h).
const TLS_GET_RECORD_TYPE: libc::c_int = 2;

/// A socket option of level `SOL_TLS` (linux/tls.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum TlsOption {
    /// `TLS_TX`: the keys for sending.
    Transmit = 1,
    /// `TLS_RX`: the keys for receiving.
    Receive = 2,
    /// `TLS_TX_ZEROCOPY_RO`: a device may read the pages of `sendfile` and `splice` themselves.
    ZerocopyReadOnly = 3,
    /// `TLS_RX_EXPECT_NO_PAD`: decrypt TLS 1.3 records straight into the reader's memory.
    ExpectNoPad = 4,
}

/// What one `recvmsg` brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedRecord {
    /// Bytes that were written to the buffer.
    pub(crate) length: usize,
    /// The content type, where the kernel gave one: it does for every record, and not at the end.
    pub(crate) content_type: Option<u8>,
}

/// Room for one control message of one byte, aligned as `cmsghdr` has to be.
#[repr(C)]
union OneByteControl {
    header: libc::cmsghdr,
    // CMSG_SPACE(1) of bits/socket.h: header and data, each rounded up to a word.
    bytes: [u8; CONTROL_LENGTH],
}

const CONTROL_LENGTH: usize = mem::size_of::<libc::cmsghdr>() + mem::size_of::<usize>();

/// `TCP_ULP "tls"`: from then on the socket takes keys; until it has some it works as before.
pub(crate) fn attach(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, TCP_ULP, b"tls\0")
}

/// `TLS_TX` or `TLS_RX` with a `tls12_crypto_info_*`.
pub(crate) fn set_keys(
    socket: BorrowedFd<'_>,
    option: TlsOption,
    crypto_info: &[u8],
) -> io::Result<()> {
    set(socket, SOL_TLS, option as libc::c_int, crypto_info)
}

/// Switches an option on.
pub(crate) fn switch_on(socket: BorrowedFd<'_>, option: TlsOption) -> io::Result<()> {
    set(socket, SOL_TLS, option as libc::c_int, &1_u32.to_ne_bytes())
}

/// Reads the keys of one direction as they stand, the next record's number with them. The length of
/// `crypto_info` says which structure is wanted: the kernel refuses any but the cipher's own.
pub(crate) fn keys(
    socket: BorrowedFd<'_>,
    option: TlsOption,
    crypto_info: &mut [u8],
) -> io::Result<()> {
    let mut length = crypto_info.len() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed, so it is open. `crypto_info` is writable for `length`
    // bytes, which is its own length, and `length` is a local that the kernel may overwrite.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            SOL_TLS,
            option as libc::c_int,
            crypto_info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result).map(drop)
}

fn set(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed, so it is open; `value` is readable for the length that is
    // passed, which is its own, and the kernel copies it before the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// Sends one record of a content type. All of it is taken, or nothing.
pub(crate) fn send_record(
    socket: BorrowedFd<'_>,
    content_type: u8,
    payload: &[u8],
) -> io::Result<usize> {
    let mut part =
        libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    let mut control = one_byte_control(TLS_SET_RECORD_TYPE, content_type);
    let message = message(&mut part, &mut control);
    // SAFETY: the descriptor is borrowed, so it is open. `message` points to `part` and `control`,
    // both alive here and of the lengths it says; `part` points to `payload`, which the kernel only
    // reads.
    let sent = unsafe {
        libc::sendmsg(
            socket.as_raw_fd(),
            &raw const message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    check_length(sent)
}

/// Receives one control record, or data of as many records as are there and fit.
pub(crate) fn receive_record(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<ReceivedRecord> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = one_byte_control(0, 0);
    let mut message = message(&mut part, &mut control);
    // SAFETY: the descriptor is borrowed, so it is open. `message` points to `part` and `control`,
    // both alive here and writable for the lengths it says; `part` points to `buffer`, writable for
    // its own length.
    let received =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = check_length(received)?;
    let content_type = (message.msg_controllen > 0).then(|| content_type(&control)).flatten();
    Ok(ReceivedRecord { length, content_type })
}

/// A control message of this level with one byte in it.
fn one_byte_control(kind: libc::c_int, byte: u8) -> OneByteControl {
    let mut control = OneByteControl { bytes: [0; CONTROL_LENGTH] };
    let header = libc::cmsghdr {
        // CMSG_LEN(1): the data follows the header directly, as the assertion below shows.
        cmsg_len: (mem::size_of::<libc::cmsghdr>() + 1) as _,
        cmsg_level: SOL_TLS,
        cmsg_type: kind,
    };
    control.header = header;
    // SAFETY: every byte of the union was written above, as zeros and as the header, which has no
    // padding (asserted below); any bytes are a valid `[u8; N]`.
    let bytes = unsafe { &mut control.bytes };
    bytes[mem::size_of::<libc::cmsghdr>()] = byte;
    control
}

/// The byte of the control message that the kernel wrote, if it is a record's content type.
fn content_type(control: &OneByteControl) -> Option<u8> {
    // SAFETY: the union was initialised whole by `one_byte_control`; the kernel wrote to it since,
    // and any bytes are a valid `cmsghdr`.
    let header = unsafe { control.header };
    // SAFETY: as above; any bytes are a valid `[u8; N]`.
    let bytes = unsafe { &control.bytes };
    let is_ours = header.cmsg_level == SOL_TLS && header.cmsg_type == TLS_GET_RECORD_TYPE;
    is_ours.then(|| bytes[mem::size_of::<libc::cmsghdr>()])
}

fn message(part: &mut libc::iovec, control: &mut OneByteControl) -> libc::msghdr {
    // SAFETY: `msghdr` is made of integers and pointers, for which zeros are valid values.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = (control as *mut OneByteControl).cast();
    message.msg_controllen = CONTROL_LENGTH as _;
    message
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_length(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

// The header has no padding, its data follows it directly, and one byte of data takes a word.
const _: () = assert!(
    mem::size_of::<libc::cmsghdr>() == mem::size_of::<usize>() + 2 * mem::size_of::<libc::c_int>()
);
