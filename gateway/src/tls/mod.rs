//! TLS listeners: wires the relay of `tls-relay` to the configuration, events, metrics, the admin
//! API and signals. It moves no byte itself, and no byte passes its thread.
//!
//! The relay is started when the first listener is configured, and has threads of its own: without
//! listeners there are none. They are neither pinned nor niced. Media workers ask for short slices,
//! so one that wakes goes before a handshake; and TLS has half as many threads as there are CPUs
//! unless told otherwise, so a storm of handshakes leaves the other half alone.
//!
//! A listener that cannot serve is told of (log, event, `/readyz`, `/v1/status`, `/v1/tls`), and
//! nothing else stops for it: calls and the other listeners have no part in its trouble.
//!
//! The relay's calls wait for files, tokens and threads. So they are made aside, on blocking
//! threads: the control thread answers ng and must not wait.

pub(crate) mod check;
pub(crate) mod figures;
pub(crate) mod routes;
pub(crate) mod settings;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gateway_control::{
    TlsListenerState, TlsListenerStatus, TlsReloadReport, TlsReloadResult, TlsStatus,
};
use tls_relay::{Notices, StartError, Started, TlsRelay};

use crate::config::tls::Tls as Config;
use crate::events::{Events, Occurrence};

/// The gateway's TLS listeners; clones share them.
#[derive(Clone)]
pub(crate) struct Tls(Arc<Shared>);

struct Shared {
    events: Events,
    state: Mutex<State>,
    /// Held while a configuration is put in force, so that the last one given is the last one in
    /// force however blocking threads are scheduled.
    applying: Mutex<()>,
}

struct State {
    config: Config,
    /// `None` until there is a listener, and at the end.
    relay: Option<Arc<TlsRelay>>,
}

/// The relay did not answer in time: a file system or a token hangs.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("TLS listeners do not answer: a file or a token that one of them needs may hang")]
pub(crate) struct Silent;

impl Tls {
    /// Starts the listeners that are configured. Reads their files and binds, so it may block; is
    /// to be called in a tokio runtime.
    ///
    /// # Errors
    /// Where no thread or no random numbers can be had. A listener that cannot start is only told
    /// of.
    pub(crate) fn start(config: &Config, events: &Events) -> Result<Self, StartError> {
        let state = State { config: config.clone(), relay: None };
        let shared =
            Shared { events: events.clone(), state: Mutex::new(state), applying: Mutex::default() };
        let tls = Self(Arc::new(shared));
        if !config.listener.is_empty() {
            tls.start_relay(config)?;
        }
        Ok(tls)
    }

    /// One without listeners.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::start(&Config::default(), &Events::new()).unwrap()
    }

    fn start_relay(&self, config: &Config) -> Result<(), StartError> {
        let Started { relay, notices, faults } = TlsRelay::start(settings::settings(config))?;
        tokio::spawn(tell(notices, self.0.events.clone()));
        for fault in &faults {
            tracing::error!("TLS {fault}; everything else runs on");
        }
        for listener in relay.status(0, 0).listeners {
            if listener.state == TlsListenerState::Serving {
                let (mode, address) = (listener.mode.name(), listener.listen);
                tracing::info!(listener = listener.name, mode, %address, "TLS listener");
            }
        }
        self.state().relay = Some(Arc::new(relay));
        Ok(())
    }

    /// Goes by `config` from now on, and reads every file again. A listener that cannot keeps what
    /// it has; no connection ends.
    ///
    /// # Errors
    /// Where that takes long: it goes on.
    pub(crate) async fn apply(&self, config: &Config) -> Result<TlsReloadReport, Silent> {
        self.state().config = config.clone();
        let tls = self.clone();
        in_time(move || tls.put_in_force()).await
    }

    fn put_in_force(&self) -> TlsReloadReport {
        let _turn = self.0.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let (config, relay) = {
            let state = self.state();
            (state.config.clone(), state.relay.clone())
        };
        match relay {
            Some(relay) => relay.apply(settings::settings(&config)),
            None => {
                if !config.listener.is_empty()
                    && let Err(error) = self.start_relay(&config)
                {
                    tracing::error!("{error}; everything else runs on");
                }
                nothing_reloaded()
            }
        }
    }

    /// Asks the relay; `None` where there is none.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        question: impl FnOnce(&TlsRelay) -> T + Send + 'static,
    ) -> Result<Option<T>, Silent> {
        let Some(relay) = self.state().relay.clone() else { return Ok(None) };
        in_time(move || question(&relay)).await.map(Some)
    }

    /// Listeners, and up to `connections` connections whose number is above `after`.
    pub(crate) async fn status(&self, connections: usize, after: u64) -> Result<TlsStatus, Silent> {
        let status = self.aside(move |relay| relay.status(connections, after)).await?;
        Ok(status.unwrap_or_default())
    }

    /// What needs somebody: a line for each listener that does not serve, or not as its files say.
    pub(crate) async fn problems(&self) -> Vec<String> {
        match self.status(0, 0).await {
            Ok(status) => status.listeners.iter().filter_map(problem).collect(),
            Err(silent) => vec![silent.to_string()],
        }
    }

    /// Whether the configuration has a listener of this name.
    pub(crate) fn has_listener(&self, name: &str) -> bool {
        self.state().config.listener.iter().any(|listener| listener.name == name)
    }

    /// Takes no more connections; those that are up go on until the process ends.
    pub(crate) fn drain(&self) {
        if let Some(relay) = self.state().relay.clone() {
            // Not waited for: it may wait for a reload to end.
            tokio::task::spawn_blocking(move || relay.drain());
        }
    }

    /// Ends every connection.
    pub(crate) fn stop(&self) {
        let relay = self.state().relay.take();
        drop(relay);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of listeners that a reload left as they were.
pub(crate) fn refused(report: &TlsReloadReport) -> Vec<&str> {
    let refused = report.listeners.iter().filter(|one| one.result == TlsReloadResult::Refused);
    refused.map(|one| one.listener.as_str()).collect()
}

fn nothing_reloaded() -> TlsReloadReport {
    TlsReloadReport { listeners: Vec::new() }
}

fn problem(listener: &TlsListenerStatus) -> Option<String> {
    let (name, why) = (&listener.name, listener.problem.as_deref());
    match listener.state {
        TlsListenerState::Failed => {
            Some(format!("TLS listener {name} does not serve: {}", why.unwrap_or("not started")))
        }
        _ => why.map(|why| format!("TLS listener {name} goes on as it was: {why}")),
    }
}

/// Each of the relay's words becomes an event, which is logged too. Ends with the relay.
async fn tell(mut notices: Notices, events: Events) {
    while let Some(notice) = notices.recv().await {
        events.record(Occurrence {
            kind: notice.kind,
            object: &notice.object,
            from: &notice.from,
            to: &notice.to,
            reason: &notice.reason,
            owner: notice.owner,
        });
    }
}

/// On a blocking thread. What takes too long goes on there, and its answer is nobody's.
async fn in_time<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Silent> {
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        // A panic ends the process before it comes here.
        Ok(Err(_)) | Err(_) => Err(Silent),
    }
}

/// Half of what a service manager's watchdog gives, during which a reload is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
