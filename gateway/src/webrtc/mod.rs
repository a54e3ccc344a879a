//! DTLS-SRTP and ICE of the gateway's legs, beside the workers: threads that run the sans-IO agents
//! of the `webrtc` crate. A worker hands up STUN and DTLS, the agents hand down keys and paths.
//!
//! # Who owns what
//!
//! | State | Owner |
//! |---|---|
//! | which legs there are, fingerprints, credentials, candidates | `session`, on control |
//! | ICE agents, DTLS associations, their deadlines and places | the call's agents' thread |
//! | SRTP contexts, paths in force, media sockets | the call's worker |
//! | certificates | [`Agents`], copies on each thread |
//!
//! What crosses a thread's boundary are messages: plans and ends from control, datagrams from
//! workers through bounded queues ([`crate::relay::uplink`]), commands to workers, news to control.
//! Nobody waits for an agents' thread, and it waits for nobody.
//!
//! # What media feels of it
//!
//! Nothing, by construction: workers copy a datagram and go on. The threads are less urgent than
//! workers (nice), and handshakes have a budget of time and places. They are not pinned: the kernel
//! puts them where there is time to spare.
//!
//! # Where to look
//!
//! [`plan`] is the seam to signalling; [`thread`] the loop, [`seat`] a leg's place on it, [`budget`],
//! [`mod@line`] and [`timers`] what their names say; [`leg`] is one leg, sans-IO, made of [`checks`] (ICE) and
//! [`keying`] (DTLS), which say what they want as [`effect`]s; [`certificates`] is what we show,
//! [`renewal`] when that is another one, [`signing`] how a token signs for it;
//! [`figures`] what is counted, [`check`] what `gateway check` and `gateway probe` say.

mod budget;
mod certificates;
pub(crate) mod check;
mod checks;
mod effect;
pub(crate) mod figures;
mod keying;
mod leg;
mod line;
pub mod plan;
mod renewal;
mod seat;
mod signing;
mod sys;
#[cfg(test)]
mod tests;
mod thread;
mod timers;

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use srtp::Profile;
use tokio::sync::{mpsc, oneshot};
use webrtc::dtls::DtlsSettings;

pub(crate) use certificates::CertificateError;
use certificates::Shown;

use crate::config::{IceMode, WebRtc as Config};
use crate::relay::command::CallKey;
use crate::relay::uplink::{self, Intake, Uplink};
use crate::session;
use crate::workers::Workers;
use figures::Figures;
use plan::{CertificateSerial, IceAgent, LegNews, LegUpdate};
use renewal::Newest;
use thread::{AgentThread, Limits, Order, Setup};

/// The agents' threads as control and listeners see them; clones share them.
#[derive(Clone)]
pub(crate) struct Agents(Arc<Shared>);

struct Shared {
    threads: Vec<Link>,
    /// In force.
    config: Mutex<Config>,
    /// The newest certificate, and since when it is shown; `None` without threads.
    newest: Option<Mutex<Newest>>,
    /// Held while the certificate is read again: two at once would have one serial.
    reading: Mutex<()>,
}

/// One thread.
struct Link {
    orders: Sender<Order>,
    uplink: Uplink,
}

/// The ways between workers and agents' threads, before there are either.
pub(crate) struct Ways(Vec<(Uplink, Intake)>);

impl Ways {
    /// As many as there will be threads.
    pub(crate) fn new(config: &Config) -> Self {
        let threads = if config.enabled { config.threads } else { 0 };
        Self((0..threads).map(|_| uplink::uplink()).collect())
    }

    /// The workers' ends.
    pub(crate) fn uplinks(&self) -> Vec<Uplink> {
        self.0.iter().map(|(uplink, _)| uplink.clone()).collect()
    }
}

/// What the threads are started with.
pub(crate) struct Neighbours {
    /// Each thread gets its own way to every one of them.
    pub(crate) workers: Workers,
    pub(crate) news: mpsc::UnboundedSender<LegNews>,
    /// Where what blocks may run.
    pub(crate) runtime: tokio::runtime::Handle,
}

/// Why there are no agents.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("webrtc: no thread: {0}")]
    Thread(io::Error),
}

