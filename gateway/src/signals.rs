//! Signals, and the service manager's view of us: SIGTERM drains, SIGINT ends, SIGHUP reads the
//! configuration again.

use std::io;
use std::time::Duration;

use gateway_control::EventKind;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::remote::Renewal;
use crate::cli::SettingArguments;
use crate::config::{Config, check};
use crate::control::Order;
use crate::events::{Events, Occurrence};
use crate::ipsec::Ipsec;
use crate::log::Filter;
use crate::systemd::{Notifier, State};
use crate::tls::{self, Tls};
use crate::webrtc::Agents;

/// The signals we act on, caught from now on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What signals act on.
pub(crate) struct Supervisor {
    /// In force.
    pub(crate) config: Config,
    /// Where it comes from.
    pub(crate) source: SettingArguments,
    pub(crate) filter: Filter,
    pub(crate) events: Events,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) notifier: Notifier,
    /// A task for each worker that ends with it.
    pub(crate) alive: JoinSet<usize>,
    /// `limits.report_timeout`, for the HTTP listener and the admin API.
    pub(crate) patience: watch::Sender<Duration>,
    /// Certificates and who is known over TLS, where there is such a listener.
    pub(crate) renewal: Option<Renewal>,
    /// Its peers and pairs.
    pub(crate) ipsec: Ipsec,
    /// Its listeners.
    pub(crate) tls: Tls,
    /// Of DTLS and ICE.
    pub(crate) agents: Agents,
}

impl Signals {
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl Supervisor {
    /// Until SIGINT, or until control has drained.
    pub(crate) async fn watch(
        mut self,
        mut signals: Signals,
        mut control: JoinHandle<io::Result<()>>,
    ) -> io::Result<()> {
        self.notifier.notify(State::Ready);
        let watchdog = self.notifier.watchdog();
        let mut tick = tokio::time::interval(watchdog.unwrap_or(NO_WATCHDOG));
        loop {
            tokio::select! {
                _ = signals.interrupt.recv() => {
                    tracing::info!("SIGINT: ending now");
                    self.notifier.notify(State::Stopping);
                    return Ok(());
                }
                _ = signals.terminate.recv() => {
                    self.notifier.notify(State::Stopping);
                    self.tls.drain();
                    // Control is gone only if it has drained already.
                    let _ = self.orders.send(Order::Drain).await;
                }
                _ = signals.hangup.recv() => self.reload().await,
                _ = tick.tick(), if watchdog.is_some() => self.notifier.notify(State::Watchdog),
                // Its calls are lost, and nobody would tell their SBCs: better all at once, and
                // loudly, than some in silence.
                Some(Ok(worker)) = self.alive.join_next() => {
                    return Err(io::Error::other(format!("worker {worker} has ended")));
                }
                ended = &mut control => {
                    tracing::info!("drained");
                    return ended.unwrap_or_else(|error| Err(io::Error::other(error)));
                }
            }
        }
    }

    /// A configuration that is refused changes nothing.
    async fn reload(&mut self) {
        self.notifier.notify(State::Reloading);
        let object = match self.source.file() {
            Some(path) => path.display().to_string(),
            None => "command line".to_owned(),
        };
        match self.source.load() {
            Ok(config) => self.adopt(config, &object).await,
            Err(error) => {
                tracing::error!("SIGHUP: {error}; the old configuration stays in force");
                self.tell(EventKind::ConfigRefused, &object, &error.to_string());
            }
        }
        self.notifier.notify(State::Ready);
    }

    async fn adopt(&mut self, config: Config, object: &str) {
        let (config, kept) = check::reload(&self.config, config);
        if let Err(error) = self.filter.change(&config.log.filter) {
            tracing::error!("SIGHUP: {error}");
        }
        let mut reason = match kept.as_slice() {
            [] => "SIGHUP".to_owned(),
            kept => format!("SIGHUP; these need a restart and stay: {}", kept.join(", ")),
        };
        if let Some(Err(error)) = self.renewal.as_ref().map(|renewal| renewal.renew(&config)) {
            tracing::error!("SIGHUP: {error}; the old certificate stays in force");
            self.tell(EventKind::ConfigRefused, "admin.tls", &error.to_string());
        }
        self.ipsec.reconfigure(&config);
        match self.tls.apply(&config.tls).await {
            Ok(report) => {
                for listener in tls::refused(&report) {
                    reason.push_str(&format!("; TLS listener {listener} goes on as it was"));
                }
            }
            Err(silent) => reason.push_str(&format!("; {silent}, and are waited for")),
        }
        if let Err(error) = self.agents.apply(&config.webrtc).await {
            tracing::error!("SIGHUP: {error}; the old certificate stays in force");
            self.tell(EventKind::ConfigRefused, "webrtc.certificate", &error.to_string());
        }
        self.patience.send_replace(config.limits.report_timeout.0);
        self.config = config.clone();
        let _ = self.orders.send(Order::Reconfigure(Box::new(config))).await;
        self.tell(EventKind::ConfigReloaded, object, &reason);
    }

    fn tell(&self, kind: EventKind, object: &str, reason: &str) {
        let (from, to, owner) = ("", "", "operator");
        self.events.record(Occurrence { kind, object, from, to, reason, owner });
    }
}

/// An interval needs some period, also where it is never looked at.
const NO_WATCHDOG: Duration = Duration::from_secs(3600);
