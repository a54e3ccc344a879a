//! Sending: the packets of a batch that leave by this socket, in order, in as few calls as can be.
//!
//! 1. Packets with the socket's token are listed; those dropped are not.
//! 2. A run of packets to one peer, equally long but the last, becomes one message with
//!    UDP_SEGMENT; all else one message each. Messages go out by sendmmsg.
//! 3. A message that fails concerns its packets only: a run is tried again packet by packet, a
//!    packet is counted by what was wrong, and sending goes on behind it.

use std::io;
use std::os::fd::AsFd;

use socket2::Socket;

use super::EspSocket;
use super::receive::is_icmp;
use super::sys::{Gather, Message};
use crate::ancillary;
use crate::batch::{PacketBatch, SEGMENTS};
use crate::driver::Token;
use crate::offload::Support;
use crate::sys::poll_writable;

/// What a [`EspSocket::send`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets that the kernel took.
    pub packets: usize,
    /// Packets longer than their path's MTU (EMSGSIZE): [`EspSocket::take_path_events`] tells it.
    pub too_big: usize,
    /// Packets for which the send buffer or the device's queue had no room, even after a wait of
    /// up to [`PATIENCE_MS`] in this call.
    pub no_room: usize,
    /// Packets refused for another reason: see [`EspSocket::last_send_error`].
    pub refused: usize,
    /// Messages that the kernel was given: fewer than packets when packets were joined.
    pub messages: usize,
}

/// What sending needs from call to call, so that nothing is allocated.
pub(super) struct Outgoing {
    pub(super) support: Support,
    gather: Gather<CONTROL>,
    /// Packets of the batch that leave by this socket.
    order: Vec<usize>,
    planned: Vec<Planned>,
}

/// One message: packets `start..start + packets` of `order`.
#[derive(Clone, Copy)]
struct Planned {
    start: usize,
    packets: usize,
    segment: Option<u16>,
    traffic_class: u8,
}

/// How far a send has come.
struct Progress {
    /// In `order`: what comes before is done with.
    at: usize,
    /// Up to here packets go one by one, because together they were refused.
    singly_until: usize,
    /// Where a send has been tried again already.
    retried_at: Option<usize>,
    has_waited: bool,
}

impl EspSocket {
    /// Sends the packets of `batch` with this socket's token, each to its peer with its traffic
    /// class, in order. It waits only for room in the send buffer, up to [`PATIENCE_MS`] in all.
    /// No packet stops those behind it; what did not go is counted in [`Sent`] and
    /// [`EspSocket::counters`].
    pub fn send(&mut self, batch: &PacketBatch) -> Sent {
        let mut sent = Sent::default();
        let mut progress = Progress { at: 0, singly_until: 0, retried_at: None, has_waited: false };
        self.outgoing.list(batch, self.token);
        while progress.at < self.outgoing.order.len() {
            self.outgoing.plan(batch, &progress);
            match self.outgoing.send(&self.socket, batch) {
                Ok(messages) => {
                    let packets = self.outgoing.packets_of(messages);
                    sent.messages += messages;
                    sent.packets += packets;
                    progress.at += packets;
                }
                Err(error) => self.mend(&error, &mut progress, &mut sent),
            }
        }
        self.counters.too_big += sent.too_big as u64;
        self.counters.no_room += sent.no_room as u64;
        self.counters.refused += sent.refused as u64;
        sent
    }

    /// What `error`, which concerns the first message planned, means for the rest.
    fn mend(&mut self, error: &io::Error, progress: &mut Progress, sent: &mut Sent) {
        let at = progress.at;
        let packets = self.outgoing.planned.first().map_or(1, |first| first.packets);
        match error.raw_os_error() {
            Some(libc::EAGAIN) if !progress.has_waited => {
                progress.has_waited = true;
                // Whether there is room is what the next send says.
                let _ = poll_writable(self.socket.as_fd(), PATIENCE_MS);
            }
            Some(libc::EAGAIN) => {
                sent.no_room += self.outgoing.order.len() - at;
                progress.at = self.outgoing.order.len();
            }
            // It may be about a packet sent before; being told once takes that away.
            _ if is_icmp(error) && progress.retried_at != Some(at) => {
                progress.retried_at = Some(at);
            }
            reason if packets > 1 => {
                progress.singly_until = at + packets;
                // No checksum offload on the way out: it will not come back with the next packet.
                if reason == Some(libc::EIO) {
                    let reason = format!("UDP_SEGMENT: {error}");
                    self.outgoing.support = Support::Inactive(reason);
                }
            }
            Some(libc::EMSGSIZE) => {
                sent.too_big += 1;
                progress.at += 1;
            }
            Some(libc::ENOBUFS) => {
                sent.no_room += 1;
                progress.at += 1;
            }
            reason => {
                self.last_send_error = reason;
                sent.refused += 1;
                progress.at += 1;
            }
        }
    }
}

