//! An agents' thread: `webrtc-0` and its like. It owns the legs of its calls and waits for nobody.
//!
//! One round:
//! 1. STUN, all of it: consent and checks come before everything else, also between two steps of
//!    handshakes.
//! 2. What control says ([`Order`]): plans, ends, certificates.
//! 3. Sockets that workers lent, signatures that came, deadlines that are due.
//! 4. DTLS: what costs little at once; steps of handshakes within the [`Budget`], those under way
//!    before new ones. What is beyond waits in queues that are bounded, or is dropped and counted:
//!    the party sends it again. A handshake takes its place with the party's first answer.
//! 5. Sleep, until called or until the next deadline.
//!
//! What a leg wants done ([`Effect`]) is done at once: datagrams leave from the lent sockets (a
//! full buffer loses them, as a network would), keys and paths go to the worker in order, and are
//! kept while its inbox is full.

mod handshakes;
mod loans;

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use webrtc::dtls::{DtlsSettings, SignRequest};

use self::loans::LOAN_LOOK;
use super::budget::Budget;
use super::certificates::{Shelf, Shown};
use super::effect::{Effect, Place};
use super::figures::{AgentDrop, Figures, Tally};
use super::leg::{Leg, LegKey};
use super::line::Line;
use super::plan::{Epoch, LegNews, LegNewsKind, LegUpdate};
use super::seat::{Planned, Seat};
use super::signing::{Signed, Signing};
use super::sys;
use super::timers::Timers;
use crate::relay::command::{CallKey, Command};
use crate::relay::uplink::{AgentPacket, Intake, Uplink};
use crate::workers::Outbox;

/// Control to an agents' thread.
pub(super) enum Order {
    /// Make the leg be this; its call is this worker's, who has the plan.
    Leg { worker: usize, update: Box<LegUpdate> },
    /// A call has ended.
    End(CallKey),
    /// A certificate that plans may name from now on.
    Certificate(Shown),
    /// Limits and DTLS settings from now on.
    Limits(Limits),
    /// Tell your numbers.
    Inquire(oneshot::Sender<Figures>),
    /// Leave.
    Stop,
}

/// What a thread goes by.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Of each association.
    pub(super) dtls: DtlsSettings,
    /// Handshakes at a time.
    pub(super) max_handshakes: usize,
    /// Share of the thread's time for them.
    pub(super) share: f64,
}

/// All that a thread is started with.
pub(super) struct Setup {
    pub(super) intake: Intake,
    /// Its own: whoever brings a signature calls.
    pub(super) uplink: Uplink,
    pub(super) orders: Receiver<Order>,
    pub(super) workers: Vec<Outbox>,
    pub(super) news: mpsc::UnboundedSender<LegNews>,
    /// Where what blocks may run.
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) limits: Limits,
}

/// See the module's documentation.
pub(super) struct AgentThread {
    setup: Setup,
    seats: BTreeMap<LegKey, Seat>,
    timers: Timers,
    shelf: Shelf,
    budget: Budget,
    tally: Tally,
    /// Legs whose sockets are asked for.
    loans: Vec<LegKey>,
    /// Datagrams of handshakes under way.
    ongoing: VecDeque<Box<AgentPacket>>,
    /// First answers, whose handshakes need a place now.
    answers: Line,
    /// ClientHellos.
    fresh: Line,
    /// Clients that could begin.
    clients: VecDeque<LegKey>,
    signing: Signing,
    /// Reused.
    effects: Vec<Effect>,
}

impl AgentThread {
    pub(super) fn new(setup: Setup) -> Self {
        let now = Instant::now();
        let signing = Signing::new(setup.runtime.clone(), setup.uplink.clone());
        let budget = Budget::new(setup.limits.max_handshakes, setup.limits.share, now);
        Self {
            setup,
            seats: BTreeMap::new(),
            timers: Timers::default(),
            shelf: Shelf::default(),
            budget,
            tally: Tally::new(),
            loans: Vec::new(),
            ongoing: VecDeque::new(),
            answers: Line::new(handshakes::ANSWERS),
            fresh: Line::new(handshakes::FRESH),
            clients: VecDeque::new(),
            signing,
            effects: Vec::new(),
        }
    }

