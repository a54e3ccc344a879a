//! The calls and streams of one worker: applies plans, runs batches, answers for what it holds.
//!
//! Sans-I/O but for the driver it is given: time comes in, so tests run it on a virtual clock.
//! The worker owns it; nothing else can reach a stream.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use packet_io::{Driver, Turn};
use slab::Slab;
use srtp::Mki;

use super::command::{
    CallKey, CallPlan, CallReport, KeyOwner, StreamIndex, WorkerEvent, WorkerSnapshot,
};
use super::copies::Copies;
use super::drop_reason::DropReason;
use super::keys::{Inbound, Outbound};
use super::limits::Notice;
use super::path::{Batch, Sent};
use super::residence;
use super::stats::{Identity, Tally};
use super::stream::{Slot, Stream, Towards};
use super::uplink::{Lane, Uplink};

/// Most packets of one turn: what the driver is asked for, and what `sent` has room for.
pub const BATCH: usize = 256;

/// One call's streams, in index order.
#[derive(Debug)]
struct Call {
    key: CallKey,
    streams: Vec<Slot>,
    created: Instant,
    /// When control was last told that the call is idle.
    told: Option<Instant>,
}

/// A worker's calls.
pub struct Table {
    calls: Slab<Call>,
    by_key: HashMap<CallKey, usize>,
    streams: Slab<Stream>,
    tally: Tally,
    sent: Vec<Sent>,
    replay_window: usize,
    /// By the uplink of an [`AgentTap`](super::command::AgentTap).
    lanes: Box<[Lane]>,
    copies: Copies,
    /// Where the next scan begins.
    scan_from: usize,
}

/// A socket that the driver did not take.
#[derive(Debug)]
pub struct SocketRefused {
    /// The call.
    pub call: CallKey,
    /// The stream, which stands without it.
    pub stream: StreamIndex,
    /// What the kernel said.
    pub error: io::Error,
}

impl From<SocketRefused> for WorkerEvent {
    fn from(SocketRefused { call, stream, error }: SocketRefused) -> Self {
        Self::SocketRefused { call, stream, error }
    }
}

impl Table {
    /// No calls; SRTP contexts to come use `replay_window` (packets), and streams with agents one of
    /// `uplinks`.
    pub fn new(replay_window: usize, uplinks: Vec<Uplink>) -> Self {
        Self {
            calls: Slab::new(),
            by_key: HashMap::new(),
            streams: Slab::new(),
            tally: Tally::new(),
            sent: Vec::with_capacity(BATCH),
            replay_window,
            lanes: uplinks.into_iter().map(Lane::new).collect(),
            copies: Copies::default(),
            scan_from: 0,
        }
    }

    /// Makes the call be what the plan says. A refused socket leaves the rest applied.
    pub fn apply(
        &mut self,
        plan: CallPlan,
        driver: &mut impl Driver,
        now: Instant,
    ) -> Result<(), SocketRefused> {
        let slots = self.slots(plan.call, plan.streams.len(), now);
        // A plan follows an offer or an answer, after which any source may start over.
        self.expect_restarts(&slots);
        let mut outcome = Ok(());
        for (index, (slot, plan_of)) in slots.iter().zip(plan.streams).enumerate() {
            if !plan_of.routes.is_empty() {
                self.copies.make_room();
            }
            if let Err(error) =
                self.streams[slot.key()].apply(*slot, &slots, plan_of, self.replay_window, driver)
            {
                let stream = StreamIndex(index as u16);
                outcome = Err(SocketRefused { call: plan.call, stream, error });
            }
        }
        self.enter_bundles(&slots);
        outcome
    }

    /// What a plan does not say: that the peer of a stream is a bundle.
    fn enter_bundles(&mut self, slots: &[Slot]) {
        for slot in slots {
            if let Towards::Peer(peer) = self.streams[slot.key()].towards
                && let Some(Towards::Sections) =
                    self.streams.get(peer.key()).map(|peer| peer.towards)
            {
                self.streams[slot.key()].towards = Towards::Bundle(peer);
            }
        }
    }

    /// Protects towards a stream's party under another of the keys that it was given.
    pub fn switch_key(&mut self, call: CallKey, stream: StreamIndex, mki: &Mki) {
        if let Some(stream) = self.stream_mut(call, stream) {
            stream.switch_key(mki);
        }
    }

    /// Ends the call: its sockets close; what it did is returned.
    pub fn close(&mut self, call: CallKey, driver: &mut impl Driver) -> Option<CallReport> {
        let report = self.report(call)?;
        let call = self.calls.remove(self.by_key.remove(&call)?);
        for slot in call.streams {
            self.streams[slot.key()].close_sockets(slot, driver);
            self.streams.remove(slot.key());
        }
        Some(report)
    }

    /// What the call did so far.
    pub fn report(&self, call: CallKey) -> Option<CallReport> {
        let call = &self.calls[*self.by_key.get(&call)?];
        let streams = call.streams.iter().map(|slot| self.streams[slot.key()].report());
        Some(CallReport { streams: streams.collect() })
    }

    /// What the worker did so far.
    pub(super) fn snapshot(&self, identity: Identity) -> WorkerSnapshot {
        self.tally.snapshot(identity, self.calls.len(), self.streams.len())
    }

    /// The driver's descriptor became readable.
    pub(super) fn note_wakeup(&mut self) {
        self.tally.wakeups += 1;
    }

