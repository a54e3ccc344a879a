//! Many datagrams in one system call, each to its own destination: what lets one core offer
//! more load than one core can relay.

mod sys;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

pub use sys::pin_to_core;

/// Datagrams per system call.
pub const BATCH: usize = 64;
/// Bytes per datagram; ours are 172 plus a tag.
pub const SLOT: usize = 320;

/// A batch of datagrams waiting to be sent from one socket.
pub struct SendBatch {
    slots: Vec<[u8; SLOT]>,
    lengths: [usize; BATCH],
    destinations: [SocketAddrV4; BATCH],
    filled: usize,
}

impl Default for SendBatch {
    fn default() -> Self {
        Self {
            slots: vec![[0; SLOT]; BATCH],
            lengths: [0; BATCH],
            destinations: [SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0); BATCH],
            filled: 0,
        }
    }
}

impl SendBatch {
    /// True when the next datagram needs a flush first.
    pub fn is_full(&self) -> bool {
        self.filled == BATCH
    }

    /// Lets `write` fill the next slot and say how long the datagram is.
    pub fn push(&mut self, to: SocketAddrV4, write: impl FnOnce(&mut [u8; SLOT]) -> usize) {
        self.lengths[self.filled] = write(&mut self.slots[self.filled]);
        self.destinations[self.filled] = to;
        self.filled += 1;
    }

    /// Sends everything; returns how many the kernel took.
    pub fn flush(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let count = std::mem::take(&mut self.filled);
        let mut sent = 0;
        while sent < count {
            sent += sys::send_many(
                socket,
                &self.slots[sent..count],
                &self.lengths[sent..count],
                &self.destinations[sent..count],
            )?;
        }
        Ok(sent)
    }
}

/// One datagram of a [`ReceiveBatch`].
pub struct Datagram<'a> {
    /// The bytes, with the slot's tailroom cut off.
    pub bytes: &'a mut [u8],
    /// The sender.
    pub source: SocketAddrV4,
    /// Kernel receive time, nanoseconds of CLOCK_REALTIME.
    pub timestamp_ns: u64,
}

/// Buffers for receiving from one socket.
pub struct ReceiveBatch {
    slots: Vec<[u8; SLOT]>,
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self { slots: vec![[0; SLOT]; BATCH] }
    }
}

impl ReceiveBatch {
    /// Receives what is there, at most [`BATCH`], without blocking.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(Datagram<'_>),
    ) -> io::Result<usize> {
        let received = sys::receive_many(socket, &mut self.slots)?;
        for (slot, meta) in self.slots.iter_mut().zip(&received.metas[..received.count]) {
            each(Datagram {
                bytes: &mut slot[..meta.length],
                source: meta.source,
                timestamp_ns: meta.timestamp_ns,
            });
        }
        Ok(received.count)
    }
}

/// Turns on SCM_TIMESTAMPNS: the kernel's receive time with each datagram.
pub fn enable_timestamps(socket: &socket2::Socket) -> io::Result<()> {
    sys::set_option(socket, libc::SO_TIMESTAMPNS, 1)
}

/// Sets the receive buffer to `bytes` past the system's limit (SO_RCVBUFFORCE, CAP_NET_ADMIN).
pub fn force_receive_buffer(socket: &socket2::Socket, bytes: usize) -> io::Result<()> {
    sys::set_option(socket, libc::SO_RCVBUFFORCE, bytes as libc::c_int)
}
