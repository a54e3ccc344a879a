//! One connection's life, in its own task:
//!
//! 1. `terminate`: the client's handshake, then the upstream is connected: a scanner that does not
//!    get through the handshake never reaches the SBC. `originate`: the upstream is connected and
//!    its handshake made, address after address, before a byte of the client is read;
//! 2. the records get their place (the kernel, or here);
//! 3. the PROXY header, where it is wanted;
//! 4. data, both ways, until both have ended.
//!
//! Each step has its time limit, and every end is counted once, by its reason. What fails here is
//! a peer's doing: it is logged at `debug` and told in counters, never as an error of ours.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto_offload::{Direction, Effective, Placement};
use kernel_tls::{Handshake, Stream};

use crate::counters::{Ending, Tally};
use crate::handshake::{self, Failure, version_name};
use crate::identity;
use crate::limits::Permit;
use crate::listener::{Listener, Terms};
use crate::proxy_protocol::{self, Client, ClientCertificate};
use crate::pump::Pump;
use crate::registry::{Entered, Expired, Placed, Up};
use crate::settings::{Mode, ProxyProtocol};
use crate::socket::Socket;
use crate::thread::Local;
use crate::upstream::UpstreamFailure;

/// A connection that was taken from the listening socket, with its places.
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    pub(crate) entered: Entered,
    pub(crate) terms: Arc<Terms>,
    pub(crate) place: Permit,
    pub(crate) handshaking: Permit,
}

/// Serves it to its end.
pub(crate) async fn run(local: Rc<Local>, accepted: Accepted) {
    let Accepted { socket, entered, terms, place, handshaking } = accepted;
    // Boxed, so that a connection that is up does not keep the room that its beginning took.
    let begun = Box::pin(begin(&local, socket, &entered, &terms, handshaking)).await;
    drop(terms);
    let Some(mut begun) = begun else { return };
    // Data, until it ends; then each side learns how.
    begun.pump.begin(&entered);
    let ending = {
        let run = pin!(poll_fn(|cx| begun.pump.poll(cx, &entered, &local)));
        entered.in_time(run).await.unwrap_or(Ending::Idle)
    };
    begun.end(ending);
    tracing::debug!(connection = entered.id, ending = ending.name(), "TLS connection ended");
    drop(place);
}

/// A connection that is up.
struct Begun {
    pump: Pump,
    counted: Counted,
    _upstream: Open,
}

impl Begun {
    fn end(self, ending: Ending) {
        self.pump.end(ending);
        self.counted.end(ending);
    }
}

async fn begin(
    local: &Rc<Local>,
    socket: Socket,
    entered: &Entered,
    terms: &Arc<Terms>,
    handshaking: Permit,
) -> Option<Begun> {
    let tally = local.tally(&entered.listener);
    let under_way = UnderWay::count(&entered.listener, local.index);
    match terms.settings.mode {
        Mode::Terminate => {
            let limits = &terms.settings.limits;
            entered.allow(entered.accepted, Some(limits.handshake_timeout));
            let result = {
                let work = handshake::serve(&socket, local, terms.reading, &terms.identity);
                entered.in_time(pin!(work)).await
            };
            let handshake = shaken(tally, &socket, entered, result, entered.accepted).await?;
            drop((handshaking, under_way));
            terminate(local, socket, entered, terms, handshake).await
        }
        Mode::Originate => {
            let begun = originate(local, socket, entered, terms).await;
            drop((handshaking, under_way));
            begun
        }
    }
}

/// The upstream, the placement, the header.
async fn terminate(
    local: &Rc<Local>,
    tls: Socket,
    entered: &Entered,
    terms: &Terms,
    handshake: Handshake,
) -> Option<Begun> {
    let facts = Facts::of(&handshake);
    let certificate_name = common_name(&handshake);
    // First of all, while nothing beyond the handshake has been read.
    let mut stream = establish(local, &tls, entered, terms, handshake)?;
    let counted = Counted::new(local, entered, terms, &stream);
    let Some((plain, upstream)) = connect(entered, terms).await else {
        // The client's close is a proper one: nothing of it was lost, as nothing was read.
        let _gone = stream.close_write(&tls);
        counted.end(Ending::NoUpstream);
        return None;
    };
    if terms.settings.proxy_protocol == ProxyProtocol::V2 {
        let header = header(&tls, entered, &facts, certificate_name.as_deref());
        let written = entered.in_time(pin!(plain.write_all(&header))).await;
        if !matches!(written, Ok(Ok(()))) {
            counted.end(Ending::PlainReset);
            return None;
        }
    }
    counted.up(entered, facts, upstream.address);
    let pump = Pump::new(tls, plain, stream, terms.settings.limits.idle_timeout);
    Some(Begun { pump, counted, _upstream: upstream })
}

