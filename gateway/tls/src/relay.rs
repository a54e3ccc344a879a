//! The handle that the gateway holds.
//!
//! None of its calls runs on a TLS thread, and those that read files or bind sockets say that they
//! block. What it is asked to change it hands to the [`Inventory`], which makes one change after
//! the other; connections never wait for it.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gateway_control::{
    TlsKeyUpdateReport, TlsKeyUpdateRequest, TlsReloadReport, TlsReloadRequest, TlsStatus,
    TlsTicketsReport, TlsTicketsRequest,
};

use crate::counters::ListenerCounters;
use crate::identity::{NoTicketKey, Watch, watched};
use crate::inventory::{self, Inventory};
use crate::notice::{Notices, Teller};
use crate::settings::Settings;

/// TLS listeners that run; dropping it closes every connection.
#[derive(Debug)]
pub struct TlsRelay {
    // First, so that it is dropped first: its thread calls the inventory.
    watch: Mutex<Watching>,
    inventory: Arc<Inventory>,
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

/// Directories whose files are read again when they change.
#[derive(Debug, Default)]
struct Watching {
    directories: BTreeSet<PathBuf>,
    _watch: Option<Watch>,
}

impl TlsRelay {
    /// Starts threads and listeners. Reads certificates and binds sockets, so it may block.
    ///
    /// # Errors
    ///
    /// Only where no thread can run; a listener that cannot start is among [`Started::faults`].
    pub fn start(settings: Settings) -> Result<Started, StartError> {
        let (teller, notices) = Teller::new();
        let inventory = Arc::new(Inventory::new(&settings, teller)?);
        let relay = Self { watch: Mutex::default(), inventory };
        relay.apply(settings);
        let faults = relay.inventory.faults();
        Ok(Started { relay, notices, faults })
    }

    /// What would keep listeners from starting, without binding a socket: for `gateway check`.
    /// Reads certificates, so it may block.
    pub fn check(settings: &Settings) -> Vec<ListenerFault> {
        inventory::check(settings)
    }

    /// Puts new settings in force: listeners come, go and change, and no connection is dropped.
    /// A listener whose new settings do not work goes on with its old ones. May block.
    pub fn apply(&self, settings: Settings) -> TlsReloadReport {
        let directories =
            settings.listeners.iter().flat_map(|listener| watched(&listener.identity)).collect();
        let report = self.inventory.apply(settings);
        self.watch(directories);
        report
    }

    /// Reads certificates, keys, revocation lists and OCSP responses again. May block.
    ///
    /// # Errors
    ///
    /// [`UnknownListener`] where the request names one that is not there.
    pub fn reload(&self, request: &TlsReloadRequest) -> Result<TlsReloadReport, UnknownListener> {
        self.inventory.reload(request)
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
        self.inventory.rotate_tickets(request)
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
        self.inventory.update_keys(request)
    }

    /// Listeners and certificates, and with `connections` up to so many connections whose number is
    /// above `after`, oldest first. With connections it waits for the TLS threads, a second at most.
    pub fn status(&self, connections: usize, after: u64) -> TlsStatus {
        self.inventory.status(connections, after)
    }

    /// Every listener's numbers since the relay started, removed ones included while they drain.
    pub fn counters(&self) -> Vec<ListenerCounters> {
        self.inventory.counters()
    }

    /// Takes no more connections, for good; those that are up go on.
    pub fn drain(&self) {
        self.inventory.drain();
    }

    /// Connections that are up or in their handshake.
    pub fn connections(&self) -> usize {
        self.inventory.connections()
    }

    /// Notices that were lost because nobody read them.
    pub fn notices_lost(&self) -> u64 {
        self.inventory.notices_lost()
    }

    /// Reads files again when something happens in these directories, and looks after what time
    /// changes.
    fn watch(&self, directories: BTreeSet<PathBuf>) {
        let mut watching = self.watching();
        if watching._watch.is_some() && watching.directories == directories {
            return;
        }
        *watching = Watching::default();
        let inventory = Arc::clone(&self.inventory);
        match Watch::start(directories.clone(), move |sign| inventory.look_after(sign)) {
            Ok(watch) => *watching = Watching { directories, _watch: Some(watch) },
            Err(error) => self.inventory.unwatched(&error),
        }
    }

    fn watching(&self) -> MutexGuard<'_, Watching> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
