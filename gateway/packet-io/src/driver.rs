//! The seam every driver implements and every contract test runs against.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// The caller's name for a socket; drivers hand it back with each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u32);

/// One received packet, in the driver's buffer.
pub struct Received<'a> {
    /// The socket it came in on.
    pub token: Token,
    /// Where it came from.
    pub source: SocketAddr,
    /// Kernel receive time (SO_TIMESTAMPNS), nanoseconds of CLOCK_REALTIME; 0 when unknown.
    pub timestamp_ns: u64,
    /// SO_RXQ_OVFL: packets this socket has lost so far, wrapping.
    pub kernel_drops: u32,
    /// The whole buffer, head- and tailroom included.
    pub buffer: &'a mut [u8],
    /// Where the packet lies in `buffer`; at least [`Received::HEADROOM`] bytes precede it and
    /// [`Received::TAILROOM`] follow it.
    pub range: Range<usize>,
    /// The datagram was longer than the buffer and is cut.
    pub truncated: bool,
}

impl Received<'_> {
    /// Bytes free before each packet.
    pub const HEADROOM: usize = 16;
    /// Bytes free after each packet: the longest tag, index and MKI that SRTP adds.
    pub const TAILROOM: usize = 160;
    /// The longest datagram taken whole: media beyond an Ethernet frame is not media.
    pub const MAX_PACKET: usize = 1600;
}

/// What to do with a received packet.
pub enum Verdict {
    /// Give the buffer back.
    Drop,
    /// Send `range` of the buffer from socket `from` to `to`.
    Send {
        /// The socket to send from.
        from: Token,
        /// The destination.
        to: SocketAddr,
        /// Which bytes of the buffer.
        range: Range<usize>,
    },
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Packets handed to the closure.
    pub received: usize,
    /// Sends that the closure asked for.
    pub sent: usize,
    /// Sends that failed, of this turn or the last (see [`Driver::last_send_error`]).
    pub send_errors: usize,
    /// More may be waiting: call again before sleeping.
    pub more: bool,
}

/// A batch engine over many UDP sockets, owned by one thread.
pub trait Driver {
    /// Takes a bound, non-blocking socket under `token`. Tokens are the caller's slab indices:
    /// small, dense, reused only after [`Driver::remove`].
    ///
    /// It receives from the next [`Driver::turn`] or [`Driver::flush`] on: one of them comes
    /// before sleeping on [`Driver::readiness`].
    fn add(&mut self, token: Token, socket: UdpSocket) -> io::Result<()>;

    /// Stops receiving on `token` and closes its socket. A packet that had already arrived may
    /// still be dropped, never delivered under a later owner of the token.
    ///
    /// Its port is free after the next [`Driver::turn`] or [`Driver::flush`].
    fn remove(&mut self, token: Token);

    /// Puts additions and removals into effect now, without receiving.
    fn flush(&mut self) -> io::Result<()>;

    /// Receives up to `budget` packets, asks `relay` about each, and sends before returning.
    /// Waits for nothing, except that between busy turns it lets packets gather for
    /// [`Config::linger`](crate::Config::linger).
    fn turn<F>(&mut self, budget: usize, relay: F) -> io::Result<Turn>
    where
        F: FnMut(Received<'_>) -> Verdict;

    /// Readable when a turn would find something. Fit for edge-triggered waiting, when turns are
    /// taken until one says there is no [`Turn::more`].
    fn readiness(&self) -> BorrowedFd<'_>;

    /// The socket under `token`, to set its options or ask its address.
    fn socket(&self, token: Token) -> Option<&UdpSocket>;

    /// Sends one datagram by itself, now: for the few that answer no received packet.
    ///
    /// # Errors
    /// What sendto(2) says; EBADF for a token without a socket.
    fn send(&mut self, from: Token, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        match self.socket(from) {
            Some(socket) => socket.send_to(bytes, to).map(drop),
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    /// Why the latest of [`Turn::send_errors`] failed: the kernel's errno, or EBADF for a token
    /// without a socket, EFAULT for a range outside the buffer.
    fn last_send_error(&self) -> Option<io::Error>;
}