impl Outgoing {
    pub(super) fn new(support: Support) -> Self {
        Self {
            support,
            gather: Gather::new(MESSAGES, PACKETS),
            order: Vec::new(),
            planned: Vec::with_capacity(MESSAGES),
        }
    }

    fn list(&mut self, batch: &PacketBatch, token: Token) {
        self.order.clear();
        self.order.reserve(batch.capacity());
        for (at, (place, bytes)) in batch.packets().enumerate() {
            if place.token == token && !bytes.is_empty() {
                self.order.push(at);
            }
        }
    }

    /// Makes the next messages of what is listed.
    fn plan(&mut self, batch: &PacketBatch, progress: &Progress) {
        self.planned.clear();
        let mut start = progress.at;
        let end = self.order.len().min(start + PACKETS);
        while start < end && self.planned.len() < MESSAGES {
            let first = self.order[start];
            let packets = if start < progress.singly_until || !self.support.is_active() {
                1
            } else {
                run(batch, &self.order[start..end])
            };
            let segment = (packets > 1).then(|| batch.packet(first).len() as u16);
            let traffic_class = batch.place(first).traffic_class;
            self.planned.push(Planned { start, packets, segment, traffic_class });
            start += packets;
        }
    }

    /// One sendmmsg of what is planned.
    fn send(&mut self, socket: &Socket, batch: &PacketBatch) -> io::Result<usize> {
        let Self { gather, order, planned, .. } = self;
        let destination = |planned: &Planned| &batch.place(order[planned.start]).peer;
        let messages = planned
            .iter()
            .map(|planned| Message { to: &destination(planned).0, packets: planned.packets });
        let first = planned.first().map_or(0, |first| first.start);
        let packets = order[first..].iter().map(|&at| batch.packet(at));
        gather.send(socket.as_fd(), messages, packets, |at, control| {
            write_control(&planned[at], destination(&planned[at]).is_ipv4(), control)
        })
    }

    /// How many packets the first `messages` planned hold.
    fn packets_of(&self, messages: usize) -> usize {
        self.planned[..messages].iter().map(|planned| planned.packets).sum()
    }
}

/// How many packets from the first of `order` on make one message.
fn run(batch: &PacketBatch, order: &[usize]) -> usize {
    let Some((&first, rest)) = order.split_first() else { return 0 };
    let (head, segment) = (batch.place(first), batch.packet(first).len());
    let (mut count, mut total) = (1, segment);
    for &at in rest.iter().take(SEGMENTS - 1) {
        let (place, length) = (batch.place(at), batch.packet(at).len());
        let fits = length <= segment && total + length <= JOINED;
        if !fits || place.peer != head.peer || place.traffic_class != head.traffic_class {
            break;
        }
        count += 1;
        total += length;
        if length < segment {
            break;
        }
    }
    count
}

/// Segment size and outer TOS, where there is something to say: the length of it.
fn write_control(message: &Planned, is_ipv4: bool, control: &mut [u8; CONTROL]) -> usize {
    let mut used = 0;
    if let Some(segment) = message.segment {
        let segment = segment.to_ne_bytes();
        used = ancillary::append(control, used, libc::SOL_UDP, libc::UDP_SEGMENT, &segment);
    }
    if message.traffic_class != 0 {
        let class = i32::from(message.traffic_class).to_ne_bytes();
        let (level, kind) = if is_ipv4 {
            (libc::IPPROTO_IP, libc::IP_TOS)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        };
        used = ancillary::append(control, used, level, kind, &class);
    }
    used
}

/// How long a send waits for room in the send buffer.
pub const PATIENCE_MS: i32 = 5;

/// Messages of one sendmmsg.
const MESSAGES: usize = 64;
/// Packets of one sendmmsg.
const PACKETS: usize = 512;
/// What joined packets may be together: a UDP datagram over either IP, with room for options.
const JOINED: usize = 65_000;
/// UDP_SEGMENT and the outer TOS or traffic class.
const CONTROL: usize = ancillary::space(2) + ancillary::space(4);

const _: () = assert!(PACKETS >= SEGMENTS, "a run fits a call");
