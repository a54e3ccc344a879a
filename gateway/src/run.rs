//! `gateway run`: everything is opened before anything is served, so that whatever cannot work
//! says so before the first call; then signals decide.
//!
//! 1. The process: log, umask, no dumps, as many descriptors as allowed.
//! 2. Whatever may need a privilege: listeners, the offload agent. Then privileges are given up.
//! 3. Workers, one thread each, with ways to the threads of DTLS and ICE agents.
//! 4. The control runtime, on the main thread: ng, HTTP, admin API, signals.
//! 5. The end: SIGINT at once, SIGTERM when the last call has ended.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::remote::{self, Remote, RemoteError, Renewal};
use crate::admin::{self, AdminError, AdminSocket};
use crate::cli::RunPlan;
use crate::config::{Config, Listen};
use crate::control::{self, Control, Feeds, NgSocket};
use crate::events::Events;
use crate::ipsec::agent::spawn::{self, SpawnError};
use crate::ipsec::{IdentityError, Ipsec};
use crate::log::{self, Filter, FilterError};
use crate::machine::{self, Machine};
use crate::observer::Observer;
use crate::ports::{AddressError, check_addresses};
use crate::relay::worker::StartError;
use crate::signals::{Signals, Supervisor};
use crate::sys::Keep;
use crate::systemd::Notifier;
use crate::tls::Tls;
use crate::webrtc::{self, Agents, Neighbours, Ways};
use crate::workers::{self, Inlet, Outbox, Started, Workers};
use crate::{check, http, ipsec, settings, sys};

