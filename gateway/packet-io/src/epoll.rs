//! The driver for every Linux: edge-triggered epoll, recvmmsg, sendto.
//!
//! 1. epoll names the sockets that became readable, at the start of a turn and whenever `ready`
//!    runs empty; they queue up there, each once.
//! 2. The first is read with one recvmmsg of `BATCH` datagrams. Fewer than that came: it is
//!    drained, and epoll will tell of the next. As many: it goes to the end of the queue.
//! 3. The relay sees each packet in place; what it sends goes out before the next socket is
//!    read, so the few buffers stay in the first-level cache and residence is short.
//!
//! The queue survives the turn, so a small budget delays a socket but never starves it. Nor does
//! a flooded socket, never drained, keep others out: the kernel is asked for them all the same.

use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::address::{self, RawAddress};
use crate::ancillary::Ancillary;
use crate::config::Config;
use crate::driver::{Driver, Received, Token, Turn, Verdict};
use crate::linger::Linger;
use crate::slots::{Occupant, Slots};
use crate::sys::{self, Headers};

/// Datagrams a recvmmsg asks for. A 20 ms stream has one waiting; a burst is worth one call.
const BATCH: usize = 8;
/// Readiness events taken from the kernel at once.
const EVENTS: usize = 256;
/// Head, packet, tail, in whole cache lines.
const BUFFER: usize =
    (Received::HEADROOM + Received::MAX_PACKET + Received::TAILROOM).next_multiple_of(64);

/// See the module's documentation.
pub struct Epoll {
    epoll: OwnedFd,
    sockets: Slots<Place>,
    ready: VecDeque<Occupant>,
    events: Box<[libc::epoll_event]>,
    incoming: Headers,
    outgoing: Headers,
    buffers: Box<[[u8; BUFFER]]>,
    queued: Vec<Queued>,
    linger: Linger,
    last_send_error: Option<i32>,
}

/// Where a socket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Drained: epoll tells of its next packet.
    Watched,
    /// In `ready`.
    Queued,
}

/// A send decided on, not yet made.
struct Queued {
    buffer: usize,
    range: Range<usize>,
    from: Token,
    to: RawAddress,
}

impl Epoll {
    /// Opens a driver without sockets.
    pub fn new(config: &Config) -> io::Result<Self> {
        let event = libc::epoll_event { events: 0, u64: 0 };
        Ok(Self {
            epoll: sys::epoll_create()?,
            sockets: Slots::default(),
            ready: VecDeque::with_capacity(EVENTS),
            events: vec![event; EVENTS].into_boxed_slice(),
            incoming: Headers::new(BATCH),
            outgoing: Headers::new(BATCH),
            buffers: vec![[0; BUFFER]; BATCH].into_boxed_slice(),
            queued: Vec::with_capacity(BATCH),
            linger: Linger::new(config.linger),
            last_send_error: None,
        })
    }

    /// Asks the kernel which sockets became readable; false when none did.
    fn refill(&mut self) -> io::Result<bool> {
        let count = sys::epoll_wait(self.epoll.as_fd(), &mut self.events, 0)?;
        for event in &self.events[..count] {
            let occupant = Occupant::from_u64(event.u64);
            if let Some((_, place @ Place::Watched)) = self.sockets.occupant(occupant) {
                *place = Place::Queued;
                self.ready.push_back(occupant);
            }
        }
        Ok(count > 0)
    }

    /// A socket that was read from goes to the end of the queue, or back to be watched.
    fn requeue(&mut self, socket: Occupant, next: Place) {
        let Some((_, place)) = self.sockets.occupant(socket) else { return };
        *place = next;
        if next == Place::Queued {
            self.ready.push_back(socket);
        }
    }

    /// Reads up to `room` datagrams of one socket into the buffers: how many came.
    fn read(&mut self, socket: Occupant, room: usize) -> io::Result<usize> {
        let Some((udp, _)) = self.sockets.occupant(socket) else { return Ok(0) };
        let area = Received::HEADROOM..Received::HEADROOM + Received::MAX_PACKET;
        let buffers = self.buffers.iter_mut().take(room).map(|buffer| &mut buffer[area.clone()]);
        self.incoming.receive(udp.as_fd(), buffers)
    }

