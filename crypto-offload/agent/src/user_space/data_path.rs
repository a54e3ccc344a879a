//! The data thread: packets from the TUN device become ESP packets, and the other way round.
//!
//! One turn: sleep until something is ready; do what the engine asks for; one batch from the
//! device, sealed and sent; one batch from each socket, opened and written. Per packet nothing is
//! allocated, locked, logged or timed. The thread alone owns device, sockets, SAs and replay
//! windows, so a change of policy falls between two packets: none is lost, doubled or overtaken.
//!
//! 1. Outbound: policy, its SA, length, seal. What fails on the way is dropped and counted; nothing
//!    from the device ever leaves in clear.
//! 2. Inbound: SA by socket (its local address) and SPI, open, inner packet within the SA's
//!    selector (RFC 4301 section 5.2), ECN.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError},
    },
    time::Instant,
};

use crypto_offload::{
    Direction, EngineError, ErrorClass,
    esp::{DropReason, Inner, NextHeader, ecn},
};
use packet_io::{
    PacketBatch, PacketMut, Peer, Token, WaitSet,
    esp::{EspOptions, EspSocket, PathEvent, Sent},
    tun::Tun,
};

use super::{
    icmp::{self, Bucket},
    keeper::{Notice, Notices},
    network::SocketKey,
    policy_table::{Flow, PolicyTable},
    refusal,
    sa::{Inbound, Outbound},
    statistics::{Loss, Statistics},
};

/// See the module's documentation.
pub(super) struct DataPath {
    tun: Tun,
    wait: WaitSet,
    commands: Receiver<Request>,
    notices: Notices,
    statistics: Arc<Statistics>,
    policies: Policies,
    /// By the slot that the engine gave them.
    outbound: Vec<Option<Box<Outbound>>>,
    inbound: Inbounds,
    /// By token, less one: 0 is the device's.
    sockets: Vec<Option<Box<Socket>>>,
    from_tun: PacketBatch,
    answers: PacketBatch,
    bucket: Bucket,
    tun_counted: u64,
}

/// A table, and the slot of each policy's SA.
#[derive(Default)]
pub(super) struct Policies {
    pub(super) table: PolicyTable,
    pub(super) bindings: Vec<Option<u32>>,
}

/// Inbound SAs. The map's hasher is keyed, for SPIs are what strangers send.
#[derive(Default)]
struct Inbounds {
    slots: HashMap<(Token, u32), u32>,
    all: Vec<Option<Box<Inbound>>>,
    free: Vec<u32>,
}

/// A socket with what it receives into.
struct Socket {
    socket: EspSocket,
    batch: PacketBatch,
    is_readable: bool,
    has_error: bool,
    has_outgoing: bool,
    kernel_drops: u32,
}

/// What the engine asks for.
pub(super) enum Command {
    AddOutbound(u32, Box<Outbound>),
    RemoveOutbound(u32),
    AddInbound(Token, u32, Box<Inbound>),
    RemoveInbound(Token, u32),
    OpenSocket { key: SocketKey, token: Token, options: EspOptions },
    CloseSocket(Token),
    SetPolicies(Box<Policies>),
    Bind { policy: u32, sa: Option<u32> },
    Stop,
}

/// A command, and where its answer goes.
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) answer: SyncSender<Result<(), EngineError>>,
}

/// Why an outbound packet goes no further.
enum Refused {
    Esp(DropReason),
    Lost(Loss),
    TooBig(usize),
}

impl From<DropReason> for Refused {
    fn from(reason: DropReason) -> Self {
        Self::Esp(reason)
    }
}

impl DataPath {
    /// `wait` watches `tun` as [`TUN`].
    pub(super) fn new(
        tun: Tun,
        wait: WaitSet,
        commands: Receiver<Request>,
        notices: Notices,
        statistics: Arc<Statistics>,
        longest: usize,
    ) -> Self {
        let from_tun = tun.batch(TUN_BATCH, longest);
        Self {
            tun,
            wait,
            commands,
            notices,
            statistics,
            policies: Policies::default(),
            outbound: Vec::new(),
            inbound: Inbounds::default(),
            sockets: Vec::new(),
            from_tun,
            answers: PacketBatch::new(ANSWERS, icmp::LONGEST),
            bucket: Bucket::new(Instant::now()),
            tun_counted: 0,
        }
    }

