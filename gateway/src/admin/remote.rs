//! The admin API's TCP listener: TLS 1.3, a certificate on both sides, nothing in clear.
//!
//! Handshakes happen here, on the control runtime, before a connection counts among those that
//! are served: so many at a time, fewer from one address, each within a time. So strangers, who
//! never finish one, cost no more than that. A reload changes certificates and who is known for
//! connections to come; those that are up end within [`bounded`](crate::bounded)'s lifetime.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use admin_client::{FileError, TlsMaterial, identity_of, provider};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::access::{Access, Caller, Gate, Refusals};
use crate::bounded::Bounded;
use crate::config::Config;
use crate::config::remote::AdminTls;
use crate::events::Events;

/// Why there is no such listener.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("admin.tls: {0}")]
    Files(#[from] FileError),
    #[error("admin.tls.listen {address}: {source}")]
    Bind { address: SocketAddr, source: io::Error },
}

/// A bound listener, and what it goes by.
pub(crate) struct Remote {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    tls: watch::Receiver<Arc<ServerConfig>>,
    access: watch::Receiver<Arc<Access>>,
}

/// Changes what a listener goes by.
pub(crate) struct Renewal {
    tls: watch::Sender<Arc<ServerConfig>>,
    access: watch::Sender<Arc<Access>>,
}

/// Reads the files and binds; `None` where the configuration has no `[admin.tls]`.
pub(crate) async fn bind(config: &Config) -> Result<Option<(Remote, Renewal)>, RemoteError> {
    let Some(settings) = &config.admin.tls else { return Ok(None) };
    let (tls_sender, tls) = watch::channel(server(settings)?);
    let (access_sender, access) = watch::channel(Arc::new(Access::of(config)));
    let failed = |source| RemoteError::Bind { address: settings.listen, source };
    let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let renewal = Renewal { tls: tls_sender, access: access_sender };
    Ok(Some((Remote { listener, address, tls, access }, renewal)))
}

impl Renewal {
    /// Goes by `config` from now on. Where its files are of no use the old certificate stays in
    /// force; who is known changes all the same, since somebody may have been struck off.
    pub(crate) fn renew(&self, config: &Config) -> Result<(), RemoteError> {
        self.access.send_replace(Arc::new(Access::of(config)));
        if let Some(settings) = &config.admin.tls {
            self.tls.send_replace(server(settings)?);
        }
        Ok(())
    }
}

/// What TLS goes by. Nothing is resumed: each connection shows its certificate anew, so that one
/// that has expired or whose authority is gone does not live on in a ticket.
pub(crate) fn server(settings: &AdminTls) -> Result<Arc<ServerConfig>, FileError> {
    let files = settings.files();
    let TlsMaterial { chain, key, roots } = files.load()?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| FileError::Content {
            path: settings.client_ca.clone(),
            expected: "certificate of an authority",
            reason: error.to_string(),
        })?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| files.pair_error(source))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|source| files.pair_error(source))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

impl Remote {
    /// Starts to accept: what comes out is verified, and a gate for its requests.
    pub(crate) fn open(self, events: &Events) -> (Bounded<Verified>, Gate) {
        let (door, streams) = mpsc::channel(1);
        let (address, access) = (self.address, self.access);
        let porch = Porch {
            tls: self.tls,
            seats: Arc::new(Semaphore::new(SEATS)),
            addresses: Arc::default(),
            refusals: Refusals::new(events.clone()),
            door,
        };
        tokio::spawn(porch.receive(self.listener));
        let gate = Gate { access, refusals: Refusals::new(events.clone()) };
        (Bounded::new(Verified { streams, address }), gate)
    }
}

/// Where handshakes are made.
struct Porch {
    tls: watch::Receiver<Arc<ServerConfig>>,
    seats: Arc<Semaphore>,
    addresses: Addresses,
    refusals: Refusals,
    door: mpsc::Sender<(TlsStream<TcpStream>, Caller)>,
}

impl Porch {
    async fn receive(self, listener: TcpListener) {
        loop {
            // Before accepting: those who wait, wait in the kernel's queue. Never closed.
            let Ok(seat) = Arc::clone(&self.seats).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, address)) => self.seat(stream, address, seat),
                Err(error) => {
                    // Out of descriptors, mostly: accepting again at once would spin.
                    tracing::warn!(%error, "cannot accept admin connections");
                    tokio::time::sleep(RECOVERY).await;
                }
            }
        }
    }

    fn seat(&self, stream: TcpStream, address: SocketAddr, seat: OwnedSemaphorePermit) {
        let Some(turn) = Turn::take(&self.addresses, address.ip()) else {
            self.refusals.tell(&address.to_string(), "too many handshakes from this address");
            return;
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls.borrow()));
        let (refusals, door) = (self.refusals.clone(), self.door.clone());
        tokio::spawn(async move {
            let _held = (seat, turn);
            match shake_hands(acceptor, stream).await {
                Ok(stream) => {
                    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let identity = certificates.first().and_then(identity_of);
                    // Gone only when the process ends.
                    let _ = door.send((stream, Caller { address, identity })).await;
                }
                Err(error) => refusals.tell(&address.to_string(), &format!("handshake: {error}")),
            }
        });
    }
}

async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    // Answers are small and each is waited for.
    stream.set_nodelay(true)?;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "not finished in time");
    tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await.map_err(late)?
}

/// How many handshakes each address has under way.
type Addresses = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One of them.
struct Turn {
    addresses: Addresses,
    address: IpAddr,
}

impl Turn {
    fn take(addresses: &Addresses, address: IpAddr) -> Option<Self> {
        let address = network(address);
        let mut counts = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count == SEATS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Self { addresses: Arc::clone(addresses), address })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// An IPv6 host has 2^64 addresses, so its /64 counts as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// Connections whose other end is known.
pub(crate) struct Verified {
    streams: mpsc::Receiver<(TlsStream<TcpStream>, Caller)>,
    address: SocketAddr,
}

impl Listener for Verified {
    type Io = TlsStream<TcpStream>;
    type Addr = Caller;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.streams.recv().await {
            Some(verified) => verified,
            // Nobody accepts any more: the process is ending.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Caller { address: self.address, identity: None })
    }
}

impl Connected<IncomingStream<'_, Bounded<Verified>>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Bounded<Verified>>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Handshakes at a time: 1 ms of work each.
const SEATS: usize = 64;

/// Twice what our own client opens; somebody who stalls needs four addresses to stop others.
const SEATS_OF_ONE: usize = 16;

/// Three round trips around the world, with a packet lost.
const HANDSHAKE: Duration = Duration::from_secs(5);

const RECOVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
pub(crate) mod tests;
