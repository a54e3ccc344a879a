//! Control: one task that owns every call's state, the ports and the ng socket, so that nothing
//! is locked and requests of one call are never reordered.
//!
//! 1. A request comes in ([`udp`], [`tcp`]), is decoded and held against the cookie cache
//!    ([`desk`]).
//! 2. The session decides what it means; the plan goes to the call's worker before the reply
//!    goes to the SBC, so that media is relayed by the time a peer learns our address
//!    ([`request`]).
//! 3. `delete`, `query` and `statistics` need a worker's numbers: the reply follows when those
//!    come, while other requests go on ([`report`]).
//! 4. DTLS and ICE agents say what becomes of legs ([`legs`]).
//! 5. Deadlines and silent calls end calls that nobody deletes ([`ending`]).
//!
//! Control never waits for a worker: what a worker has no room for waits in its outbox.

mod desk;
mod ending;
mod legs;
mod reply;
mod report;
mod request;
pub(crate) mod srtp;
pub(crate) mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_control::{EventKind, Lifecycle};
use tokio::sync::{Semaphore, mpsc};

use crate::config::Config;
use crate::events::{Events, Occurrence};
use crate::metrics::ledger::Ledger;
use crate::observer::Inquiry;
use crate::ports::Ports;
use crate::relay::command::{CallKey, Command, WorkerEvent};
use crate::session::{Calls, Settings};
use crate::settings;
use crate::throttle::Throttle;
use crate::webrtc::Agents;
use crate::webrtc::plan::LegNews;
use crate::workers::{Outbox, Workers};
use desk::Desk;
use reply::Rates;
use report::Finished;
use tcp::TcpRequest;
use udp::UdpEndpoint;

/// See the module's documentation.
pub(crate) struct Control {
    calls: Calls<Ports>,
    /// Every call that its worker has not reported closed.
    placements: HashMap<CallKey, Placement>,
    /// Calls on each worker.
    loads: Vec<usize>,
    outboxes: Vec<Outbox>,
    workers: Workers,
    agents: Agents,
    desk: Desk,
    ledger: Ledger,
    events: Events,
    lifecycle: Lifecycle,
    drain_deadline: Option<Instant>,
    /// The next look for calls over `relay.final_timeout`; `None` while that is off.
    final_scan: Option<Instant>,
    config: Config,
    started: Instant,
    rates: Rates,
    finished: mpsc::UnboundedSender<Finished>,
    /// Requests that may wait for workers at a time.
    waiting: Arc<Semaphore>,
    /// When the limit event may be told again.
    limit_quiet_until: Option<Instant>,
    /// What is odd but carried out, by the words for it.
    oddities: HashMap<&'static str, Throttle>,
    leg_failures: Throttle,
}

/// Where a call lives, and since when.
#[derive(Clone, Copy, Debug)]
struct Placement {
    worker: usize,
    created: Instant,
}

/// What the operator orders.
#[derive(Debug)]
pub(crate) enum Order {
    /// Go by this configuration from now on, as far as that is possible while running.
    Reconfigure(Box<Config>),
    /// Show the newest certificate to new legs.
    Recertify,
    /// Take no new calls; end when none is left.
    Drain,
}

/// What control commands.
pub(crate) struct Relays {
    pub(crate) workers: Workers,
    pub(crate) outboxes: Vec<Outbox>,
    pub(crate) agents: Agents,
}

/// Everything that reaches control besides the ng socket itself.
pub(crate) struct Inputs {
    pub(crate) tcp: mpsc::Receiver<TcpRequest>,
    pub(crate) workers: mpsc::Receiver<(usize, WorkerEvent)>,
    pub(crate) inquiries: mpsc::Receiver<Inquiry>,
    pub(crate) orders: mpsc::Receiver<Order>,
    /// A few for each leg and handshake, so bounded by those.
    pub(crate) news: mpsc::UnboundedReceiver<LegNews>,
    finished: mpsc::UnboundedReceiver<Finished>,
}

/// The channels' other ends, for those who feed control.
pub(crate) struct Feeds {
    pub(crate) tcp: mpsc::Sender<TcpRequest>,
    pub(crate) workers: mpsc::Sender<(usize, WorkerEvent)>,
    pub(crate) inquiries: mpsc::Sender<Inquiry>,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) news: mpsc::UnboundedSender<LegNews>,
    finished: mpsc::UnboundedSender<Finished>,
}

/// Both ends of every channel.
pub(crate) fn channels() -> (Feeds, Inputs) {
    let (tcp_in, tcp) = mpsc::channel(64);
    let (workers_in, workers) = mpsc::channel(1024);
    let (inquiries_in, inquiries) = mpsc::channel(16);
    let (orders_in, orders) = mpsc::channel(4);
    let (news_in, news) = mpsc::unbounded_channel();
    let (finished_in, finished) = mpsc::unbounded_channel();
    let feeds = Feeds {
        tcp: tcp_in,
        workers: workers_in,
        inquiries: inquiries_in,
        orders: orders_in,
        news: news_in,
        finished: finished_in,
    };
    (feeds, Inputs { tcp, workers, inquiries, orders, news, finished })
}

/// The ng socket, bound.
pub(crate) struct NgSocket(UdpEndpoint);

impl NgSocket {
    /// Binds. Needs a tokio runtime.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        UdpEndpoint::bind(address).map(Self)
    }

    /// Where, with the port that the kernel chose for port 0.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_address()
    }
}

