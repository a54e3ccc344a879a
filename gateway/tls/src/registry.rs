//! The connections of one TLS thread: what is known of each, and what it is told from outside.
//!
//! A connection's task owns its sockets; everybody else reaches it through its [`Entry`]: a deadline
//! that has passed, a wish for new keys. Deadlines have no timer each: the registry knows the
//! soonest, one sleep waits for that, and a sweep finds who is due. Everything lives and is used on
//! one thread.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crypto_offload::Effective;
use gateway_control::{TlsConnection, TlsKeyUpdateReport, TlsKeyUpdateRequest};
use tokio::sync::Notify;

use crate::listener::Listener;

/// The connections of this thread.
#[derive(Default)]
pub(crate) struct Registry {
    entries: RefCell<BTreeMap<u64, Rc<Entry>>>,
    soonest: Cell<Option<Instant>>,
    /// The soonest deadline became sooner.
    sooner: Notify,
}

/// One connection.
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) listener: Arc<Listener>,
    pub(crate) peer: SocketAddr,
    pub(crate) accepted: Instant,
    /// What the handshake came to; empty before its end.
    pub(crate) up: OnceCell<Box<Up>>,
    pub(crate) bytes_in: Cell<u64>,
    pub(crate) bytes_out: Cell<u64>,
    pub(crate) key_updates: Cell<u64>,
    deadline: Cell<Option<Instant>>,
    orders: Cell<Orders>,
    waker: RefCell<Option<Waker>>,
}

/// What a handshake came to.
pub(crate) struct Up {
    pub(crate) upstream: SocketAddr,
    pub(crate) version: &'static str,
    pub(crate) suite: &'static str,
    pub(crate) server_name: Option<Box<str>>,
    pub(crate) alpn: Option<Box<[u8]>>,
    pub(crate) resumed: bool,
    pub(crate) placed: Rc<Placed>,
}

/// Where records are, each way; connections with the same answer share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) inbound: Effective,
    pub(crate) outbound: Effective,
}

/// What a connection is to do.
#[derive(Clone, Copy, Default)]
struct Orders {
    expired: bool,
    update_keys: bool,
}

impl Registry {
    /// Enters a connection.
    pub(crate) fn enter(
        self: &Rc<Self>,
        id: u64,
        listener: Arc<Listener>,
        peer: SocketAddr,
        accepted: Instant,
    ) -> Entered {
        let entry = Rc::new(Entry {
            id,
            listener,
            peer,
            accepted,
            up: OnceCell::new(),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            key_updates: Cell::new(0),
            deadline: Cell::new(None),
            orders: Cell::new(Orders::default()),
            waker: RefCell::new(None),
        });
        self.entries.borrow_mut().insert(id, Rc::clone(&entry));
        Entered { registry: Rc::clone(self), entry }
    }

    /// Connections that are up, whose number is above `after`, oldest first.
    pub(crate) fn list(&self, after: u64, limit: usize) -> Vec<TlsConnection> {
        let entries = self.entries.borrow();
        let above = entries.range(after.saturating_add(1)..);
        above.filter_map(|(_, entry)| entry.describe()).take(limit).collect()
    }

    /// Asks connections for new keys, or only counts them.
    pub(crate) fn update_keys(&self, request: &TlsKeyUpdateRequest) -> TlsKeyUpdateReport {
        let mut report = TlsKeyUpdateReport::default();
        for entry in self.entries.borrow().values() {
            let Some(up) = entry.up.get().filter(|_| entry.is_meant(request)) else { continue };
            if up.version != "1.3" {
                report.not_possible += 1;
                continue;
            }
            report.updated += 1;
            if !request.dry_run {
                entry.order(|orders| orders.update_keys = true);
            }
        }
        report
    }

