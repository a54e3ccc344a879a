//! The handle that the gateway holds.
//!
//! None of its calls runs on a TLS thread, and those that read files or bind sockets say that they
//! block. A listener starts whole or not at all, and what is wrong with one never stops another.
//! Changes are made one after the other, under one lock; connections never take it.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc as answers;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gateway_control::{
    EventKind, TlsKeyUpdateReport, TlsKeyUpdateRequest, TlsListenerState, TlsListenerStatus,
    TlsMode, TlsPlacementCount, TlsReloadReport, TlsReloadRequest, TlsReloadResult, TlsReloaded,
    TlsStatus, TlsTicketsReport, TlsTicketsRequest,
};
use kernel_tls::{Policy, Reading, Support};
use rustls::CipherSuite;

use crate::counters::ListenerCounters;
use crate::identity::{self, Identity, NoTicketKey, TicketKeys};
use crate::listener::{Listener, Listening, Terms, Unbound};
use crate::notice::{Notice, Notices, Teller};
use crate::settings::{ListenerSettings, Mode, Settings, VersionPreference};
use crate::thread::{Common, Order, Thread};

/// TLS listeners that run; dropping it closes every connection.
#[derive(Debug)]
pub struct TlsRelay {
    common: Arc<Common>,
    threads: Vec<Thread>,
    state: Mutex<State>,
}

/// A relay that was started.
#[derive(Debug)]
pub struct Started {
    /// Its handle.
    pub relay: TlsRelay,
    /// What it tells; read it, or notices are lost (and counted).
    pub notices: Notices,
    /// Listeners that did not start; the others run.
    pub faults: Vec<ListenerFault>,
}

/// Why a listener does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("listener {listener:?}: {reason}")]
pub struct ListenerFault {
    /// Which.
    pub listener: String,
    /// What is wrong with what, and what to do about it.
    pub reason: String,
}