    /// Until told to stop.
    pub(super) fn run(mut self) {
        if let Err(error) = sys::yield_to_others(NICE) {
            tracing::warn!(%error, "an agents' thread is as urgent as a worker");
        }
        loop {
            self.take_stun();
            if self.obey().is_break() {
                return;
            }
            self.take_loans();
            self.take_signatures();
            self.handle_timeouts();
            self.take_dtls();
            self.shake_hands();
            self.setup.workers.iter_mut().for_each(Outbox::flush);
            let patience = self.patience(Instant::now());
            if !patience.is_zero() {
                self.setup.intake.sleep(patience);
            }
        }
    }

    fn take_stun(&mut self) {
        for _ in 0..A_ROUND {
            let Some(packet) = self.setup.intake.stun() else { return };
            let now = Instant::now();
            self.with_leg_of(&packet, |leg, out| leg.stun((&packet).into(), now, out));
        }
    }

    fn obey(&mut self) -> ControlFlow<()> {
        for _ in 0..A_ROUND {
            match self.setup.orders.try_recv() {
                Ok(Order::Leg { worker, update }) => self.plan(worker, *update),
                Ok(Order::End(call)) => self.end_call(call),
                Ok(Order::Certificate(shown)) => self.shelf.put(shown),
                Ok(Order::Limits(limits)) => {
                    self.budget.change(limits.max_handshakes, limits.share);
                    self.setup.limits = limits;
                }
                Ok(Order::Inquire(reply)) => {
                    let legs = self.seats.values().map(|seat| &seat.leg);
                    let figures = self.tally.figures(self.budget.running(), legs);
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(figures);
                }
                Ok(Order::Stop) | Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    return ControlFlow::Break(());
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
            }
        }
        ControlFlow::Continue(())
    }

    fn plan(&mut self, worker: usize, update: LegUpdate) {
        let key = LegKey::new(update.call, update.stream);
        let Some(plan) = update.plan else { return self.end(key) };
        let now = Instant::now();
        let Some(seat) = self.seats.get_mut(&key) else {
            self.seats.insert(key, Seat::new(plan, worker));
            return self.ask_for_sockets(key, 0);
        };
        seat.worker = worker;
        match seat.plan(plan) {
            Planned::Same(plan) => self.with_leg(key, |leg, out| leg.update(*plan, now, out)),
            Planned::Ask => self.ask_for_sockets(key, 0),
            Planned::Asked => {}
        }
    }

    fn end_call(&mut self, call: CallKey) {
        let legs: Vec<LegKey> =
            self.seats.range(LegKey::all_of(call)).map(|(key, _)| *key).collect();
        legs.into_iter().for_each(|key| self.end(key));
    }

    fn end(&mut self, key: LegKey) {
        let now = Instant::now();
        if let Some(seat) = self.seats.get(&key) {
            self.tally.settle(&seat.leg);
        }
        self.with_leg(key, |leg, out| leg.close(now, out));
        if let Some(mut seat) = self.seats.remove(&key) {
            self.timers.set(key, &mut seat.armed, None);
            self.signing.forget(key);
        }
    }

    fn take_signatures(&mut self) {
        while let Some(Signed { leg, epoch, signature }) = self.signing.take() {
            let now = Instant::now();
            self.with_leg(leg, |leg, out| leg.signed(epoch, signature, now, out));
        }
    }

    fn handle_timeouts(&mut self) {
        for _ in 0..A_ROUND {
            let now = Instant::now();
            let Some(key) = self.timers.due(now) else { return };
            if let Some(seat) = self.seats.get_mut(&key) {
                seat.armed = None;
            }
            self.with_leg(key, |leg, out| leg.handle_timeout(now, out));
        }
    }