/// Upstream by upstream, until one takes the connection and its handshake is good.
async fn originate(
    local: &Rc<Local>,
    plain: Socket,
    entered: &Entered,
    terms: &Terms,
) -> Option<Begun> {
    let limits = &terms.settings.limits;
    let tally = local.tally(&entered.listener);
    let upstreams = &entered.listener.upstreams;
    for address in upstreams.candidates(Instant::now(), limits.upstream_retry) {
        let Some((tls, upstream)) = try_one(entered, terms, address).await else { continue };
        let begun = Instant::now();
        entered.allow(begun, Some(limits.handshake_timeout));
        let outward = terms.identity.client_config()?;
        let result = {
            let work = handshake::ask(&tls, local, terms.reading, outward);
            entered.in_time(pin!(work)).await
        };
        let reason = describe(&result);
        let Some(handshake) = shaken(tally, &tls, entered, result, begun).await else {
            drop(upstream);
            let failure = UpstreamFailure::Handshake(reason);
            upstreams.failed(address, &failure, Instant::now(), limits.upstream_retry);
            continue;
        };
        upstreams.serves(address);
        let facts = Facts::of(&handshake);
        let Some(stream) = establish(local, &tls, entered, terms, handshake) else {
            plain.reset_on_close();
            return None;
        };
        let counted = Counted::new(local, entered, terms, &stream);
        counted.up(entered, facts, address);
        let pump = Pump::new(tls, plain, stream, limits.idle_timeout);
        return Some(Begun { pump, counted, _upstream: upstream });
    }
    tally.ended(Ending::NoUpstream);
    plain.reset_on_close();
    None
}

/// The first address that takes the connection.
async fn connect(entered: &Entered, terms: &Terms) -> Option<(Socket, Open)> {
    let retry = terms.settings.limits.upstream_retry;
    for address in entered.listener.upstreams.candidates(Instant::now(), retry) {
        if let Some(connected) = try_one(entered, terms, address).await {
            entered.listener.upstreams.serves(address);
            return Some(connected);
        }
    }
    None
}

async fn try_one(entered: &Entered, terms: &Terms, address: SocketAddr) -> Option<(Socket, Open)> {
    let limits = &terms.settings.limits;
    let listener = &entered.listener;
    entered.allow(Instant::now(), Some(limits.connect_timeout));
    let failure = match entered.in_time(pin!(Socket::connect(address))).await {
        Ok(Ok(socket)) => {
            listener.upstreams.connected(address);
            return Some((socket, Open { listener: Arc::clone(listener), address }));
        }
        Ok(Err(error)) => UpstreamFailure::from(error),
        Err(Expired) => UpstreamFailure::Timeout(limits.connect_timeout),
    };
    if let UpstreamFailure::Local(error) = &failure {
        listener.starved(error);
    }
    listener.upstreams.failed(address, &failure, Instant::now(), limits.upstream_retry);
    None
}

/// Counts a handshake's end; after a bad one the peer hears why.
async fn shaken(
    tally: &Tally,
    socket: &Socket,
    entered: &Entered,
    result: Result<Result<Handshake, Failure>, Expired>,
    begun: Instant,
) -> Option<Handshake> {
    match result {
        Ok(Ok(handshake)) => {
            let version = version_name(handshake.version());
            tally.handshake_done(version, handshake.is_resumed(), begun.elapsed());
            Some(handshake)
        }
        Ok(Err(failure)) => {
            tally.handshake_failed(failure.label(), failure.version());
            let connection = entered.id;
            tracing::debug!(connection, peer = %entered.peer, ?failure, "TLS handshake failed");
            if let Failure::Tls(error, _) = failure {
                say_why(tally, socket, entered, &error).await;
            }
            None
        }
        Err(Expired) => {
            tally.handshake_failed(TIMEOUT, version_name(None));
            None
        }
    }
}

/// Sends the alert, and waits a moment for the peer to go: closing with unread bytes would send a
/// reset, which takes the alert from the peer's queue before it is read.
async fn say_why(
    tally: &Tally,
    socket: &Socket,
    entered: &Entered,
    error: &kernel_tls::HandshakeError,
) {
    if let Some(alert) = error.peer_alert() {
        tally.alert(Direction::Inbound, alert.into());
    }
    if error.alert_bytes().is_empty() {
        return;
    }
    if let Some(alert) = error.alert() {
        tally.alert(Direction::Outbound, alert.into());
    }
    entered.allow(Instant::now(), Some(LINGER));
    let farewell = pin!(async {
        if socket.write_all(error.alert_bytes()).await.is_err() || socket.end().is_err() {
            return;
        }
        let mut ignored = [0; 512];
        for _ in 0..FAREWELL_READS {
            if !socket.read(&mut ignored).await.is_ok_and(|count| count > 0) {
                break;
            }
        }
    });
    let _too_long = entered.in_time(farewell).await;
}

fn describe(result: &Result<Result<Handshake, Failure>, Expired>) -> String {
    match result {
        Ok(Ok(_)) => String::new(),
        Ok(Err(Failure::Tls(error, _))) => error.to_string(),
        Ok(Err(Failure::Silent | Failure::Gone)) => "it closed the connection".to_owned(),
        Err(Expired) => "it was not done in time".to_owned(),
    }
}