/// Why the gateway does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("relay.io (--io): {0}")]
    Worker(#[from] StartError),
    #[error("{setting} {address}: {source}{}", hint(source))]
    Listen { setting: &'static str, address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Agent(#[from] SpawnError),
    #[error(transparent)]
    Exchange(#[from] IdentityError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Tls(#[from] tls_relay::StartError),
    #[error(transparent)]
    WebRtc(#[from] webrtc::StartError),
    #[error("{what}: {source}")]
    Process { what: &'static str, source: io::Error },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has this port, give another one",
        io::ErrorKind::AddrNotAvailable => "; this host has no such address, `ip address` lists it",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// Runs until a signal ends it.
pub(crate) fn run(plan: RunPlan) -> Result<(), RunError> {
    let filter = log::start(&plan.config.log)?;
    prepare_process()?;
    check_addresses(&settings::interfaces(&plan.config))?;
    for warning in check::warnings(&plan.config, &Machine::read()) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::Process { what: "control runtime", source })?;
    let opened = runtime.block_on(open(&plan.config))?;
    let agent = ipsec::start_agent(&plan.config.ipsec)?;
    give_up_privileges(&plan.config);
    if let Some(agent) = agent {
        spawn::reap(agent);
    }
    let events = Events::new();
    let ways = Ways::new(&plan.config.webrtc);
    let Started { workers, inlets, threads } =
        workers::start(&plan.config, &ways.uplinks(), &events)?;
    let relays = Relays { workers: workers.clone(), inlets, ways };
    let ended = runtime.block_on(serve(plan, filter, events, relays, opened));
    workers.stop();
    // Not waited for to its end: a file or a token that hangs must not keep us.
    runtime.shutdown_timeout(LAST_PATIENCE);
    join(threads);
    ended
}

/// What moves media, and the ways to what helps it.
struct Relays {
    workers: Workers,
    inlets: Vec<Inlet>,
    ways: Ways,
}

/// Everything on the control runtime, until a signal or a drain ends it.
async fn serve(
    plan: RunPlan,
    filter: Filter,
    events: Events,
    relays: Relays,
    opened: Opened,
) -> Result<(), RunError> {
    let RunPlan { config, source } = plan;
    let Relays { workers, inlets, ways } = relays;
    let process = |what| move |source| RunError::Process { what, source };
    let signals = Signals::install().map_err(process("signal handlers"))?;
    let Opened { ng, ng_address, listeners } = opened;
    let ipsec = Ipsec::start(&config, &events)?;
    let tls = Tls::start(&config.tls, &events)?;
    let (feeds, inputs) = control::channels();
    let agents = start_agents(&config, ways, &workers, &feeds)?;
    let (patience, patience_now) = watch::channel(config.limits.report_timeout.0);
    let observer = Observer {
        inquiries: feeds.inquiries.clone(),
        workers: workers.clone(),
        events: events.clone(),
        started: Instant::now(),
        ng: ng_address,
        http: listeners.http.as_ref().and_then(|listener| listener.local_addr().ok()),
        patience: patience_now,
        ipsec: ipsec.clone(),
        tls: tls.clone(),
        agents: agents.clone(),
    };
    announce(&config, &observer, &listeners);
    tokio::spawn(workers.clone().watch(config.limits.stall_timeout.0, events.clone()));
    let (outboxes, alive) = connect(inlets, &feeds);
    tokio::spawn(agents.clone().keep_fresh(feeds.orders.clone(), events.clone()));
    let relays = control::Relays { workers, outboxes, agents: agents.clone() };
    let control = Control::new(config.clone(), ng, relays, events.clone(), &feeds);
    let control = tokio::spawn(control.run(inputs));
    let (_socket_file, renewal) = listen(&config, listeners, &feeds, observer);
    let notifier = Notifier::from_environment();
    let supervisor = Supervisor {
        config,
        source,
        filter,
        events,
        orders: feeds.orders,
        notifier,
        alive,
        patience,
        renewal,
        ipsec,
        tls: tls.clone(),
        agents: agents.clone(),
    };
    let ended = supervisor.watch(signals, control).await.map_err(process("control"));
    tls.stop();
    agents.stop();
    ended
}

fn start_agents(
    config: &Config,
    ways: Ways,
    workers: &Workers,
    feeds: &Feeds,
) -> Result<Agents, webrtc::StartError> {
    let neighbours = Neighbours {
        workers: workers.clone(),
        news: feeds.news.clone(),
        runtime: tokio::runtime::Handle::current(),
    };
    Agents::start(&config.webrtc, ways, &neighbours)
}

fn prepare_process() -> Result<(), RunError> {
    // Without one of its threads a gateway would lose calls in silence: a panic anywhere ends
    // the process, and the service manager starts it again.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("{panic}");
        std::process::abort();
    }));
    sys::restrict_new_files();
    machine::forbid_dumps()
        .map_err(|source| RunError::Process { what: "cannot forbid core dumps", source })?;
    if let Err(error) = machine::raise_file_limit() {
        tracing::warn!(%error, "cannot raise RLIMIT_NOFILE to its hard limit");
    }
    Ok(())
}

/// Before there is a second thread: capabilities are a thread's, and those that it starts inherit
/// what it has then.
fn give_up_privileges(config: &Config) {
    if let Err(error) = sys::drop_capabilities(kept(config)) {
        tracing::warn!(%error, "cannot give capabilities up");
    }
}

/// Media sockets are opened call by call, TLS listeners after this and at SIGHUP.
fn kept(config: &Config) -> Keep {
    let listeners = config.tls.listener.iter().map(|listener| listener.listen.port());
    // Port 0 is whatever is free, and above.
    let mut ports = listeners.chain([config.relay.ports.min]).filter(|port| *port != 0);
    match ports.any(|port| port < FIRST_UNPRIVILEGED_PORT) {
        true => Keep::LowPorts,
        false => Keep::Nothing,
    }
}

/// What is listened on.
struct Opened {
    ng: NgSocket,
    ng_address: SocketAddr,
    listeners: Listeners,
}

/// Those that stand for themselves.
struct Listeners {
    ng_tcp: Option<TcpListener>,
    http: Option<TcpListener>,
    admin: Option<AdminSocket>,
    remote: Option<(Remote, Renewal)>,
}

async fn open(config: &Config) -> Result<Opened, RunError> {
    let ng_error = |source| RunError::Listen {
        setting: "ng.listen (--ng)",
        address: config.ng.listen,
        source,
    };
    let ng = NgSocket::bind(config.ng.listen).map_err(ng_error)?;
    let ng_address = ng.local_address().map_err(ng_error)?;
    let ng_tcp = match config.ng.tcp {
        true => Some(TcpListener::bind(ng_address).await.map_err(ng_error)?),
        false => None,
    };
    let http = match config.http.listen {
        Listen::At(address) => Some(http::bind(address).await.map_err(|source| {
            RunError::Listen { setting: "http.listen (--http)", address, source }
        })?),
        Listen::Off => None,
    };
    let admin = admin::bind(&config.admin.listen)?;
    let remote = remote::bind(config).await?;
    let listeners = Listeners { ng_tcp, http, admin, remote };
    Ok(Opened { ng, ng_address, listeners })
}

fn announce(config: &Config, observer: &Observer, opened: &Listeners) {
    for (worker, link) in observer.workers.links().iter().enumerate() {
        tracing::info!(worker, driver = link.driver, reason = link.reason, "worker");
    }
    let http = observer.http.map_or_else(|| "none".to_owned(), |address| address.to_string());
    let admin = opened.admin.as_ref();
    let admin =
        admin.map_or_else(|| "none".to_owned(), |socket| socket.path.0.display().to_string());
    let interfaces: Vec<String> = config.interface.iter().map(ToString::to_string).collect();
    let (interfaces, ports) = (interfaces.join(" "), config.relay.ports);
    if let Some(fingerprint) = observer.agents.fingerprint() {
        tracing::info!(%fingerprint, "DTLS and ICE");
    }
    if let Some((remote, _)) = &opened.remote {
        tracing::info!(address = %remote.address, "admin API over mutual TLS");
    }
    tracing::info!(ng = %observer.ng, http, admin, interfaces, %ports, "relaying");
}

/// Gives every worker's events one way into control. The tasks end when their workers do.
fn connect(inlets: Vec<Inlet>, feeds: &Feeds) -> (Vec<Outbox>, JoinSet<usize>) {
    let mut alive = JoinSet::new();
    let mut outboxes = Vec::with_capacity(inlets.len());
    for (worker, Inlet { outbox, mut events }) in inlets.into_iter().enumerate() {
        outboxes.push(outbox);
        let feed = feeds.workers.clone();
        alive.spawn(async move {
            while let Some(event) = events.recv().await {
                // Control ends only when the process does.
                let _ = feed.send((worker, event)).await;
            }
            worker
        });
    }
    (outboxes, alive)
}

/// Starts the listeners. The returned path lives as long as the admin socket is to.
fn listen(
    config: &Config,
    opened: Listeners,
    feeds: &Feeds,
    observer: Observer,
) -> (Option<admin::SocketPath>, Option<Renewal>) {
    if let Some(listener) = opened.ng_tcp {
        let (limit, feed) = (config.limits.ng_connections, feeds.tcp.clone());
        tokio::spawn(control::tcp::serve(listener, limit, feed));
    }
    if let Some(listener) = opened.http {
        tokio::spawn(http::serve(listener, observer.clone()));
    }
    let renewal = opened.remote.map(|(remote, renewal)| {
        tokio::spawn(admin::serve_remote(remote, observer.clone()));
        renewal
    });
    let path = opened.admin.map(|socket| {
        let (listener, path) = socket.into_parts();
        tokio::spawn(admin::serve(listener, observer));
        path
    });
    (path, renewal)
}

/// Waits for the workers, but not for one that hangs: the process is ending anyway.
fn join(threads: Vec<JoinHandle<io::Result<()>>>) {
    let deadline = Instant::now() + LAST_PATIENCE;
    for thread in threads {
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished()
            && let Ok(Err(error)) = thread.join()
        {
            tracing::error!(%error, "a worker ended with an error");
        }
    }
}

/// `net.ipv4.ip_unprivileged_port_start`, unless somebody changed it.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// SIGINT promises an end within a second.
const LAST_PATIENCE: Duration = Duration::from_millis(500);