    /// Runs until told to stop, or until the device is gone.
    pub(super) fn run(mut self) {
        if let Err(error) = self.turns() {
            tracing::error!(%error, "the data path of user-space ESP ended");
            // Blocks if need be: it is the last thing that is done here.
            let _ = self.notices.0.send(Notice::DeviceGone);
        }
    }

    fn turns(&mut self) -> io::Result<()> {
        loop {
            let is_tun_readable = self.sleep()?;
            loop {
                match self.commands.try_recv() {
                    Ok(Request { command: Command::Stop, .. })
                    | Err(TryRecvError::Disconnected) => return Ok(()),
                    Ok(request) => self.serve(request)?,
                    Err(TryRecvError::Empty) => break,
                }
            }
            if is_tun_readable || self.tun.has_pending() {
                self.protect()?;
            }
            for at in 0..self.sockets.len() {
                self.unprotect(at)?;
            }
        }
    }

    /// Waits for work; whether the device has some. Sockets keep their own marks.
    fn sleep(&mut self) -> io::Result<bool> {
        let patience = self.tun.has_pending().then_some(std::time::Duration::ZERO);
        let mut is_tun_readable = false;
        for ready in self.wait.wait(patience)? {
            if ready.token == TUN {
                is_tun_readable = true;
            } else if let Some(Some(socket)) = self.sockets.get_mut(ready.token.0 as usize - 1) {
                socket.is_readable = ready.readable;
                socket.has_error = ready.error;
            }
        }
        Ok(is_tun_readable)
    }

    fn serve(&mut self, Request { command, answer }: Request) -> io::Result<()> {
        let done = match command {
            Command::AddOutbound(slot, sa) => {
                put(&mut self.outbound, slot as usize, sa);
                Ok(())
            }
            Command::RemoveOutbound(slot) => {
                self.outbound[slot as usize] = None;
                Ok(())
            }
            Command::AddInbound(token, spi, sa) => {
                self.inbound.add((token, spi), sa);
                Ok(())
            }
            Command::RemoveInbound(token, spi) => {
                self.drain(token)?;
                self.inbound.remove((token, spi));
                Ok(())
            }
            Command::OpenSocket { key, token, options } => self.open_socket(key, token, &options),
            Command::CloseSocket(token) => {
                // Closing takes it out of the wait set.
                self.sockets[token.0 as usize - 1] = None;
                Ok(())
            }
            Command::SetPolicies(policies) => {
                self.policies = *policies;
                Ok(())
            }
            Command::Bind { policy, sa } => {
                self.policies.bindings[policy as usize] = sa;
                Ok(())
            }
            Command::Stop => Ok(()),
        };
        // The engine waits for it; if it does not, nobody wants to know.
        let _ = answer.try_send(done);
        Ok(())
    }

    /// Opens what a socket's queue holds before one of its SAs goes: a thread that is late would
    /// otherwise drop what came in time. Under a flood it ends after one queue's length.
    fn drain(&mut self, token: Token) -> io::Result<()> {
        let at = token.0 as usize - 1;
        for _ in 0..QUEUE_BATCHES {
            let Some(Some(socket)) = self.sockets.get_mut(at) else { break };
            socket.is_readable = true;
            self.unprotect(at)?;
            if self.sockets[at].as_ref().is_none_or(|socket| socket.batch.is_empty()) {
                break;
            }
        }
        Ok(())
    }

    /// Opened here because a socket's buffers stay on their thread.
    fn open_socket(
        &mut self,
        key: SocketKey,
        token: Token,
        options: &EspOptions,
    ) -> Result<(), EngineError> {
        let socket = Box::new(Socket::new(key.open(token, options)?));
        self.wait
            .add(token, &socket.socket)
            .map_err(|error| refusal(ErrorClass::Fatal, "wait on", "ESP socket", error, None))?;
        put(&mut self.sockets, token.0 as usize - 1, socket);
        Ok(())
    }

