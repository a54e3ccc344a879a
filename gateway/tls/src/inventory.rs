//! The listeners that there are: which run, on what terms, and what is wrong with the others.
//!
//! A listener starts whole or not at all, and what is wrong with one never stops another. To change
//! one, everything new is made first: its identity is read, its address bound. Only then the terms
//! are swapped and the old socket given up. Changes are made one after the other, under one lock.

use std::io;
use std::net::SocketAddr;
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
use crate::identity::{self, Identity, IdentityError, NoTicketKey, Sign, TicketKeys};
use crate::listener::{Listener, Listening, Terms, Unbound};
use crate::notice::{Notice, Teller};
use crate::relay::{ListenerFault, StartError, UnknownListener};
use crate::settings::{ListenerSettings, Mode, Settings, VersionPreference};
use crate::thread::{Common, Order, Thread};
use crate::warned::Warned;

/// Threads, and the listeners that they serve.
#[derive(Debug)]
pub(crate) struct Inventory {
    common: Arc<Common>,
    threads: Vec<Thread>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    identities: identity::Common,
    /// In the order of the settings.
    listeners: Vec<Slot>,
    /// Removed ones whose connections go on.
    retired: Vec<Arc<Listener>>,
    /// Nothing listens any more, and nothing will.
    draining: bool,
    warned: Warned,
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

/// What a listener is to become.
struct Wanted {
    settings: ListenerSettings,
    files: Files,
    /// Addresses that are about to come free.
    released: Vec<SocketAddr>,
}

/// How files are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    /// All, and one fault refuses all: somebody asked.
    All,
    /// Those that changed by themselves: [`Identity::refresh`].
    Changed,
}

/// A change that was made, or needs none.
enum Change {
    Made { listener: Arc<Listener>, bound: Option<Listening>, what: Vec<String> },
    None,
}

impl Inventory {
    /// Starts the threads; there is no listener yet.
    pub(crate) fn new(settings: &Settings, teller: Teller) -> Result<Self, StartError> {
        let cpus = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let common =
            Arc::new(Common { support: Support::probe(), teller, last_id: AtomicU64::new(0) });
        let threads: io::Result<Vec<_>> = (0..settings.threads_on(cpus).get())
            .map(|index| Thread::start(index, &common))
            .collect();
        let state = State {
            identities: identities(settings)?,
            settings: Settings { listeners: Vec::new(), ..settings.clone() },
            listeners: Vec::new(),
            retired: Vec::new(),
            draining: false,
            warned: Warned::default(),
        };
        Ok(Self { common, threads: threads?, state: Mutex::new(state) })
    }

    pub(crate) fn apply(&self, settings: Settings) -> TlsReloadReport {
        let mut state = self.state();
        let mut report = Vec::new();
        let (mut old, released) = state.part_with(&settings, &mut report);
        let listeners = settings.listeners.clone();
        state.identities = identities_after(&state.identities, &settings);
        self.tell_preference(&state.settings, &settings);
        state.settings = settings;
        for settings in listeners {
            let slot = old.iter().position(|slot| slot.settings.name == settings.name);
            let slot = slot.map(|at| old.swap_remove(at));
            let wanted = Wanted { settings, files: Files::All, released: released.clone() };
            let (slot, told) = self.put_in_force(&state, slot, wanted);
            state.listeners.push(slot);
            report.push(told);
        }
        state.warn(&self.common.teller);
        TlsReloadReport { listeners: report }
    }

    pub(crate) fn reload(
        &self,
        request: &TlsReloadRequest,
    ) -> Result<TlsReloadReport, UnknownListener> {
        let mut state = self.state();
        state.known(request.listener.as_deref())?;
        let mut report = Vec::new();
        for slot in std::mem::take(&mut state.listeners) {
            let meant = request.listener.as_ref().is_none_or(|name| *name == slot.settings.name);
            let slot = match (meant, request.dry_run) {
                (false, _) => slot,
                (true, true) => {
                    report.push(self.try_reload(&state, &slot));
                    slot
                }
                (true, false) => {
                    let (slot, told) = self.read_again(&state, slot, Files::All);
                    report.push(told);
                    slot
                }
            };
            state.listeners.push(slot);
        }
        state.warn(&self.common.teller);
        Ok(TlsReloadReport { listeners: report })
    }