    /// One turn of the driver: receives, relays and sends a batch, then takes residence times.
    /// `realtime_ns` reads CLOCK_REALTIME, once, after the sends.
    pub fn turn(
        &mut self,
        driver: &mut impl Driver,
        now: Instant,
        realtime_ns: impl FnOnce() -> u64,
    ) -> io::Result<Turn> {
        self.sent.clear();
        let mut batch = Batch {
            streams: &mut self.streams,
            tally: &mut self.tally,
            sent: &mut self.sent,
            lanes: &mut self.lanes,
            copies: &mut self.copies,
            now,
        };
        let turn = driver.turn(BATCH, |packet| batch.relay(packet))?;
        self.lanes.iter_mut().for_each(Lane::end_turn);
        self.copies.send(driver, &mut self.tally);
        self.tally.packets_out += turn.sent as u64;
        self.tally.drops[DropReason::SendFailed as usize] += turn.send_errors as u64;
        if !self.sent.is_empty() {
            self.take_residence(realtime_ns());
        }
        Ok(turn)
    }

    /// Looks at `share` of the calls, a different share each time, and tells of those idle for
    /// `threshold` (again after each further `threshold`) and of keys near their limit.
    pub fn scan(
        &mut self,
        share: usize,
        threshold: Duration,
        now: Instant,
        mut tell: impl FnMut(WorkerEvent) -> Told,
    ) {
        let end = self.calls.capacity();
        let from = if self.scan_from >= end { 0 } else { self.scan_from };
        let to = end.min(from + end.div_ceil(share));
        self.scan_from = to;
        for at in from..to {
            let Some(call) = self.calls.get_mut(at) else { continue };
            call.tell_idle(&self.streams, threshold, now, &mut tell);
            for slot in &call.streams {
                self.streams[slot.key()].tell_limits(&mut tell);
            }
        }
    }

    fn take_residence(&mut self, sent_ns: u64) {
        for sent in &self.sent {
            let Some(elapsed) = residence::between(sent.received_ns, sent_ns) else {
                self.tally.clock_steps += 1;
                continue;
            };
            self.tally.residence.saturating_record(elapsed);
            self.streams[sent.from.key()].cold.residence.record(elapsed);
        }
    }

    /// The call's slots, made or added to until there are `count`.
    fn slots(&mut self, key: CallKey, count: usize, now: Instant) -> Vec<Slot> {
        let calls = &mut self.calls;
        let at = *self.by_key.entry(key).or_insert_with(|| {
            calls.insert(Call { key, streams: Vec::with_capacity(count), created: now, told: None })
        });
        let call = &mut calls[at];
        while call.streams.len() < count {
            let index = StreamIndex(call.streams.len() as u16);
            call.streams.push(Slot(self.streams.insert(Stream::new(key, index)) as u32));
        }
        call.streams.clone()
    }

    /// The stream at `slot`.
    pub(super) fn at(&self, slot: Slot) -> Option<&Stream> {
        self.streams.get(slot.key())
    }

    /// The same, to change it.
    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Stream> {
        self.streams.get_mut(slot.key())
    }

    /// Packets that SRTP contexts to come look back.
    pub(super) fn replay_window(&self) -> usize {
        self.replay_window
    }

    /// The slots of a call's streams, in index order.
    pub(super) fn streams_of(&self, call: CallKey) -> Option<&[Slot]> {
        Some(&self.calls[*self.by_key.get(&call)?].streams)
    }

    fn expect_restarts(&mut self, slots: &[Slot]) {
        for slot in slots {
            let stream = &mut self.streams[slot.key()];
            stream.sources.expect_restart();
            if let Inbound::Srtp(opener) = &mut stream.inbound {
                opener.expect_restart();
            }
            if let Outbound::Srtp(sealer) = &mut stream.outbound {
                sealer.expect_restart();
            }
        }
    }
}

impl Stream {
    fn tell_limits(&mut self, tell: &mut impl FnMut(WorkerEvent) -> Told) {
        let (call, stream) = (self.cold.call, self.cold.index);
        for owner in [KeyOwner::Party, KeyOwner::Ours] {
            if self.cold.limits[owner as usize] == Notice::Below {
                continue;
            }
            let state = match (owner, &self.inbound, &self.outbound) {
                (KeyOwner::Party, Inbound::Srtp(opener), _) => opener.key_state(),
                (KeyOwner::Ours, _, Outbound::Srtp(sealer)) => sealer.key_state(),
                _ => continue,
            };
            let notice = &mut self.cold.limits[owner as usize];
            notice.look_again(state);
            let Some(limit) = notice.news() else { continue };
            let mki = match (owner, &self.outbound) {
                (KeyOwner::Ours, Outbound::Srtp(sealer)) => sealer.mki(),
                _ => Mki::none(),
            };
            if tell(WorkerEvent::KeyLimit { call, stream, owner, mki, limit }) == Told::Yes {
                notice.told();
            }
        }
    }
}

impl Call {
    fn tell_idle(
        &mut self,
        streams: &Slab<Stream>,
        threshold: Duration,
        now: Instant,
        tell: &mut impl FnMut(WorkerEvent) -> Told,
    ) {
        let last = self.streams.iter().filter_map(|slot| streams[slot.key()].last_packet).max();
        let since = last.unwrap_or(self.created);
        let quiet_from = self.told.map_or(since, |told| told.max(since));
        if now.saturating_duration_since(quiet_from) < threshold {
            return;
        }
        if tell(WorkerEvent::Idle { call: self.key, since }) == Told::Yes {
            self.told = Some(now);
        }
    }
}

/// Whether control's queue had room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It had.
    Yes,
    /// It was full: the next scan tries again.
    QueueFull,
}