    /// One batch from the device to the peers.
    fn protect(&mut self) -> io::Result<()> {
        self.tun.read(&mut self.from_tun)?;
        self.count_tun();
        self.answers.clear();
        let mut route = Route::default();
        for mut packet in self.from_tun.packets_mut() {
            let sealed = route
                .find(&packet, &self.policies)
                .and_then(|slot| slot.ok_or(Refused::Lost(Loss::NoOutboundSa)))
                .and_then(|slot| match self.outbound.get_mut(slot as usize) {
                    Some(Some(sa)) => seal(sa, &mut packet, &self.notices),
                    _ => Err(Refused::Lost(Loss::NoOutboundSa)),
                });
            match sealed {
                Ok(token) => {
                    if let Some(Some(socket)) = self.sockets.get_mut(token.0 as usize - 1) {
                        socket.has_outgoing = true;
                    }
                }
                Err(refused) => {
                    refuse(
                        &refused,
                        &packet,
                        &self.statistics,
                        &mut self.bucket,
                        &mut self.answers,
                    );
                    packet.place.discard();
                }
            }
        }
        for socket in self.sockets.iter_mut().flatten().filter(|socket| socket.has_outgoing) {
            socket.has_outgoing = false;
            count_sent(&socket.socket.send(&self.from_tun), &self.statistics, socket);
        }
        if !self.answers.is_empty() {
            self.tun.write(&self.answers)?;
        }
        Ok(())
    }

    /// One batch from the socket `at` to the device.
    fn unprotect(&mut self, at: usize) -> io::Result<()> {
        let Some(Some(socket)) = self.sockets.get_mut(at) else { return Ok(()) };
        if std::mem::take(&mut socket.has_error) {
            socket.hear(&self.notices);
        }
        if !std::mem::take(&mut socket.is_readable) {
            return Ok(());
        }
        // Memory pressure and the like: what waits is read with the next turn.
        if socket.socket.receive(&mut socket.batch).is_err() {
            return Ok(());
        }
        socket.count_kernel_drops(&self.statistics);
        let token = socket.socket.token();
        let mut last = None;
        for mut packet in socket.batch.packets_mut() {
            if let Err(refused) =
                open(&mut self.inbound, token, &mut last, &mut packet, &self.notices)
            {
                match refused {
                    Refused::Esp(reason) => self.statistics.drop_esp(Direction::Inbound, reason),
                    Refused::Lost(loss) => self.statistics.lose(loss, 1),
                    Refused::TooBig(_) => {}
                }
                packet.place.discard();
            }
        }
        let written = self.tun.write(&socket.batch)?;
        self.statistics.lose(Loss::TunRefused, written.refused as u64);
        Ok(())
    }

    /// What the device could not make a packet of.
    fn count_tun(&mut self) {
        let counters = self.tun.counters();
        let total = counters.oversize + counters.malformed;
        self.statistics.lose(Loss::TunUnusable, total - self.tun_counted);
        self.tun_counted = total;
    }
}

/// The latest packet's policy: packets come in runs.
#[derive(Default)]
struct Route(Option<(Flow, Option<u32>)>);

impl Route {
    /// The slot of the SA for `packet`, if its policy has one now.
    fn find(
        &mut self,
        packet: &PacketMut<'_>,
        policies: &Policies,
    ) -> Result<Option<u32>, Refused> {
        let flow = Flow::of(&Inner::parse(packet.bytes())?);
        if let Some((known, slot)) = self.0
            && known == flow
        {
            return Ok(slot);
        }
        let policy = policies.table.find(&flow).ok_or(Refused::Lost(Loss::NoPolicy))?;
        let slot = policies.bindings.get(policy as usize).copied().flatten();
        self.0 = Some((flow, slot));
        Ok(slot)
    }
}

fn seal(
    sa: &mut Outbound,
    packet: &mut PacketMut<'_>,
    notices: &Notices,
) -> Result<Token, Refused> {
    let bytes = packet.bytes();
    let mtu = sa.inner_mtu();
    if bytes.len() > mtu {
        return Err(Refused::TooBig(mtu));
    }
    let first = bytes.first().copied().unwrap_or_default();
    let next_header = NextHeader::of_packet(first).ok_or(DropReason::NotIp)?;
    sa.seal(packet, next_header, notices)?;
    Ok(sa.token())
}