    /// Does what is due: takes what changed in watched files, makes and drops ticket keys, tells
    /// what is about to be over.
    pub(crate) fn look_after(&self, sign: Sign) {
        let mut state = self.state();
        state.identities.tickets.maintain();
        if sign == Sign::Changed {
            for slot in std::mem::take(&mut state.listeners) {
                let (slot, _told) = self.read_again(&state, slot, Files::Changed);
                state.listeners.push(slot);
            }
        }
        state.warn(&self.common.teller);
    }

    pub(crate) fn rotate_tickets(
        &self,
        request: &TlsTicketsRequest,
    ) -> Result<TlsTicketsReport, NoTicketKey> {
        let state = self.state();
        let tickets = &state.identities.tickets;
        if !request.dry_run {
            tickets.rotate()?;
            let reason = format!("the old key opens for {:?}", tickets.lifetime());
            self.tell(EventKind::TlsTicketsRotated, "session tickets".to_owned(), reason);
        }
        let seals = |slot: &&Slot| slot.settings.mode == Mode::Terminate && slot.running.is_some();
        let listeners = state.listeners.iter().filter(seals);
        Ok(TlsTicketsReport {
            listeners: listeners.map(|slot| slot.settings.name.clone()).collect(),
            old_opens_for: tickets.lifetime().as_secs(),
        })
    }

    pub(crate) fn update_keys(
        &self,
        request: &TlsKeyUpdateRequest,
    ) -> Result<TlsKeyUpdateReport, UnknownListener> {
        self.state().known(request.listener.as_deref())?;
        let mut sum = TlsKeyUpdateReport::default();
        for one in self.ask(|answer| Order::UpdateKeys { request: request.clone(), answer }) {
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
            self.tell(EventKind::TlsKeyUpdate, object, reason);
        }
        Ok(sum)
    }

    pub(crate) fn status(&self, connections: usize, after: u64) -> TlsStatus {
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
        let wants_kernel = state.settings.kernel != crate::settings::KernelUse::Off;
        let problem = wants_kernel.then(|| kernel_problem(&self.common.support)).flatten();
        TlsStatus {
            threads: self.threads.len(),
            kernel: state.settings.kernel.name().to_owned(),
            kernel_problem: problem,
            listeners: state.listeners.iter().map(Slot::status).collect(),
            connections: listed,
            more,
        }
    }

    pub(crate) fn counters(&self) -> Vec<ListenerCounters> {
        let mut state = self.state();
        state.retired.retain(|listener| listener.connections.taken() > 0);
        state.all().map(|listener| listener.counters()).collect()
    }

