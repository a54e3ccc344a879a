//! Connections: made when needed, at most so many, reused while young.
//!
//! A gateway ends every connection after 90 s, in the middle of whatever it is doing. So one that is
//! older than [`LONGEST_USE`] gets no new request: with the longest wait, 60 s, it is done in time.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;

use crate::error::ClientError;
use crate::identity::identity_of;
use crate::place::AdminUrl;

/// How one gets there.
pub(crate) enum Route {
    Unix(PathBuf),
    Tls(TlsRoute),
}

pub(crate) struct TlsRoute {
    pub(crate) url: AdminUrl,
    /// What its certificate must be good for.
    pub(crate) server_name: ServerName<'static>,
    /// And whom it must name first, as [`identity_of`]; `None`: anybody of that server name.
    pub(crate) identity: Option<String>,
    pub(crate) config: Arc<ClientConfig>,
}

/// The connections to one gateway.
pub(crate) struct Pool {
    route: Route,
    /// How errors name it.
    place: String,
    idle: Mutex<VecDeque<Connection>>,
    places: Arc<Semaphore>,
}

/// One, and since when.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    made: Instant,
}

/// A connection for one request, and its place among those allowed.
pub(crate) struct Lent {
    pub(crate) connection: Connection,
    pub(crate) origin: Origin,
    place: OwnedSemaphorePermit,
}

/// Whether a connection may have been closed behind our back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Fresh,
    Reused,
}

impl Pool {
    pub(crate) fn new(route: Route) -> Self {
        let place = match &route {
            Route::Unix(path) => path.display().to_string(),
            Route::Tls(tls) => tls.url.to_string(),
        };
        let places = Arc::new(Semaphore::new(PLACES));
        Self { route, place, idle: Mutex::default(), places }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// As the `Host` header has it.
    pub(crate) fn host(&self) -> String {
        match &self.route {
            Route::Unix(_) => "localhost".to_owned(),
            Route::Tls(tls) => tls.url.authority(),
        }
    }

    /// An idle connection or a new one, as soon as there is a place.
    pub(crate) async fn lend(&self) -> Result<Lent, ClientError> {
        let place = self.take_place().await?;
        let (connection, origin) = match self.take_idle() {
            Some(connection) => (connection, Origin::Reused),
            None => (self.connect().await?, Origin::Fresh),
        };
        Ok(Lent { connection, origin, place })
    }

    /// A new connection, where an idle one was just found dead.
    pub(crate) async fn lend_fresh(&self) -> Result<Lent, ClientError> {
        let place = self.take_place().await?;
        let connection = self.connect().await?;
        Ok(Lent { connection, origin: Origin::Fresh, place })
    }

    /// Kept for the next, if it is good for another.
    pub(crate) fn give_back(&self, lent: Lent) {
        if lent.connection.is_usable() {
            self.idle().push_back(lent.connection);
        }
        drop(lent.place);
    }

    async fn take_place(&self) -> Result<OwnedSemaphorePermit, ClientError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        // Never closed.
        place.map_err(|error| self.unreachable(io::Error::other(error)))
    }

    /// The one used last, so that those not needed grow old.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(Connection::is_usable);
        idle.pop_back()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let late = || self.unreachable(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
        tokio::time::timeout(CONNECT, self.dial()).await.unwrap_or_else(|_| Err(late()))
    }

    async fn dial(&self) -> Result<Connection, ClientError> {
        match &self.route {
            Route::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                self.speak(stream.map_err(|error| self.unreachable(error))?).await
            }
            Route::Tls(route) => {
                let stream = route.dial().await.map_err(|error| self.unreachable(error))?;
                route.check_identity(&stream)?;
                self.speak(stream).await
            }
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Connection, ClientError> {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            handshake.map_err(|error| self.unreachable(io::Error::other(error)))?;
        // Ends with its sender; what goes wrong is told to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Connection { sender, made: Instant::now() })
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Connect { place: self.place.clone(), source }
    }
}

impl TlsRoute {
    async fn dial(&self) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect((self.url.host(), self.url.port())).await?;
        // Requests are small and each waits for the one before.
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.server_name.clone(), stream).await
    }

    fn check_identity(
        &self,
        stream: &tokio_rustls::client::TlsStream<TcpStream>,
    ) -> Result<(), ClientError> {
        let Some(expected) = &self.identity else { return Ok(()) };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let found = certificates.first().and_then(identity_of);
        if found.as_ref() == Some(expected) {
            return Ok(());
        }
        let place = self.url.to_string();
        Err(ClientError::Stranger { place, found, expected: expected.clone() })
    }
}

impl Connection {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.made.elapsed() < LONGEST_USE
    }
}

/// Requests beyond wait for their turn; a gateway grants one client few more.
const PLACES: usize = 8;

const LONGEST_USE: Duration = Duration::from_secs(20);

/// TCP and TLS together; a lost SYN is repeated after 1 s and after 3 s.
const CONNECT: Duration = Duration::from_secs(5);