    /// Shows datagram `at` to the relay and queues what it decides; false if not one of ours.
    fn show<F>(&mut self, token: Token, at: usize, relay: &mut F) -> bool
    where
        F: FnMut(Received<'_>) -> Verdict,
    {
        let datagram = self.incoming.datagram(at);
        let Some(source) = address::parse(datagram.name) else { return false };
        let Ancillary { timestamp_ns, kernel_drops } = Ancillary::parse(datagram.control);
        let verdict = relay(Received {
            token,
            source,
            timestamp_ns,
            kernel_drops,
            buffer: &mut self.buffers[at],
            range: Received::HEADROOM..Received::HEADROOM + datagram.length,
            truncated: datagram.truncated,
        });
        if let Verdict::Send { from, to, range } = verdict {
            self.queued.push(Queued { buffer: at, range, from, to: RawAddress::new(&to) });
        }
        true
    }

    /// Makes the queued sends, runs from one socket in one call.
    fn send_queued(&mut self, turn: &mut Turn) {
        let mut start = 0;
        while let Some(first) = self.queued.get(start) {
            let from = first.from;
            let run = self.queued[start..].iter().take_while(|queued| queued.from == from).count();
            match self.send_run(from, start..start + run) {
                Ok(sent) => start += sent,
                Err(error) => {
                    self.last_send_error = error.raw_os_error();
                    turn.send_errors += 1;
                    start += 1;
                }
            }
        }
        turn.sent += self.queued.len();
        self.queued.clear();
    }

    /// Sends `run`, a non-empty part of the queue that leaves by one socket: how many went. An
    /// error concerns the first.
    fn send_run(&mut self, from: Token, run: Range<usize>) -> io::Result<usize> {
        let Some(udp) = self.sockets.socket(from) else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        let buffers = &self.buffers;
        let mut packets = self.queued[run].iter().map_while(|queued| {
            let bytes = buffers[queued.buffer].get(queued.range.clone())?;
            Some((bytes, &queued.to))
        });
        match (packets.next(), packets.next()) {
            (Some((bytes, to)), None) => sys::send_to(udp.as_fd(), bytes, to).map(|_| 1),
            (Some(first), Some(second)) => {
                self.outgoing.send(udp.as_fd(), [first, second].into_iter().chain(packets))
            }
            (None, _) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        }
    }
}

impl Driver for Epoll {
    fn add(&mut self, token: Token, socket: UdpSocket) -> io::Result<()> {
        let occupant = self.sockets.insert(token, socket, Place::Watched)?;
        let Some((udp, _)) = self.sockets.occupant(occupant) else { return Ok(()) };
        // Each socket may come to wait in the queue, which is not to grow amid packets.
        let sockets = token.0 as usize + 1;
        self.ready.reserve(sockets.saturating_sub(self.ready.len()));
        let added = sys::epoll_add(self.epoll.as_fd(), udp.as_fd(), occupant.to_u64());
        if added.is_err() {
            self.sockets.remove(token);
        }
        added
    }

    fn remove(&mut self, token: Token) {
        if let Some((_, udp, _)) = self.sockets.remove(token) {
            // Closing alone would leave the registration to a duplicate of the descriptor; that
            // it was registered is certain, so there is no error to act on.
            let _ = sys::epoll_delete(self.epoll.as_fd(), udp.as_fd());
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn turn<F>(&mut self, budget: usize, mut relay: F) -> io::Result<Turn>
    where
        F: FnMut(Received<'_>) -> Verdict,
    {
        self.linger.pause();
        if !self.ready.is_empty() {
            self.refill()?;
        }
        let mut turn = Turn::default();
        let mut reads = 0;
        while turn.received < budget && reads < budget {
            let Some(socket) = self.ready.pop_front() else {
                if self.refill()? {
                    continue;
                }
                self.linger.may_rest(&mut turn);
                return Ok(turn);
            };
            // Other errors are the network's (ICMP for a connected socket): each read takes one
            // away, so reading goes on, but reads count against the budget like packets.
            reads += 1;
            let room = BATCH.min(budget - turn.received);
            let (count, next) = match self.read(socket, room) {
                Ok(count) if count < room => (count, Place::Watched),
                Ok(count) => (count, Place::Queued),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, Place::Watched),
                Err(_) => (0, Place::Queued),
            };
            self.requeue(socket, next);
            let token = socket.token;
            turn.received += (0..count).filter(|&at| self.show(token, at, &mut relay)).count();
            self.send_queued(&mut turn);
        }
        // The kernel's own list may hold more too; asking costs a call, an empty turn no more.
        turn.more = true;
        self.linger.may_rest(&mut turn);
        Ok(turn)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn socket(&self, token: Token) -> Option<&UdpSocket> {
        self.sockets.socket(token)
    }

    fn last_send_error(&self) -> Option<io::Error> {
        self.last_send_error.map(io::Error::from_raw_os_error)
    }
}