/// Why no listener at all runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread or its runtime could not be made.
    #[error("TLS threads cannot start: {0}")]
    Threads(#[from] io::Error),
    /// Session tickets cannot be sealed.
    #[error("TLS listeners cannot start: {0}")]
    Tickets(#[from] NoTicketKey),
}

/// A request named a listener that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no TLS listener is called {0:?}")]
pub struct UnknownListener(pub String);

#[derive(Debug)]
struct State {
    settings: Settings,
    identities: identity::Common,
    /// In the order of the settings.
    listeners: Vec<Slot>,
    /// Removed ones whose connections go on.
    retired: Vec<Arc<Listener>>,
}

/// One listener of the settings.
#[derive(Debug)]
struct Slot {
    settings: ListenerSettings,
    running: Option<Running>,
    problem: Option<String>,
}

#[derive(Debug)]
struct Running {
    listener: Arc<Listener>,
    /// `None` while it drains.
    listening: Option<Listening>,
}

impl TlsRelay {
    /// Starts threads and listeners. Reads certificates and binds sockets, so it may block.
    ///
    /// # Errors
    ///
    /// Only where no thread can run; a listener that cannot start is among [`Started::faults`].
    pub fn start(settings: Settings) -> Result<Started, StartError> {
        let (teller, notices) = Teller::new();
        let cpus = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let common =
            Arc::new(Common { support: Support::probe(), teller, last_id: AtomicU64::new(0) });
        let threads: io::Result<Vec<_>> = (0..settings.threads_on(cpus).get())
            .map(|index| Thread::start(index, &common))
            .collect();
        let state = State {
            identities: identities(&settings)?,
            settings: Settings { listeners: Vec::new(), ..settings.clone() },
            listeners: Vec::new(),
            retired: Vec::new(),
        };
        let relay = Self { common, threads: threads?, state: Mutex::new(state) };
        relay.apply(settings);
        let faults = relay.faults();
        Ok(Started { relay, notices, faults })
    }

    /// What would keep listeners from starting, without binding a socket: for `gateway check`.
    /// Reads certificates, so it may block.
    pub fn check(settings: &Settings) -> Vec<ListenerFault> {
        let identities = identities(settings);
        let fault = |listener: &ListenerSettings| {
            let reason = match &identities {
                Ok(identities) => check(settings, listener, identities).err()?,
                Err(error) => error.to_string(),
            };
            Some(ListenerFault { listener: listener.name.clone(), reason })
        };
        settings.listeners.iter().filter_map(fault).collect()
    }

    /// Puts new settings in force: listeners come, go and change, and no connection is dropped.
    /// A listener whose new settings do not work goes on with its old ones. May block.
    pub fn apply(&self, settings: Settings) -> TlsReloadReport {
        let mut state = self.state();
        let mut report = Vec::new();
        let (old, released) = state.part_with(&settings, &mut report);
        let listeners = settings.listeners.clone();
        state.settings = settings;
        let mut old = old;
        for wanted in listeners {
            let slot = old.iter().position(|slot| slot.settings.name == wanted.name);
            let slot = slot.map(|at| old.swap_remove(at));
            let (slot, told) = self.put_in_force(&state, slot, wanted, &released);
            state.listeners.push(slot);
            report.push(told);
        }
        TlsReloadReport { listeners: report }
    }

    /// Reads certificates, keys, revocation lists and OCSP responses again. May block.
    ///
    /// # Errors
    ///
    /// [`UnknownListener`] where the request names one that is not there.
    pub fn reload(&self, request: &TlsReloadRequest) -> Result<TlsReloadReport, UnknownListener> {
        let mut state = self.state();
        state.known(request.listener.as_deref())?;
        let slots = std::mem::take(&mut state.listeners);
        let mut report = Vec::new();
        for slot in slots {
            let wanted = request.listener.as_ref().is_none_or(|name| *name == slot.settings.name);
            if !wanted {
                state.listeners.push(slot);
            } else if request.dry_run {
                report.push(self.try_reload(&state, &slot));
                state.listeners.push(slot);
            } else {
                let settings = slot.settings.clone();
                let (slot, told) = self.put_in_force(&state, Some(slot), settings, &[]);
                state.listeners.push(slot);
                report.push(told);
            }
        }
        Ok(TlsReloadReport { listeners: report })
    }

    /// Seals new session tickets under a new key.
    ///
    /// # Errors
    ///
    /// [`NoTicketKey`]: the old key goes on.
    pub fn rotate_tickets(
        &self,
        request: &TlsTicketsRequest,
    ) -> Result<TlsTicketsReport, NoTicketKey> {
        let state = self.state();
        let tickets = &state.identities.tickets;
        if !request.dry_run {
            tickets.rotate()?;
            let object = "session tickets".to_owned();
            let reason = format!("the old key opens for {:?}", tickets.lifetime());
            self.tell(EventKind::TlsTicketsRotated, object, "operator", reason);
        }
        let sealing =
            |slot: &&Slot| slot.settings.mode == Mode::Terminate && slot.running.is_some();
        let listeners = state.listeners.iter().filter(sealing);
        Ok(TlsTicketsReport {
            listeners: listeners.map(|slot| slot.settings.name.clone()).collect(),
            old_opens_for: tickets.lifetime().as_secs(),
        })
    }

    /// Asks connections for new keys (RFC 8446, section 4.6.3). Waits for the TLS threads' answers,
    /// a second at most.
    ///
    /// # Errors
    ///
    /// [`UnknownListener`] where the request names one that is not there.
    pub fn update_keys(
        &self,
        request: &TlsKeyUpdateRequest,
    ) -> Result<TlsKeyUpdateReport, UnknownListener> {
        self.state().known(request.listener.as_deref())?;
        let all = self.ask(|answer| Order::UpdateKeys { request: request.clone(), answer });
        let mut sum = TlsKeyUpdateReport::default();
        for one in all {
            sum.updated += one.updated;
            sum.not_possible += one.not_possible;
        }
        if sum.updated > 0 && !request.dry_run {
            let object = match (&request.listener, request.connection) {
                (_, Some(connection)) => format!("connection {connection}"),
                (Some(listener), None) => format!("listener {listener}"),
                (None, None) => "all listeners".to_owned(),
            };
            let reason = format!("{} connections were asked for new keys", sum.updated);
            self.tell(EventKind::TlsKeyUpdate, object, "operator", reason);
        }
        Ok(sum)
    }

    /// Listeners and certificates, and with `connections` up to so many connections whose number is
    /// above `after`, oldest first. With connections it waits for the TLS threads, a second at most.
    pub fn status(&self, connections: usize, after: u64) -> TlsStatus {
        let mut listed = Vec::new();
        if connections > 0 {
            // One more than wanted tells whether there are more.
            let limit = connections.saturating_add(1);
            let parts = self.ask(|answer| Order::List { after, limit, answer });
            listed = parts.into_iter().flatten().collect();
            listed.sort_unstable_by_key(|connection| connection.id);
        }
        let more = listed.len() > connections;
        listed.truncate(connections);
        let state = self.state();
        TlsStatus {
            threads: self.threads.len(),
            kernel: state.settings.kernel.name().to_owned(),
            kernel_problem: None,
            listeners: state.listeners.iter().map(Slot::status).collect(),
            connections: listed,
            more,
        }
    }

    /// Every listener's numbers since the relay started, removed ones included while they drain.
    pub fn counters(&self) -> Vec<ListenerCounters> {
        let mut state = self.state();
        state.retired.retain(|listener| listener.connections.taken() > 0);
        let running = state.listeners.iter().filter_map(|slot| slot.running.as_ref());
        let all = running.map(|running| &running.listener).chain(&state.retired);
        all.map(|listener| listener.counters()).collect()
    }

    /// Takes no more connections; those that are up go on.
    pub fn drain(&self) {
        for slot in &mut self.state().listeners {
            if let Some(running) = &mut slot.running {
                running.listening = None;
            }
        }
    }

    /// Connections that are up or in their handshake.
    pub fn connections(&self) -> usize {
        let state = self.state();
        let running = state.listeners.iter().filter_map(|slot| slot.running.as_ref());
        let all = running.map(|running| &running.listener).chain(&state.retired);
        all.map(|listener| listener.connections.taken()).sum()
    }

    /// Notices that were lost because nobody read them.
    pub fn notices_lost(&self) -> u64 {
        self.common.teller.lost()
    }

    fn faults(&self) -> Vec<ListenerFault> {
        let state = self.state();
        let fault = |slot: &Slot| {
            let reason = slot.problem.clone()?;
            Some(ListenerFault { listener: slot.settings.name.clone(), reason })
        };
        state.listeners.iter().filter_map(fault).collect()
    }

    /// Starts a listener, or changes the one that runs; where that fails all stays as it was.
    /// `slot` has the mode that is wanted.
    fn put_in_force(
        &self,
        state: &State,
        slot: Option<Slot>,
        wanted: ListenerSettings,
        released: &[std::net::SocketAddr],
    ) -> (Slot, TlsReloaded) {
        let name = wanted.name.clone();
        let slot = slot.unwrap_or_else(|| Slot::stopped(wanted.clone()));
        let before = slot.running.is_some();
        let (slot, result, reason) = match self.change(state, &slot, &wanted, released) {
            Ok((listener, bound)) => {
                let result =
                    if before { TlsReloadResult::Reloaded } else { TlsReloadResult::Started };
                // A new socket takes the old one's place; that one's queue is emptied first.
                let listening = bound.or(slot.running.and_then(|running| running.listening));
                let running = Some(Running { listener, listening });
                let slot = Slot { settings: wanted, running, problem: None };
                (slot, result, String::new())
            }
            Err(problem) => {
                let settings = if before { slot.settings } else { wanted };
                let running = slot.running;
                let told = problem.clone();
                (Slot { settings, running, problem: Some(problem) }, TlsReloadResult::Refused, told)
            }
        };
        let kind = match result {
            TlsReloadResult::Refused => EventKind::TlsReloadFailed,
            _ => EventKind::TlsReloaded,
        };
        let told = if reason.is_empty() { result.name().to_owned() } else { reason.clone() };
        self.tell(kind, format!("listener {name}"), "config", told);
        (slot, TlsReloaded { listener: name, result, reason })
    }

    fn change(
        &self,
        state: &State,
        slot: &Slot,
        wanted: &ListenerSettings,
        released: &[std::net::SocketAddr],
    ) -> Result<(Arc<Listener>, Option<Listening>), String> {
        let old = slot.running.as_ref().map(|running| running.listener.terms());
        let terms = self.terms(state, wanted, old.as_deref())?;
        let stays = slot.running.is_some() && slot.settings.listen == wanted.listen;
        let bound = match stays {
            true => None,
            false => Some(bind(wanted.listen, released).map_err(|error| error.to_string())?),
        };
        let listener = match slot.running.as_ref() {
            Some(running) => {
                running.listener.set_terms(terms);
                Arc::clone(&running.listener)
            }
            None => {
                let teller = self.common.teller.clone();
                Arc::new(Listener::new(terms, self.threads.len(), teller))
            }
        };
        if let Some(listening) = &bound {
            for thread in &self.threads {
                thread.order(Order::Accept(Arc::clone(&listener), listening.accepting()));
            }
        }
        Ok((listener, bound))
    }

    fn try_reload(&self, state: &State, slot: &Slot) -> TlsReloaded {
        let old = slot.running.as_ref().map(|running| running.listener.terms());
        let listener = slot.settings.name.clone();
        match self.terms(state, &slot.settings, old.as_deref()) {
            Ok(_) => {
                let result = TlsReloadResult::Reloaded;
                TlsReloaded { listener, result, reason: String::new() }
            }
            Err(reason) => TlsReloaded { listener, result: TlsReloadResult::Refused, reason },
        }
    }

    /// The terms that these settings make; the identity in force decides what may replace it.
    fn terms(
        &self,
        state: &State,
        wanted: &ListenerSettings,
        old: Option<&Terms>,
    ) -> Result<Terms, String> {
        valid(&state.settings, wanted)?;
        let identities = &state.identities;
        let identity = match old {
            Some(old) => old.identity.reload(wanted, identities),
            None => Identity::load(wanted, identities),
        };
        let identity = identity.map_err(|error| error.fault.to_string())?;
        let policy = Policy { kernel: state.settings.kernel.into(), ..Policy::default() };
        let reading = reading(&self.common.support, &policy);
        Ok(Terms { settings: wanted.clone(), identity, policy, reading })
    }

    /// Asks every thread, and waits a moment for the answers.
    fn ask<T>(&self, order: impl Fn(answers::Sender<T>) -> Order) -> Vec<T> {
        let (sender, answers) = answers::channel();
        for thread in &self.threads {
            thread.order(order(sender.clone()));
        }
        drop(sender);
        let until = Instant::now() + PATIENCE;
        let next = || answers.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
        std::iter::from_fn(next).collect()
    }

    fn tell(&self, kind: EventKind, object: String, owner: &'static str, reason: String) {
        let (from, to) = (String::new(), String::new());
        self.common.teller.tell(Notice { kind, object, from, to, reason, owner });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Stops listeners that `settings` no longer have; answers the others, and the addresses that
    /// are about to come free.
    fn part_with(
        &mut self,
        settings: &Settings,
        report: &mut Vec<TlsReloaded>,
    ) -> (Vec<Slot>, Vec<std::net::SocketAddr>) {
        // One that turns round is another listener: its sockets know the old one.
        let stays = |slot: &Slot| {
            let same = |listener: &ListenerSettings| {
                listener.name == slot.settings.name && listener.mode == slot.settings.mode
            };
            settings.listeners.iter().any(same)
        };
        let (old, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.listeners).into_iter().partition(stays);
        let mut released = Vec::new();
        for slot in gone {
            let listener = slot.settings.name.clone();
            if let Some(running) = slot.running {
                released.extend(running.listening.map(|listening| listening.address));
                self.retired.push(running.listener);
            }
            let result = TlsReloadResult::Stopped;
            report.push(TlsReloaded { listener, result, reason: String::new() });
        }
        (old, released)
    }

    fn known(&self, listener: Option<&str>) -> Result<(), UnknownListener> {
        let Some(name) = listener else { return Ok(()) };
        let found = self.listeners.iter().any(|slot| slot.settings.name == name);
        found.then_some(()).ok_or_else(|| UnknownListener(name.to_owned()))
    }
}

impl Slot {
    fn stopped(settings: ListenerSettings) -> Self {
        Self { settings, running: None, problem: None }
    }

    fn status(&self) -> TlsListenerStatus {
        let running = self.running.as_ref();
        let counters = running.map(|running| running.listener.counters());
        let listening = running.and_then(|running| running.listening.as_ref());
        let state = match (running, listening) {
            (None, _) => TlsListenerState::Failed,
            (Some(_), None) => TlsListenerState::Draining,
            (Some(_), Some(_)) => TlsListenerState::Serving,
        };
        let up = counters.as_ref().map_or(&[][..], |counters| &counters.placements);
        let now = Instant::now();
        TlsListenerStatus {
            name: self.settings.name.clone(),
            mode: match self.settings.mode {
                Mode::Terminate => TlsMode::Terminate,
                Mode::Originate => TlsMode::Originate,
            },
            listen: listening.map_or(self.settings.listen, |listening| listening.address),
            state,
            problem: self.problem.clone(),
            certificates: Vec::new(),
            upstreams: running
                .map(|running| running.listener.upstreams.status(now))
                .unwrap_or_default(),
            connections: counters.as_ref().map_or(0, |counters| counters.open),
            handshakes: counters.as_ref().map_or(0, |counters| counters.handshaking),
            placements: up
                .iter()
                .filter(|placement| placement.open > 0)
                .map(|placement| TlsPlacementCount {
                    direction: placement.direction,
                    placement: placement.placement,
                    reason: Some(placement.reason.clone()).filter(|reason| !reason.is_empty()),
                    connections: placement.open,
                })
                .collect(),
        }
    }
}

fn identities(settings: &Settings) -> Result<identity::Common, NoTicketKey> {
    let device_suites = match settings.prefer {
        VersionPreference::Tls13 => Vec::new(),
        VersionPreference::Tls12Device => DEVICE_SUITES.to_vec(),
    };
    Ok(identity::Common { tickets: TicketKeys::new(settings.ticket_lifetime)?, device_suites })
}

fn check(
    settings: &Settings,
    listener: &ListenerSettings,
    identities: &identity::Common,
) -> Result<(), String> {
    valid(settings, listener)?;
    Identity::load(listener, identities).map_err(|error| error.fault.to_string())?;
    Ok(())
}

fn valid(settings: &Settings, listener: &ListenerSettings) -> Result<(), String> {
    let faults = settings.validate();
    let mine = faults.iter().filter(|fault| fault.listener == listener.name);
    let faults: Vec<_> = mine.map(|fault| fault.fault.to_string()).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// An address that was released a moment ago may take one to come free: its threads let go of it
/// one after the other.
fn bind(
    address: std::net::SocketAddr,
    released: &[std::net::SocketAddr],
) -> Result<Listening, Unbound> {
    let until = Instant::now() + PATIENCE;
    loop {
        match Listening::bind(address) {
            Err(error)
                if error.is_taken() && released.contains(&address) && Instant::now() < until =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// Reading ahead saves system calls, where the kernel will not take the records anyway.
fn reading(support: &Support, policy: &Policy) -> Reading {
    match policy.kernel {
        kernel_tls::KernelUse::Off => Reading::Greedy,
        _ if !support.takes_any() => Reading::Greedy,
        kernel_tls::KernelUse::Auto | kernel_tls::KernelUse::Require => Reading::Exact,
    }
}

/// What devices take today: AES-GCM, TLS 1.2.
const DEVICE_SUITES: [CipherSuite; 4] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

/// For threads to do what they were told; they are never busy for so long.
const PATIENCE: Duration = Duration::from_secs(1);