impl Control {
    pub(crate) fn new(
        config: Config,
        socket: NgSocket,
        relays: Relays,
        events: Events,
        feeds: &Feeds,
    ) -> Self {
        let Relays { workers, outboxes, agents } = relays;
        let session = Settings { webrtc: agents.terms(), ..settings::session(&config) };
        let options = settings::socket_options(&config);
        let ports = Ports::new(&session.interfaces, config.relay.ports, options);
        let now = Instant::now();
        Self {
            calls: Calls::new(session, ports),
            placements: HashMap::new(),
            loads: vec![0; outboxes.len()],
            outboxes,
            workers,
            agents,
            desk: Desk::new(socket.0, now),
            ledger: Ledger::default(),
            events,
            lifecycle: Lifecycle::Running,
            drain_deadline: None,
            final_scan: config.relay.final_timeout.0.map(|_| now),
            config,
            started: now,
            rates: Rates::new(now),
            finished: feeds.finished.clone(),
            waiting: Arc::new(Semaphore::new(WAITING)),
            limit_quiet_until: None,
            oddities: HashMap::new(),
            leg_failures: Throttle::new(LEG_FAILURES),
        }
    }

    /// Works until a drain is complete.
    pub(crate) async fn run(mut self, mut inputs: Inputs) -> io::Result<()> {
        loop {
            let wake = self.next_wake();
            let timer = async {
                match wake {
                    Some(wake) => tokio::time::sleep_until(wake.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = self.desk.readable() => {
                    ready?;
                    self.receive_datagrams();
                }
                Some(request) = inputs.tcp.recv() => self.receive_tcp(request),
                Some((worker, event)) = inputs.workers.recv() => self.worker_says(worker, event),
                Some(finished) = inputs.finished.recv() => self.finish(finished),
                Some(news) = inputs.news.recv() => self.agents_say(news),
                Some(inquiry) = inputs.inquiries.recv() => self.inform(inquiry),
                Some(order) = inputs.orders.recv() => self.obey(order),
                () = timer => self.expire(),
            }
            self.outboxes.iter_mut().for_each(Outbox::flush);
            if self.lifecycle == Lifecycle::Draining && self.placements.is_empty() {
                return Ok(());
            }
        }
    }

    /// When something is due that no message announces.
    fn next_wake(&self) -> Option<Instant> {
        let behind = self.outboxes.iter().any(Outbox::is_behind);
        let retry = behind.then(|| Instant::now() + OUTBOX_RETRY);
        let due = [self.calls.next_deadline(), self.drain_deadline, self.final_scan, retry];
        due.into_iter().flatten().min()
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Reconfigure(config) => {
                self.config = *config;
                self.apply_settings();
                self.final_scan = self.config.relay.final_timeout.0.map(|_| Instant::now());
            }
            Order::Recertify => self.apply_settings(),
            Order::Drain => self.drain(),
        }
    }

    fn apply_settings(&mut self) {
        // Calls remember places in this list, and ports are made from it.
        let interfaces = self.calls.settings().interfaces.clone();
        let webrtc = self.agents.terms();
        let session = settings::session(&self.config);
        self.calls.reconfigure(Settings { interfaces, webrtc, ..session });
    }

    fn drain(&mut self) {
        if self.lifecycle == Lifecycle::Draining {
            return;
        }
        self.lifecycle = Lifecycle::Draining;
        let patience = self.config.relay.drain_timeout.0;
        self.drain_deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        self.events.record(Occurrence {
            kind: EventKind::DrainStarted,
            object: "gateway",
            from: "running",
            to: "draining",
            reason: &match self.calls.len() {
                1 => "SIGTERM; 1 call is up".to_owned(),
                calls => format!("SIGTERM; {calls} calls are up"),
            },
            owner: "operator",
        });
    }

    fn worker_says(&mut self, worker: usize, event: WorkerEvent) {
        match event {
            WorkerEvent::Idle { call, since } => {
                let now = Instant::now();
                if let Some(expired) = self.calls.idle(call, since, now) {
                    self.end(expired);
                }
            }
            WorkerEvent::KeyLimit { call, stream, owner, mki, limit } => {
                self.key_limit(call, stream, (owner, &mki), limit);
            }
            WorkerEvent::SocketRefused { call, stream, error } => {
                tracing::error!(
                    worker, call = call.0, stream = stream.0, %error,
                    "a worker cannot use a media socket; the call is without this stream"
                );
            }
        }
    }

    /// To the call's worker, in order.
    fn command(&mut self, worker: usize, command: Command) {
        self.outboxes[worker].send(command);
    }

    /// The least loaded worker, a healthy one if there is any.
    fn choose_worker(&self) -> usize {
        let links = self.workers.links();
        let cost = |worker: &usize| {
            let troubled = links[*worker].is_stalled() || self.outboxes[*worker].is_behind();
            (troubled, self.loads[*worker])
        };
        (0..self.outboxes.len()).min_by_key(cost).unwrap_or(0)
    }
}

/// The event of a leg that failed is told no more often.
const LEG_FAILURES: Duration = Duration::from_secs(1);

/// How soon a worker that was full is tried again.
const OUTBOX_RETRY: Duration = Duration::from_millis(5);

/// Beyond so many, requests are answered without the workers' numbers.
const WAITING: usize = 4096;