/// Opens `packet`, and leaves in it what was inside.
fn open(
    inbound: &mut Inbounds,
    token: Token,
    last: &mut Option<(u32, u32)>,
    packet: &mut PacketMut<'_>,
    notices: &Notices,
) -> Result<(), Refused> {
    let spi = packet.bytes().first_chunk().map(|spi| u32::from_be_bytes(*spi));
    let spi = spi.ok_or(DropReason::TooShort)?;
    let slot = match *last {
        Some((known, slot)) if known == spi => slot,
        _ => *inbound.slots.get(&(token, spi)).ok_or(Refused::Lost(Loss::NoSa))?,
    };
    *last = Some((spi, slot));
    let sa = inbound.all.get_mut(slot as usize).and_then(Option::as_mut);
    let sa = sa.ok_or(Refused::Lost(Loss::NoSa))?;
    let opened = sa.open(packet.bytes_mut(), notices)?;
    let start = packet.place.range.start + opened.payload.start;
    packet.place.range = start..start + opened.payload.len();
    let inner = Inner::tunnelled(opened.next_header, packet.bytes())?;
    packet.place.range.end = start + inner.length;
    if !inner.fits(&sa.selector) {
        return Err(Refused::Lost(Loss::Selector));
    }
    let traffic_class = packet.place.traffic_class;
    ecn::decapsulate(packet.bytes_mut(), traffic_class)?;
    Ok(())
}

/// Counts an outbound packet that goes no further, and answers one that is too big.
#[cold]
fn refuse(
    refused: &Refused,
    packet: &PacketMut<'_>,
    statistics: &Statistics,
    bucket: &mut Bucket,
    answers: &mut PacketBatch,
) {
    match *refused {
        Refused::Esp(reason) => statistics.drop_esp(Direction::Outbound, reason),
        Refused::Lost(loss) => statistics.lose(loss, 1),
        Refused::TooBig(mtu) => {
            statistics.lose(Loss::TooBig, 1);
            let mut answer = [0; icmp::LONGEST];
            let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
            if let Some(length) = icmp::too_big(packet.bytes(), mtu, &mut answer)
                && bucket.take(Instant::now())
            {
                answers.push(&answer[..length], TUN, Peer::NONE);
            }
        }
    }
}

fn count_sent(sent: &Sent, statistics: &Statistics, socket: &mut Socket) {
    statistics.lose(Loss::TooBig, sent.too_big as u64);
    statistics.lose(Loss::SendQueue, sent.no_room as u64);
    statistics.lose(Loss::SendRefused, sent.refused as u64);
    // The error queue says which path it was.
    socket.has_error |= sent.too_big > 0;
}

impl Inbounds {
    fn add(&mut self, key: (Token, u32), sa: Box<Inbound>) {
        let slot = self.free.pop().unwrap_or(self.all.len() as u32);
        put(&mut self.all, slot as usize, sa);
        self.slots.insert(key, slot);
    }

    fn remove(&mut self, key: (Token, u32)) {
        if let Some(slot) = self.slots.remove(&key) {
            self.all[slot as usize] = None;
            self.free.push(slot);
        }
    }
}

impl Socket {
    fn new(socket: EspSocket) -> Self {
        let batch = socket.batch(SOCKET_BATCH);
        Self {
            socket,
            batch,
            is_readable: false,
            has_error: false,
            has_outgoing: false,
            kernel_drops: 0,
        }
    }

    /// Empties the error queue. What routers say is not believed here: the keeper asks the kernel.
    #[cold]
    fn hear(&mut self, notices: &Notices) {
        let mut is_narrower = false;
        self.socket.take_path_events(|event| is_narrower |= matches!(event, PathEvent::Mtu { .. }));
        if is_narrower {
            notices.offer(Notice::PathChanged);
        }
    }

    fn count_kernel_drops(&mut self, statistics: &Statistics) {
        let drops = self.socket.counters().kernel_drops;
        let more = drops.wrapping_sub(self.kernel_drops);
        self.kernel_drops = drops;
        statistics.lose(Loss::ReceiveQueue, u64::from(more));
    }
}

fn put<T>(all: &mut Vec<Option<T>>, at: usize, one: T) {
    if all.len() <= at {
        all.resize_with(at + 1, || None);
    }
    all[at] = Some(one);
}

/// The device's token; sockets have the others.
pub(super) const TUN: Token = Token(0);
/// Packets of one read of the device: a super-packet of 64 KiB has 47 of 1,400 bytes.
const TUN_BATCH: usize = 128;
/// Datagrams of one read of a socket, of up to 64 packets each.
const SOCKET_BATCH: usize = 32;
const ANSWERS: usize = 8;
/// Reads that empty the longest queue: the kernel counts at least 768 bytes for each datagram, of
/// 4 MiB and as much again of slack.
const QUEUE_BATCHES: usize = 8 * 1024 * 1024 / 768 / SOCKET_BATCH;