    fn with_leg_of(&mut self, packet: &AgentPacket, work: impl FnOnce(&mut Leg, &mut Vec<Effect>)) {
        let key = LegKey::new(packet.call, packet.stream);
        match self.seats.contains_key(&key) {
            true => self.with_leg(key, work),
            false => self.tally.drop(AgentDrop::NoLeg),
        }
    }

    /// Lets a leg do something, and does what it wants.
    fn with_leg(&mut self, key: LegKey, work: impl FnOnce(&mut Leg, &mut Vec<Effect>)) {
        let Some(seat) = self.seats.get_mut(&key) else { return };
        let mut effects = std::mem::take(&mut self.effects);
        work(&mut seat.leg, &mut effects);
        let deadline = seat.leg.deadline();
        self.timers.set(key, &mut seat.armed, deadline);
        if !seat.queued && seat.leg.is_client_to_begin() {
            seat.queued = true;
            self.clients.push_back(key);
        }
        for effect in effects.drain(..) {
            self.carry_out(key, effect);
        }
        self.effects = effects;
    }

    fn carry_out(&mut self, key: LegKey, effect: Effect) {
        let Some(seat) = self.seats.get(&key) else { return };
        let (call, stream) = (key.call(), key.stream());
        match effect {
            Effect::Send { component, to, bytes } => match seat.send(component, to, &bytes) {
                Ok(()) => self.tally.sent(),
                Err(reason) => self.tally.drop(reason),
            },
            Effect::Path { generation, path } => {
                self.command(seat.worker, Command::Path { call, stream, generation, path });
            }
            Effect::Secure { epoch, keys } => {
                self.command(seat.worker, Command::Secure { call, stream, epoch, keys });
            }
            Effect::Sign { epoch, request } => self.sign(key, epoch, request),
            Effect::Handshake(end) => {
                if end.place == Place::Held {
                    self.budget.end(call);
                }
                self.tally.handshake(end);
            }
            Effect::PlaceFree => self.budget.end(call),
            Effect::News(kind) => self.tell(key, kind),
        }
    }

    fn command(&mut self, worker: usize, command: Command) {
        if let Some(worker) = self.setup.workers.get_mut(worker) {
            worker.send(command);
        }
    }

    /// On a thread that may block: tokens take their time.
    fn sign(&mut self, key: LegKey, epoch: Epoch, request: SignRequest) {
        let seat = self.seats.get(&key);
        let serial = seat.and_then(|seat| seat.leg.certificate());
        let signer = serial.and_then(|serial| self.shelf.shown(serial)?.signer.clone());
        let work = move || signer.and_then(|signer| signer.sign(&request));
        if self.signing.ask(key, epoch, work).is_err() {
            let now = Instant::now();
            self.with_leg(key, |leg, out| leg.signed(epoch, None, now, out));
        }
    }

    fn tell(&self, key: LegKey, kind: LegNewsKind) {
        let (call, stream) = (key.call(), key.stream());
        // Control ends only when the process does.
        let _ = self.setup.news.send(LegNews { call, stream, kind });
    }

    /// How long there is nothing to do, unless somebody calls.
    fn patience(&self, now: Instant) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(now);
        let timer = self.timers.next().map(until);
        let budget = match self.jobs() {
            0 => None,
            _ => self.budget.next().map(until),
        };
        let loans = self.loans.iter().filter_map(|key| self.seats.get(key));
        let loan = loans.map(|seat| seat.next_look().map_or(LOAN_LOOK, until)).min();
        let behind = self.setup.workers.iter().any(Outbox::is_behind).then_some(OUTBOX_RETRY);
        [timer, budget, loan, behind].into_iter().flatten().min().unwrap_or(LONGEST_SLEEP)
    }
}

/// Of each kind before the others have their turn.
const A_ROUND: usize = 1024;

/// How soon a worker that was full is tried again.
const OUTBOX_RETRY: Duration = Duration::from_millis(5);

/// Nothing is due before.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// Weight 335 to a worker's 1024: where all want to run, handshakes get a quarter of a core, and
/// yet ICE is not starved.
const NICE: u8 = 5;

#[cfg(test)]
mod tests;