fn establish(
    local: &Rc<Local>,
    tls: &Socket,
    entered: &Entered,
    terms: &Terms,
    handshake: Handshake,
) -> Option<Stream> {
    match Stream::establish(handshake, tls, &local.common.support, &terms.policy) {
        Ok(stream) => Some(stream),
        Err(error) => {
            let tally = local.tally(&entered.listener);
            if error.kind() == std::io::ErrorKind::Unsupported {
                tally.ended(Ending::NoKernel);
                entered.listener.no_kernel(&error);
            } else {
                tally.ended(Ending::TlsReset);
            }
            tls.reset_on_close();
            None
        }
    }
}

fn header(tls: &Socket, entered: &Entered, facts: &Facts, common_name: Option<&str>) -> Vec<u8> {
    let certificate = match (facts.client_certificate, facts.resumed) {
        (false, _) => ClientCertificate::None,
        (true, false) => ClientCertificate::Shown(common_name),
        (true, true) => ClientCertificate::Earlier(common_name),
    };
    proxy_protocol::header(&Client {
        source: entered.peer,
        destination: tls.local_address().unwrap_or(entered.peer),
        server_name: facts.server_name.as_deref(),
        alpn: facts.alpn.as_deref(),
        version: if facts.version == "1.3" { "TLSv1.3" } else { "TLSv1.2" },
        cipher: proxy_protocol::cipher_name(facts.suite),
        certificate,
    })
}

fn common_name(handshake: &Handshake) -> Option<String> {
    identity::common_name(handshake.peer_certificates()?.first()?)
}

/// What a handshake came to, beside its keys.
struct Facts {
    version: &'static str,
    suite: &'static str,
    server_name: Option<Box<str>>,
    alpn: Option<Box<[u8]>>,
    resumed: bool,
    client_certificate: bool,
}

impl Facts {
    fn of(handshake: &Handshake) -> Self {
        let suite = handshake.suite().and_then(|suite| suite.suite().as_str());
        Self {
            version: version_name(handshake.version()),
            suite: suite.unwrap_or_default(),
            server_name: handshake.server_name().map(Into::into),
            alpn: handshake.alpn().map(Into::into),
            resumed: handshake.is_resumed(),
            client_certificate: handshake.peer_certificates().is_some(),
        }
    }
}

/// A handshake that is under way, in the counters.
struct UnderWay<'a>(&'a Tally);

impl<'a> UnderWay<'a> {
    fn count(listener: &'a Listener, thread: usize) -> Self {
        let tally = listener.tally(thread);
        tally.handshaking.add(1);
        Self(tally)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.handshaking.less();
    }
}

/// A connection that the upstream has taken.
struct Open {
    listener: Arc<Listener>,
    address: SocketAddr,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.listener.upstreams.closed(self.address);
    }
}

/// A connection whose records have their place, in the counters.
struct Counted {
    listener: Arc<Listener>,
    thread: usize,
    placed: Rc<Placed>,
}

impl Counted {
    fn new(local: &Local, entered: &Entered, terms: &Terms, stream: &Stream) -> Self {
        let placed = local.share(placed(terms, stream));
        let listener = Arc::clone(&entered.listener);
        let tally = local.tally(&listener);
        tally.open.add(1);
        tally.placed(Direction::Inbound, &placed.inbound);
        tally.placed(Direction::Outbound, &placed.outbound);
        if placed.inbound.fell_back() || placed.outbound.fell_back() {
            listener.fell_back(&placed);
        }
        Self { listener, thread: local.index, placed }
    }

    fn up(&self, entered: &Entered, facts: Facts, upstream: SocketAddr) {
        let placed = Rc::clone(&self.placed);
        let Facts { version, suite, server_name, alpn, resumed, .. } = facts;
        let up = Up { upstream, version, suite, server_name, alpn, resumed, placed };
        let _first = entered.up.set(Box::new(up));
    }

    fn end(self, ending: Ending) {
        self.listener.tally(self.thread).ended(ending);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let tally = self.listener.tally(self.thread);
        tally.open.less();
        tally.gone(Direction::Inbound, &self.placed.inbound);
        tally.gone(Direction::Outbound, &self.placed.outbound);
    }
}

fn placed(terms: &Terms, stream: &Stream) -> Placed {
    let paths = stream.paths();
    let effective = |effective: Placement| Effective {
        requested: terms.requested(),
        effective,
        reason: (effective == Placement::UserSpace).then(|| paths.reason.clone()).flatten(),
    };
    Placed { inbound: effective(paths.rx.into()), outbound: effective(paths.tx.into()) }
}

/// The result of a handshake that took too long.
const TIMEOUT: &str = "timeout";

/// What a peer may have sent meanwhile, 64 KiB. One that goes on sending is not listening, and as
/// long as there is something to read nobody else would have a turn.
const FAREWELL_READS: usize = 128;

/// For a peer to read why its handshake failed.
const LINGER: Duration = Duration::from_secs(1);
