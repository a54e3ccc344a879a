//! A listener: its socket, the terms on which it serves, and its numbers.
//!
//! Terms are swapped whole: a connection keeps those under which it was accepted. The listening
//! socket is another thing: it is bound before anything of an old one is given up, so that a taken
//! port leaves all as it was. Everything here is shared by the threads and touched a few times for
//! each connection, never for a message.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crypto_offload::Placement;
use gateway_control::EventKind;
use kernel_tls::{Policy, Reading};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use crate::counters::{ListenerCounters, Refusal, Tally};
use crate::identity::{self, Identity};
use crate::limits::Places;
use crate::notice::{Notice, Teller, Throttle};
use crate::registry::Placed;
use crate::settings::{KernelUse, ListenerSettings, Mode};
use crate::socket::notice_the_gone;
use crate::upstream::Upstreams;

/// One listener, over all of its reloads.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) upstreams: Upstreams,
    pub(crate) connections: Places,
    pub(crate) handshakes: Places,
    terms: RwLock<Arc<Terms>>,
    /// One for each thread.
    tallies: Vec<Tally>,
    teller: Teller,
    told: Mutex<Told>,
}

/// On what terms connections are served.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) settings: ListenerSettings,
    pub(crate) identity: Identity,
    /// What the identity shares with the others.
    pub(crate) shared: identity::Common,
    pub(crate) policy: Policy,
    pub(crate) reading: Reading,
}

#[derive(Debug, Default)]
struct Told {
    connections: Throttle,
    handshakes: Throttle,
    resources: Throttle,
    no_kernel: Throttle,
    fallbacks: BTreeSet<String>,
}

impl Terms {
    /// What is different, in words; nothing: they are the same.
    pub(crate) fn changes_since(&self, old: Option<&Self>) -> Vec<String> {
        let Some(old) = old else { return Vec::new() };
        let mut what = self.identity.changes_since(&old.identity);
        if self.settings != old.settings && what.is_empty() || self.policy != old.policy {
            what.push("its settings changed".to_owned());
        }
        if self.shared.device_suites != old.shared.device_suites {
            what.push("another version is preferred".to_owned());
        }
        if !Arc::ptr_eq(&self.shared.tickets, &old.shared.tickets) {
            what.push("session tickets have another lifetime".to_owned());
        }
        what
    }

    /// Where records are asked to be first.
    pub(crate) fn requested(&self) -> Placement {
        match self.policy.kernel {
            kernel_tls::KernelUse::Off => Placement::UserSpace,
            _ => Placement::KernelSoftware,
        }
    }
}

impl Listener {
    pub(crate) fn new(terms: Terms, threads: usize, teller: Teller) -> Self {
        let settings = &terms.settings;
        Self {
            name: settings.name.clone(),
            mode: settings.mode,
            upstreams: Upstreams::new(&settings.name, &settings.upstream, teller.clone()),
            connections: Places::default(),
            handshakes: Places::default(),
            terms: RwLock::new(Arc::new(terms)),
            tallies: (0..threads).map(|_| Tally::new()).collect(),
            teller,
            told: Mutex::default(),
        }
    }

    /// The terms for a connection that comes now.
    pub(crate) fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// New connections are served on these terms.
    pub(crate) fn set_terms(&self, terms: Terms) {
        self.upstreams.replace(&terms.settings.upstream);
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(terms);
        self.told().fallbacks.clear();
    }

    /// The numbers that this thread writes.
    pub(crate) fn tally(&self, thread: usize) -> &Tally {
        &self.tallies[thread]
    }

    /// All threads' numbers.
    pub(crate) fn counters(&self) -> ListenerCounters {
        let mut sum = ListenerCounters::empty(&self.name, self.mode);
        self.tallies.iter().for_each(|tally| sum.add(tally));
        sum.upstreams = self.upstreams.counts();
        sum
    }

    /// A limit refused a connection.
    pub(crate) fn refused(&self, refusal: Refusal, limit: usize, now: Instant) {
        let mut told = self.told();
        let throttle = match refusal {
            Refusal::Connections => &mut told.connections,
            Refusal::Handshakes => &mut told.handshakes,
            Refusal::Resources => &mut told.resources,
        };
        let Some(unsaid) = throttle.pass(now) else { return };
        drop(told);
        let name = refusal.name();
        let reason = format!(
            "{limit} are there, so a connection was closed at once ({unsaid} more since the last \
             word): raise {name} if they are wanted"
        );
        self.tell(EventKind::LimitReached, "", name, reason, "peer");
    }