    pub(crate) fn drain(&self) {
        let mut state = self.state();
        state.draining = true;
        for running in state.listeners.iter_mut().filter_map(|slot| slot.running.as_mut()) {
            running.listening = None;
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.state().all().map(|listener| listener.connections.taken()).sum()
    }

    pub(crate) fn notices_lost(&self) -> u64 {
        self.common.teller.lost()
    }

    /// Files that change will not be noticed.
    pub(crate) fn unwatched(&self, error: &io::Error) {
        let reason = format!(
            "certificate directories are not watched: {error}: free descriptors, or reload by hand"
        );
        self.tell(EventKind::TlsReloadFailed, "all listeners".to_owned(), reason);
    }

    pub(crate) fn faults(&self) -> Vec<ListenerFault> {
        let fault = |slot: &Slot| {
            let reason = slot.problem.clone()?;
            Some(ListenerFault { listener: slot.settings.name.clone(), reason })
        };
        self.state().listeners.iter().filter_map(fault).collect()
    }

    fn read_again(&self, state: &State, slot: Slot, files: Files) -> (Slot, TlsReloaded) {
        let wanted = Wanted { settings: slot.settings.clone(), files, released: Vec::new() };
        self.put_in_force(state, Some(slot), wanted)
    }

    /// Starts a listener, or changes the one that runs; where that fails all stays as it was.
    fn put_in_force(
        &self,
        state: &State,
        slot: Option<Slot>,
        wanted: Wanted,
    ) -> (Slot, TlsReloaded) {
        let name = wanted.settings.name.clone();
        let slot = slot.unwrap_or_else(|| Slot::stopped(wanted.settings.clone()));
        let before = slot.running.is_some();
        let (slot, result, reason) = match self.change(state, &slot, &wanted) {
            Ok(Change::None) => {
                let slot = Slot { settings: wanted.settings, problem: None, ..slot };
                (slot, TlsReloadResult::Unchanged, String::new())
            }
            Ok(Change::Made { listener, bound, what }) => {
                // A new socket takes the old one's place, whose queue is emptied before it closes.
                let listening = bound.or(slot.running.and_then(|running| running.listening));
                let running = Some(Running { listener, listening });
                let slot = Slot { settings: wanted.settings, running, problem: None };
                let result =
                    if before { TlsReloadResult::Reloaded } else { TlsReloadResult::Started };
                (slot, result, what.join("; "))
            }
            Err(problem) => {
                let settings = if before { slot.settings } else { wanted.settings };
                let slot = Slot { settings, problem: Some(problem.clone()), ..slot };
                (slot, TlsReloadResult::Refused, problem)
            }
        };
        self.tell_reload(&name, result, &reason);
        (slot, TlsReloaded { listener: name, result, reason })
    }

    fn change(&self, state: &State, slot: &Slot, wanted: &Wanted) -> Result<Change, String> {
        let running = slot.running.as_ref();
        let old = running.map(|running| running.listener.terms());
        let terms = self.terms(state, wanted, old.as_deref())?;
        let stays = running.is_some() && slot.settings.listen == wanted.settings.listen;
        let mut what = terms.changes_since(old.as_deref());
        if running.is_some() && stays && what.is_empty() {
            return Ok(Change::None);
        }
        let bound = match stays || state.draining {
            true => None,
            false => Some(bind(wanted).map_err(|error| error.to_string())?),
        };
        if let (Some(_), Some(bound)) = (running, &bound) {
            what.push(format!("it listens on {}", bound.address));
        }
        let listener = match running {
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
        Ok(Change::Made { listener, bound, what })
    }

    fn try_reload(&self, state: &State, slot: &Slot) -> TlsReloaded {
        let old = slot.running.as_ref().map(|running| running.listener.terms());
        let settings = slot.settings.clone();
        let wanted = Wanted { settings, files: Files::All, released: Vec::new() };
        let (result, reason) = match self.terms(state, &wanted, old.as_deref()) {
            Err(reason) => (TlsReloadResult::Refused, reason),
            Ok(terms) => match (&old, terms.changes_since(old.as_deref())) {
                (None, what) => (TlsReloadResult::Started, what.join("; ")),
                (Some(_), what) if what.is_empty() => (TlsReloadResult::Unchanged, String::new()),
                (Some(_), what) => (TlsReloadResult::Reloaded, what.join("; ")),
            },
        };
        TlsReloaded { listener: slot.settings.name.clone(), result, reason }
    }

    /// The terms that these settings make; the identity in force decides what may replace it.
    fn terms(&self, state: &State, wanted: &Wanted, old: Option<&Terms>) -> Result<Terms, String> {
        let settings = &wanted.settings;
        valid(&state.settings, settings)?;
        let identities = &state.identities;
        let identity = match (old, wanted.files) {
            (None, _) => Identity::load(settings, identities),
            (Some(old), Files::All) => old.identity.reload(settings, identities),
            (Some(old), Files::Changed) => old.identity.refresh(settings, identities),
        };
        let identity = identity.map_err(why)?;
        let policy = Policy { kernel: state.settings.kernel.into(), ..Policy::default() };
        let reading = reading(&self.common.support, &policy);
        let shared = identities.clone();
        Ok(Terms { settings: settings.clone(), identity, shared, policy, reading })
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

    fn tell_reload(&self, name: &str, result: TlsReloadResult, reason: &str) {
        let kind = match result {
            TlsReloadResult::Unchanged => return,
            TlsReloadResult::Refused => EventKind::TlsReloadFailed,
            _ => EventKind::TlsReloaded,
        };
        let reason = match reason {
            "" => result.name().to_owned(),
            reason => format!("{}: {reason}", result.name()),
        };
        self.tell(kind, format!("listener {name}"), reason);
    }

    /// An older version than both ends know is never chosen silently.
    fn tell_preference(&self, old: &Settings, new: &Settings) {
        let begun = old.prefer != new.prefer || old.listeners.is_empty();
        if begun && new.prefer == VersionPreference::Tls12Device && !new.listeners.is_empty() {
            let reason = "clients that offer AES-GCM get TLS 1.2 even where they know 1.3, as \
                          `prefer = \"tls12-device\"` asks, for devices take nothing newer: set \
                          \"tls13\" where no device takes records";
            let object = "all listeners".to_owned();
            self.tell(EventKind::TlsReloaded, object, reason.to_owned());
        }
    }

    fn tell(&self, kind: EventKind, object: String, reason: String) {
        let (from, to) = (String::new(), String::new());
        self.common.teller.tell(Notice { kind, object, from, to, reason, owner: "operator" });
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
    ) -> (Vec<Slot>, Vec<SocketAddr>) {
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

    /// Those that run, and those whose last connections do.
    fn all(&self) -> impl Iterator<Item = &Arc<Listener>> {
        let running = self.listeners.iter().filter_map(|slot| slot.running.as_ref());
        running.map(|running| &running.listener).chain(&self.retired)
    }

    fn warn(&mut self, teller: &Teller) {
        let running = self.listeners.iter().filter_map(|slot| {
            let terms = slot.running.as_ref()?.listener.terms();
            Some((slot.settings.name.clone(), terms.identity.warnings()))
        });
        self.warned.tell(running, teller);
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
        let listening = self.running.as_ref().and_then(|running| running.listening.as_ref());
        let mut status = TlsListenerStatus {
            name: self.settings.name.clone(),
            mode: match self.settings.mode {
                Mode::Terminate => TlsMode::Terminate,
                Mode::Originate => TlsMode::Originate,
            },
            listen: listening.map_or(self.settings.listen, |listening| listening.address),
            state: TlsListenerState::Failed,
            problem: self.problem.clone(),
            certificates: Vec::new(),
            upstreams: Vec::new(),
            connections: 0,
            handshakes: 0,
            placements: Vec::new(),
        };
        if let Some(running) = &self.running {
            running.describe(&mut status);
        }
        status
    }
}

impl Running {
    fn describe(&self, status: &mut TlsListenerStatus) {
        let counters = self.listener.counters();
        status.state = match self.listening {
            Some(_) => TlsListenerState::Serving,
            None => TlsListenerState::Draining,
        };
        let identity = self.listener.terms().identity.describe();
        status.certificates = identity.certificates.iter().map(Into::into).collect();
        status.upstreams = self.listener.upstreams.status(Instant::now());
        status.connections = counters.open;
        status.handshakes = counters.handshaking;
        let up = counters.placements.into_iter().filter(|placement| placement.open > 0);
        status.placements = up
            .map(|placement| TlsPlacementCount {
                direction: placement.direction,
                placement: placement.placement,
                reason: Some(placement.reason).filter(|reason| !reason.is_empty()),
                connections: placement.open,
            })
            .collect();
    }
}

/// What would keep each listener from starting, its address apart.
pub(crate) fn check(settings: &Settings) -> Vec<ListenerFault> {
    let identities = identities(settings);
    let fault = |listener: &ListenerSettings| {
        let reason = match &identities {
            Ok(identities) => valid(settings, listener)
                .and_then(|()| Identity::load(listener, identities).map_err(why))
                .err()?,
            Err(error) => error.to_string(),
        };
        Some(ListenerFault { listener: listener.name.clone(), reason })
    };
    settings.listeners.iter().filter_map(fault).collect()
}

/// The ticket keys stay, unless they are to live longer or shorter.
fn identities_after(old: &identity::Common, settings: &Settings) -> identity::Common {
    match identities(settings) {
        Ok(new) if new.tickets.lifetime() != old.tickets.lifetime() => new,
        Ok(new) => identity::Common { tickets: Arc::clone(&old.tickets), ..new },
        Err(NoTicketKey) => old.clone(),
    }
}

fn identities(settings: &Settings) -> Result<identity::Common, NoTicketKey> {
    let device_suites = match settings.prefer {
        VersionPreference::Tls13 => Vec::new(),
        VersionPreference::Tls12Device => DEVICE_SUITES.to_vec(),
    };
    Ok(identity::Common { tickets: TicketKeys::new(settings.ticket_lifetime)?, device_suites })
}

/// Without the listener's name, which stands beside it.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn why(error: IdentityError) -> String {
    error.fault.to_string()
}

fn valid(settings: &Settings, listener: &ListenerSettings) -> Result<(), String> {
    let faults = settings.validate();
    let mine = faults.iter().filter(|fault| fault.listener == listener.name);
    let faults: Vec<_> = mine.map(|fault| fault.fault.to_string()).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// An address that was released a moment ago may take one to come free: its threads let go of it
/// one after the other.
fn bind(wanted: &Wanted) -> Result<Listening, Unbound> {
    let until = Instant::now() + PATIENCE;
    let address = wanted.settings.listen;
    loop {
        match Listening::bind(address) {
            Err(error)
                if error.is_taken()
                    && wanted.released.contains(&address)
                    && Instant::now() < until =>
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

/// Why no connection at all can be the kernel's.
fn kernel_problem(support: &Support) -> Option<String> {
    if support.takes_any() {
        return None;
    }
    support.lines().first().map(ToString::to_string)
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
