//! Sockets for ESP packets, in batches: raw protocol 50 (RFC 4303) and UDP (RFC 3948).
//!
//! An [`EspSocket`] sends what an engine has sealed in a [`PacketBatch`] and receives what it is
//! to open, IPv4 or IPv6; what stands outside of ESP (outer IP header, UDP header) is the
//! kernel's. Packets in a batch begin with the SPI, whichever kind the socket is.
//!
//! ```no_run
//! # use packet_io::{Peer, Token, esp::{EspOptions, EspSocket}};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let here = "192.0.2.1:4500".parse()?;
//! let mut socket = EspSocket::udp(Token(1), here, &EspOptions::default())?;
//! let mut batch = socket.batch(32);
//! let count = socket.receive(&mut batch)?; // never waits: see `WaitSet`
//! for packet in batch.packets_mut() {
//!     // open it in packet.buffer around packet.place.range; packet.place.peer sent it
//! }
//! let sent = socket.send(&batch); // those whose place.token is Token(1), to place.peer
//! socket.take_path_events(|event| { /* a path's MTU, an unreachable peer */ });
//! # Ok(()) }
//! ```
//!
//! Over UDP, runs of packets for one peer leave as one call and one pass through the stack
//! (UDP_SEGMENT), and arrive so (UDP_GRO), where the kernel can. On the same port IKE and NAT
//! keepalives arrive; they are told apart, counted and dropped: this is no IKE daemon.
//!
//! A raw socket receives every ESP packet for its address, also those of the kernel's own SAs:
//! SPIs tell whose they are. A kernel with ESP of its own likewise counts ours as
//! `XfrmInNoStates`. Nothing here knows SAs; a socket belongs to one thread.

mod open;
mod path;
mod receive;
mod send;
mod sys;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::Socket;

use crate::batch::{PacketBatch, Peer};
use crate::driver::Token;
use crate::offload::{Offload, Support};
use crate::sys::{Headers, send_to};

pub use open::EspSocketError;
pub use path::PathEvent;
use receive::is_icmp;
pub use receive::{Payload, classify};
pub use send::{PATIENCE_MS, Sent};

/// The port of UDP-encapsulated ESP (RFC 3948, 2.1).
pub const UDP_PORT: u16 = 4500;

/// See the module's documentation.
pub struct EspSocket {
    socket: Socket,
    token: Token,
    local: SocketAddr,
    kind: Encapsulation,
    receives_joined: Support,
    incoming: Headers<{ receive::CONTROL }>,
    outgoing: send::Outgoing,
    counters: Counters,
    last_send_error: Option<i32>,
}

/// What an ESP packet travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// IP, protocol 50 (RFC 4303).
    Raw,
    /// UDP (RFC 3948).
    Udp,
}

/// What may differ between ESP sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspOptions {
    /// Receive buffer in bytes, beyond `net.core.rmem_max` where CAP_NET_ADMIN allows it; the
    /// kernel counts some 2,300 for each packet of 1,400.
    pub receive_buffer: u32,
    /// Send buffer in bytes, likewise.
    pub send_buffer: u32,
    /// Whether routers may cut outer packets up.
    pub fragmentation: Fragmentation,
    /// Whether the kernel may join and split UDP datagrams.
    pub offload: Offload,
}

impl Default for EspOptions {
    fn default() -> Self {
        Self {
            receive_buffer: 4 << 20,
            send_buffer: 4 << 20,
            fragmentation: Fragmentation::Forbidden,
            offload: Offload::Auto,
        }
    }
}

/// Whether outer packets may be fragmented (RFC 4301, 8.1: configurable).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragmentation {
    /// The don't-fragment bit is set, and the kernel keeps to the path's MTU: what is longer is
    /// [`Sent::too_big`], and [`EspSocket::take_path_events`] tells the MTU.
    Forbidden,
    /// Here and, in IPv4, on the way.
    Allowed,
}

/// What did not become a packet, since the socket was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// SO_RXQ_OVFL: packets lost because the receive buffer was full; as of the latest packet
    /// received, wrapping at 2^32.
    pub kernel_drops: u32,
    /// NAT keepalives received (RFC 3948, 2.3: to be ignored).
    pub keepalives: u64,
    /// IKE messages received: behind a non-ESP marker (RFC 3948, 2.2).
    pub ike: u64,
    /// Datagrams too short for an ESP header, or without a whole outer header.
    pub runts: u64,
    /// Datagrams longer than a slot of the batch.
    pub oversize: u64,
    /// See [`Sent::too_big`].
    pub too_big: u64,
    /// See [`Sent::no_room`].
    pub no_room: u64,
    /// See [`Sent::refused`].
    pub refused: u64,
}

impl EspSocket {
    /// The caller's name for it.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Where it is bound; port 0 for a raw one.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What its packets travel in.
    pub fn encapsulation(&self) -> Encapsulation {
        self.kind
    }

    /// Whether runs of packets are sent as one (UDP_SEGMENT); it may end with an error on the
    /// way, such as a device without checksum offload.
    pub fn sends_joined(&self) -> &Support {
        &self.outgoing.support
    }

    /// Whether packets may be received joined (UDP_GRO).
    pub fn receives_joined(&self) -> &Support {
        &self.receives_joined
    }

    /// What did not become a packet so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Why the latest of [`Sent::refused`] was.
    pub fn last_send_error(&self) -> Option<io::Error> {
        self.last_send_error.map(io::Error::from_raw_os_error)
    }

    /// A batch to receive into, with `slots` for datagrams of up to 1,600 bytes, or for joined
    /// ones of 64 KiB where the socket receives those: up to 64 packets each.
    ///
    /// What arrives fragmented is put together by the kernel and may be longer than a slot; a path
    /// with a larger MTU needs [`PacketBatch::new`].
    pub fn batch(&self, slots: usize) -> PacketBatch {
        match self.receives_joined {
            Support::Active => PacketBatch::wide(slots),
            Support::Inactive(_) => PacketBatch::new(slots, LONGEST),
        }
    }

    /// Sends a NAT keepalive to `to`: the one byte 0xFF (RFC 3948, 2.3), which keeps the NAT's
    /// mapping of this socket alive. Due after [`KEEPALIVE_SECONDS`] without a packet sent.
    ///
    /// # Errors
    /// The kernel's; EOPNOTSUPP for a raw socket, whose packets no NAT tells apart by port.
    pub fn send_keepalive(&self, to: &Peer) -> io::Result<()> {
        match self.kind {
            Encapsulation::Udp => {
                let send = || send_to(self.socket.as_fd(), &[KEEPALIVE], &to.0).map(drop);
                // What ICMP said about a packet sent before is told once.
                send().or_else(|error| if is_icmp(&error) { send() } else { Err(error) })
            }
            Encapsulation::Raw => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        }
    }
}

impl AsFd for EspSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How long without a packet sent before a keepalive is: RFC 3948, 4, the default of 20 seconds.
pub const KEEPALIVE_SECONDS: u64 = 20;

const KEEPALIVE: u8 = 0xff;
/// An Ethernet frame's worth of datagram and something, and the IPv4 header that a raw socket gets.
const LONGEST: usize = 1600 + 60;