    /// Connections cannot be taken: out of descriptors or memory.
    pub(crate) fn starved(&self, error: &io::Error) {
        let Some(unsaid) = self.told().resources.pass(Instant::now()) else { return };
        let reason = format!(
            "a connection could not be taken or made: {error} ({unsaid} more since the last word): \
             raise LimitNOFILE, two descriptors a connection, or lower max_connections"
        );
        self.tell(EventKind::LimitReached, "", Refusal::Resources.name(), reason, "kernel");
    }

    /// Records are in a lesser place than was asked for; told once for each reason.
    pub(crate) fn fell_back(&self, placed: &Placed) {
        let lesser = [&placed.inbound, &placed.outbound].into_iter().find(|one| one.fell_back());
        let Some(lesser) = lesser else { return };
        let reason = lesser.reason.clone().unwrap_or_default();
        let mut told = self.told();
        if told.fallbacks.len() >= MAX_REASONS || !told.fallbacks.insert(reason.clone()) {
            return;
        }
        drop(told);
        let (from, to) = (lesser.requested.name(), lesser.effective.name());
        self.tell(EventKind::PlacementFallback, from, to, reason, "kernel");
    }

    /// The kernel was required and did not take a connection's records.
    pub(crate) fn no_kernel(&self, error: &io::Error) {
        let Some(unsaid) = self.told().no_kernel.pass(Instant::now()) else { return };
        let reason = format!(
            "{error}, and `kernel = \"require\"` allows nothing else, so the connection was closed \
             ({unsaid} more since the last word): load the tls module, or set `kernel = \"auto\"`"
        );
        let (from, to) = (Placement::KernelSoftware.name(), "closed");
        self.tell(EventKind::PlacementFallback, from, to, reason, "kernel");
    }

    fn tell(&self, kind: EventKind, from: &str, to: &str, reason: String, owner: &'static str) {
        let object = format!("listener {}", self.name);
        let (from, to) = (from.to_owned(), to.to_owned());
        self.teller.tell(Notice { kind, object, from, to, reason, owner });
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listening socket that threads take connections from, until its [`Listening`] is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Accepting {
    pub(crate) socket: Arc<OwnedFd>,
    stop: watch::Receiver<()>,
}

/// A listening socket; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Where it really listens.
    pub(crate) address: SocketAddr,
    accepting: Accepting,
    _running: watch::Sender<()>,
}

impl Listening {
    /// Binds and listens.
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, Unbound> {
        let bind = || -> io::Result<(Socket, SocketAddr)> {
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            // Connections of an earlier process may linger on the port; a second listener is
            // refused all the same.
            socket.set_reuse_address(true)?;
            // Accepted sockets inherit these: no call for each connection.
            socket.set_tcp_nodelay(true)?;
            notice_the_gone(&socket)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let bound = socket.local_addr()?.as_socket().unwrap_or(address);
            Ok((socket, bound))
        };
        let (socket, address) = bind().map_err(|error| Unbound { address, error })?;
        let (running, stop) = watch::channel(());
        let accepting = Accepting { socket: Arc::new(OwnedFd::from(socket)), stop };
        Ok(Self { address, accepting, _running: running })
    }

    /// For a thread to take connections from.
    pub(crate) fn accepting(&self) -> Accepting {
        self.accepting.clone()
    }
}

impl Accepting {
    /// Done when the socket is to be given up.
    pub(crate) async fn stopped(&mut self) {
        while self.stop.changed().await.is_ok() {}
    }
}

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}: {}", self.remedy())]
pub(crate) struct Unbound {
    address: SocketAddr,
    error: io::Error,
}

impl Unbound {
    /// Somebody else listens there.
    pub(crate) fn is_taken(&self) -> bool {
        self.error.kind() == ErrorKind::AddrInUse
    }

    fn remedy(&self) -> String {
        let port = self.address.port();
        match self.error.kind() {
            ErrorKind::AddrInUse => format!(
                "choose another port, or stop whoever has it: `ss -ltnp 'sport = :{port}'` tells"
            ),
            ErrorKind::AddrNotAvailable => {
                "no interface has this address: `ip address` lists those there are".to_owned()
            }
            ErrorKind::PermissionDenied => {
                "ports below 1024 take CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start"
                    .to_owned()
            }
            _ => "see that the address is this machine's".to_owned(),
        }
    }
}

impl From<KernelUse> for kernel_tls::KernelUse {
    fn from(kernel: KernelUse) -> Self {
        match kernel {
            KernelUse::Auto => Self::Auto,
            KernelUse::Off => Self::Off,
            KernelUse::Require => Self::Require,
        }
    }
}

/// A burst of clients that reconnect at once; the system lowers it to net.core.somaxconn.
pub(crate) const BACKLOG: i32 = 4096;

/// More reasons than there are kinds of them; a kernel's text could vary.
const MAX_REASONS: usize = 32;