    /// Waits for the soonest deadline, tells who is due, again and again.
    pub(crate) async fn keep_time(&self) {
        loop {
            match self.soonest.get() {
                None => self.sooner.notified().await,
                Some(soonest) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(soonest.into()) => {
                            self.expire(tokio::time::Instant::now().into());
                        }
                        () = self.sooner.notified() => {}
                    }
                }
            }
        }
    }

    /// Tells every connection whose deadline has passed, and finds the next soonest.
    fn expire(&self, now: Instant) {
        let mut soonest: Option<Instant> = None;
        for entry in self.entries.borrow().values() {
            match entry.deadline.get() {
                Some(deadline) if deadline <= now => {
                    entry.deadline.set(None);
                    entry.order(|orders| orders.expired = true);
                }
                Some(deadline) => {
                    soonest = Some(soonest.map_or(deadline, |soonest| soonest.min(deadline)));
                }
                None => {}
            }
        }
        // Deadlines within a moment of each other are found by one sweep, and where there is much
        // to sweep, the moment is longer: a hundredth of the thread's time at most.
        let rest = MOMENT + SWEEP * self.entries.borrow().len() as u32;
        self.soonest.set(soonest.map(|soonest| soonest.max(now + rest)));
    }

    fn at(&self, deadline: Instant) {
        if self.soonest.get().is_none_or(|soonest| deadline < soonest) {
            self.soonest.set(Some(deadline));
            self.sooner.notify_one();
        }
    }
}

/// An entry that leaves the registry with its connection.
pub(crate) struct Entered {
    registry: Rc<Registry>,
    entry: Rc<Entry>,
}

impl Entered {
    /// The connection has until `now + time`; `None`: as long as it likes.
    pub(crate) fn allow(&self, now: Instant, time: Option<Duration>) {
        let deadline = time.and_then(|time| now.checked_add(time));
        self.entry.deadline.set(deadline);
        if let Some(deadline) = deadline {
            self.registry.at(deadline);
        }
    }

    /// Runs `work` until it is done or the connection's time is up. It is pinned by the caller: an
    /// `async fn` that takes a future has room for it twice.
    pub(crate) async fn in_time<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Expired> {
        std::future::poll_fn(|cx| {
            self.entry.remember(cx.waker());
            if self.entry.take_expired() {
                return std::task::Poll::Ready(Err(Expired));
            }
            work.as_mut().poll(cx).map(Ok)
        })
        .await
    }
}

impl std::ops::Deref for Entered {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.registry.entries.borrow_mut().remove(&self.entry.id);
    }
}

/// The connection's time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired;

impl Entry {
    /// True once for each time the connection was asked for new keys.
    pub(crate) fn take_new_keys(&self) -> bool {
        let mut orders = self.orders.get();
        let asked = std::mem::take(&mut orders.update_keys);
        self.orders.set(orders);
        asked
    }

    fn is_meant(&self, request: &TlsKeyUpdateRequest) -> bool {
        request.listener.as_ref().is_none_or(|name| *name == self.listener.name)
            && request.connection.is_none_or(|id| id == self.id)
    }

    /// `None` before the end of its handshake.
    fn describe(&self) -> Option<TlsConnection> {
        let up = self.up.get()?;
        let alpn = up.alpn.as_deref().map(|alpn| String::from_utf8_lossy(alpn).into_owned());
        Some(TlsConnection {
            id: self.id,
            listener: self.listener.name.clone(),
            peer: self.peer,
            upstream: up.upstream,
            seconds: self.accepted.elapsed().as_secs_f64(),
            version: up.version.to_owned(),
            suite: up.suite.to_owned(),
            server_name: up.server_name.as_deref().map(str::to_owned),
            alpn,
            resumed: up.resumed,
            inbound: up.placed.inbound.clone(),
            outbound: up.placed.outbound.clone(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            key_updates: self.key_updates.get(),
        })
    }

    fn take_expired(&self) -> bool {
        let mut orders = self.orders.get();
        let expired = std::mem::take(&mut orders.expired);
        self.orders.set(orders);
        expired
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        let mut orders = self.orders.get();
        change(&mut orders);
        self.orders.set(orders);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// A task's waker stays the same, so this copies it once.
    fn remember(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if known.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

/// As coarse as deadlines may be met, at least.
const MOMENT: Duration = Duration::from_millis(50);

/// A hundred times what looking at one entry takes.
const SWEEP: Duration = Duration::from_micros(5);