impl Agents {
    /// Starts the threads of these ways. Reads the certificate, so it may block.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn start(
        config: &Config,
        ways: Ways,
        neighbours: &Neighbours,
    ) -> Result<Self, StartError> {
        if ways.0.is_empty() {
            return Ok(Self::none());
        }
        let shown = Shown::load(config, CertificateSerial::default())?;
        let mut threads = Vec::new();
        for (index, (uplink, intake)) in ways.0.into_iter().enumerate() {
            let (orders, inbox) = std::sync::mpsc::channel();
            let setup = Setup {
                intake,
                uplink: uplink.clone(),
                orders: inbox,
                workers: neighbours.workers.outboxes(),
                news: neighbours.news.clone(),
                runtime: neighbours.runtime.clone(),
                limits: limits(config),
            };
            let thread = std::thread::Builder::new().name(format!("webrtc-{index}"));
            let run = move || AgentThread::new(setup).run();
            // Ends when it is told to, or with the process.
            thread.spawn(run).map_err(StartError::Thread)?;
            threads.push(Link { orders, uplink });
        }
        let newest = Some(Mutex::new(Newest::from(shown.clone())));
        let config = Mutex::new(config.clone());
        let agents = Self(Arc::new(Shared { threads, config, newest, reading: Mutex::default() }));
        agents.tell_all(|| Order::Certificate(shown.clone()));
        Ok(agents)
    }

    /// No DTLS, no ICE.
    pub(crate) fn none() -> Self {
        let config = Mutex::default();
        let (threads, reading) = (Vec::new(), Mutex::default());
        Self(Arc::new(Shared { threads, config, newest: None, reading }))
    }

    /// Tells the call's thread of its legs. Their plan has gone to `worker`.
    pub(crate) fn plan(&self, worker: usize, legs: Vec<LegUpdate>) {
        for update in legs {
            self.tell(update.call, Order::Leg { worker, update: Box::new(update) });
        }
    }

    /// A call has ended, with all of its legs.
    pub(crate) fn end(&self, call: CallKey) {
        self.tell(call, Order::End(call));
    }

    /// What signalling goes by; `None` where there is neither DTLS nor ICE.
    pub(crate) fn terms(&self) -> Option<session::WebRtc> {
        let certificate = Arc::clone(&self.newest()?.told);
        let config = self.config();
        Some(session::WebRtc {
            certificate,
            ice: match config.ice {
                IceMode::Full => IceAgent::Full,
                IceMode::Lite => IceAgent::Lite,
            },
            accept_sha1: config.accept_sha1,
            profiles: PROFILES.into(),
            threads: self.0.threads.len() as u16,
        })
    }

    /// Goes by `config` from now on, and reads the certificate again.
    ///
    /// # Errors
    /// [`CertificateError`]: the old one stays.
    pub(crate) async fn apply(&self, config: &Config) -> Result<(), CertificateError> {
        self.config().clone_from(config);
        self.tell_all(|| Order::Limits(limits(config)));
        let agents = self.clone();
        let read = tokio::task::spawn_blocking(move || agents.recertify(Instant::now()));
        match tokio::time::timeout(PATIENCE, read).await {
            // A panic ends the process before it comes here.
            Ok(done) => done.unwrap_or(Ok(false)).map(drop),
            Err(_) => Err(CertificateError::Silent),
        }
    }

    /// The newest certificate's fingerprint under SHA-256, for the log.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        let told = Arc::clone(&self.newest()?.told);
        told.fingerprint(ng::sdp::HashFunction::Sha256).map(ToString::to_string)
    }

    /// Every thread's numbers; `None` for one that did not answer in time.
    pub(crate) async fn figures(&self, patience: Duration) -> Vec<Option<Figures>> {
        let asked: Vec<_> = self.0.threads.iter().map(Link::inquire).collect();
        let deadline = tokio::time::Instant::now() + patience;
        let mut figures = Vec::with_capacity(asked.len());
        for answer in asked {
            let answer = tokio::time::timeout_at(deadline, answer).await;
            figures.push(answer.ok().and_then(Result::ok));
        }
        figures
    }

    /// What needs somebody.
    pub(crate) async fn problems(&self, patience: Duration) -> Vec<String> {
        let figures = self.figures(patience).await;
        let silent = figures.iter().enumerate().filter(|(_, figures)| figures.is_none());
        silent
            .map(|(index, _)| format!("the agents' thread webrtc-{index} does not answer"))
            .collect()
    }

    /// Ends the threads.
    pub(crate) fn stop(&self) {
        self.tell_all(|| Order::Stop);
    }

    fn tell(&self, call: CallKey, order: Order) {
        let threads = &self.0.threads;
        let Some(at) = call.0.checked_rem(threads.len() as u64) else { return };
        threads[at as usize].tell(order);
    }

    fn tell_all(&self, order: impl Fn() -> Order) {
        self.0.threads.iter().for_each(|thread| thread.tell(order()));
    }

    fn config(&self) -> MutexGuard<'_, Config> {
        self.0.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest(&self) -> Option<MutexGuard<'_, Newest>> {
        let newest = self.0.newest.as_ref()?;
        Some(newest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Link {
    fn tell(&self, order: Order) {
        // Gone only when the process is about to be.
        let _ = self.orders.send(order);
        self.uplink.call();
    }

    fn inquire(&self) -> oneshot::Receiver<Figures> {
        let (reply, answer) = oneshot::channel();
        self.tell(Order::Inquire(reply));
        answer
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        dtls: DtlsSettings {
            mtu: config.mtu,
            handshake_timeout: config.handshake_timeout.0,
            accept_sha1: config.accept_sha1,
            ..DtlsSettings::default()
        },
        max_handshakes: config.max_handshakes.div_ceil(config.threads.max(1)),
        share: config.handshake_cpu.factor(),
    }
}

/// `use_srtp`, best first, as the incumbent orders them.
const PROFILES: [Profile; 4] = session::settings::DTLS_PROFILES;

/// A file system or a token that hangs must not hold up a reload for longer.
const PATIENCE: Duration = Duration::from_secs(4);
