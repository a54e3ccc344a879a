//! The client: one request, one typed answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_control::{API_VERSION, ApiError, EventList, Operation, VERSION_HEADER, path};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, StatusCode};
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ClientError;
use crate::location::location;
use crate::place::{AdminUrl, Place};
use crate::pool::{Lent, Origin, Pool, Route, TlsRoute};
use crate::tls::TlsFiles;

/// Asks one gateway. Clones share connections; a runtime with I/O and time must be there when it is
/// used.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool>,
    patience: Duration,
}

/// What is asked, kept so that it can be asked again.
struct Question {
    method: Method,
    path: String,
    body: Option<Bytes>,
    key: Option<String>,
    patience: Duration,
}

impl Client {
    /// The gateway of this host, over its socket. Connects when first asked.
    pub fn unix(socket: impl Into<std::path::PathBuf>) -> Self {
        Self::over(Route::Unix(socket.into()))
    }

    /// A gateway elsewhere, whose certificate must be for the URL's host.
    ///
    /// # Errors
    /// A file that is of no use.
    pub fn mtls(url: &AdminUrl, files: &TlsFiles) -> Result<Self, ClientError> {
        Self::tls(url, url.host(), None, files)
    }

    /// A peer gateway, whose certificate must name `identity` as [`identity_of`] reads it, whatever
    /// the URL's host is. Where the identity is a URI, it must be for that host too.
    ///
    /// [`identity_of`]: crate::identity_of
    ///
    /// # Errors
    /// A file that is of no use.
    pub fn peer(url: &AdminUrl, identity: &str, files: &TlsFiles) -> Result<Self, ClientError> {
        let is_uri = identity.contains(':');
        let (server_name, identity) = match is_uri {
            true => (url.host(), identity.to_owned()),
            false => (identity, identity.to_ascii_lowercase()),
        };
        Self::tls(url, server_name, Some(identity), files)
    }

    /// Whichever `place` is; only TLS needs `files`.
    ///
    /// # Errors
    /// A file that is of no use, or none where they are needed.
    pub fn at(place: &Place, files: Option<&TlsFiles>) -> Result<Self, ClientError> {
        match (place, files) {
            (Place::Unix(socket), _) => Ok(Self::unix(socket)),
            (Place::Tls(url), Some(files)) => Self::mtls(url, files),
            (Place::Tls(url), None) => {
                let reason = "https needs a certificate, its key and the authority's (--certificate, --key, --ca)";
                let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, reason);
                Err(ClientError::Connect { place: url.to_string(), source })
            }
        }
    }

    fn tls(
        url: &AdminUrl,
        server_name: &str,
        identity: Option<String>,
        files: &TlsFiles,
    ) -> Result<Self, ClientError> {
        let place = || url.to_string();
        let server_name = ServerName::try_from(server_name.to_owned()).map_err(|error| {
            ClientError::Connect { place: place(), source: std::io::Error::other(error) }
        })?;
        let config = Arc::new(files.client()?);
        Ok(Self::over(Route::Tls(TlsRoute { url: url.clone(), server_name, identity, config })))
    }

    fn over(route: Route) -> Self {
        Self { pool: Arc::new(Pool::new(route)), patience: PATIENCE }
    }

    /// Waits so long for an answer, instead of 10 s.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Where it asks, as errors name it.
    pub fn place(&self) -> &str {
        self.pool.place()
    }

    /// GET; `path` with its query, as [`location`] fills it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, ClientError> {
        self.ask(self.question(Method::GET, path)).await
    }

    /// POST. Asked once: after an error it may have been done.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<T, R>(&self, path: &str, body: &T) -> Result<R, ClientError>
    where
        T: Serialize + Sync + ?Sized,
        R: DeserializeOwned,
    {
        let body = Some(self.encoded(path, body)?);
        self.ask(Question { body, ..self.question(Method::POST, path) }).await
    }

    /// POST with an `Idempotency-Key`: asked again where a connection broke, done once.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post_once<T, R>(&self, path: &str, body: &T, key: &str) -> Result<R, ClientError>
    where
        T: Serialize + Sync + ?Sized,
        R: DeserializeOwned,
    {
        let (body, key) = (Some(self.encoded(path, body)?), Some(key.to_owned()));
        self.ask(Question { body, key, ..self.question(Method::POST, path) }).await
    }

    /// DELETE; `R` is `()` where nothing is answered.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete<R: DeserializeOwned>(&self, path: &str) -> Result<R, ClientError> {
        self.ask(self.question(Method::DELETE, path)).await
    }

    /// What happened after the event numbered `after`; where nothing did, waits up to `wait`, 60 s
    /// at most, for something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self, after: u64, wait: Duration) -> Result<EventList, ClientError> {
        self.poll(path::EVENTS, after, wait).await
    }

    /// An operation once its revision is beyond `after`, or as it is after `wait`, 60 s at most.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn operation(
        &self,
        id: &str,
        after: u64,
        wait: Duration,
    ) -> Result<Operation, ClientError> {
        self.poll(&location(path::OPERATION, &[id]), after, wait).await
    }

    async fn poll<R: DeserializeOwned>(
        &self,
        path: &str,
        after: u64,
        wait: Duration,
    ) -> Result<R, ClientError> {
        let wait = wait.min(LONGEST_WAIT);
        let path = format!("{path}?after={after}&wait={}", wait.as_secs());
        let question = self.question(Method::GET, &path);
        self.ask(Question { patience: self.patience + wait, ..question }).await
    }

    fn question(&self, method: Method, path: &str) -> Question {
        let (path, patience) = (path.to_owned(), self.patience);
        Question { method, path, body: None, key: None, patience }
    }

    async fn ask<R: DeserializeOwned>(&self, question: Question) -> Result<R, ClientError> {
        let answer = tokio::time::timeout(question.patience, self.exchange(&question)).await;
        let (status, headers, body) = answer.unwrap_or_else(|_| {
            Err(ClientError::Timeout { place: self.place().to_owned(), after: question.patience })
        })?;
        self.check_version(&headers)?;
        match status.is_success() {
            // An answer without a body is `()`.
            true if body.is_empty() => self.decoded(&question.path, b"null"),
            true => self.decoded(&question.path, &body),
            false => Err(ClientError::Refused(self.decoded::<ApiError>(&question.path, &body)?)),
        }
    }

    /// Asks on a connection that may have died idle; then, if it is safe, on a new one.
    async fn exchange(&self, question: &Question) -> Result<Answer, ClientError> {
        let lent = self.pool.lend().await?;
        let origin = lent.origin;
        match self.exchange_on(lent, question).await {
            Err(failure) if origin == Origin::Reused && failure.allows_repeating(question) => {
                let fresh = self.pool.lend_fresh().await?;
                self.exchange_on(fresh, question).await.map_err(|failure| failure.error)
            }
            other => other.map_err(|failure| failure.error),
        }
    }

    async fn exchange_on(&self, mut lent: Lent, question: &Question) -> Result<Answer, Failure> {
        let request = self.request(question).map_err(|error| Failure { error, sent: Sent::No })?;
        let sender = &mut lent.connection.sender;
        let answer = match sender.ready().await {
            Ok(()) => sender.send_request(request).await,
            Err(error) => return Err(Failure { error: self.broken(error), sent: Sent::No }),
        };
        let response = answer.map_err(|error| {
            let sent = if error.is_canceled() { Sent::No } else { Sent::Perhaps };
            Failure { error: self.broken(error), sent }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await;
        let body = body
            .map_err(|error| Failure { error: self.broken(error), sent: Sent::Perhaps })?
            .to_bytes();
        self.pool.give_back(lent);
        Ok((head.status, head.headers, body))
    }

    fn request(&self, question: &Question) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(&question.path)
            .header(HOST, self.pool.host())
            .header(VERSION_HEADER, API_VERSION);
        if let Some(key) = &question.key {
            request = request.header("idempotency-key", key);
        }
        if question.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(question.body.clone().unwrap_or_default());
        request.body(body).map_err(|error| self.unreadable(&question.path, error.to_string()))
    }

    fn check_version(&self, headers: &HeaderMap) -> Result<(), ClientError> {
        let theirs = headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok());
        if theirs.is_some_and(|theirs| theirs.parse() == Ok(API_VERSION)) {
            return Ok(());
        }
        let (place, theirs) = (self.place().to_owned(), theirs.map(ToOwned::to_owned));
        Err(ClientError::Version { place, theirs })
    }

    fn encoded<T: Serialize + ?Sized>(&self, path: &str, body: &T) -> Result<Bytes, ClientError> {
        let body = serde_json::to_vec(body);
        body.map(Bytes::from).map_err(|error| self.unreadable(path, error.to_string()))
    }

    fn decoded<R: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<R, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.unreadable(path, error.to_string()))
    }

    fn unreadable(&self, path: &str, reason: String) -> ClientError {
        ClientError::Unreadable { place: self.place().to_owned(), path: path.to_owned(), reason }
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken { place: self.place().to_owned(), source: source.into() }
    }
}

type Answer = (StatusCode, HeaderMap, Bytes);

/// No answer, and whether the gateway may have got the question.
struct Failure {
    error: ClientError,
    sent: Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    No,
    Perhaps,
}

impl Failure {
    fn allows_repeating(&self, question: &Question) -> bool {
        self.sent == Sent::No || question.method == Method::GET || question.key.is_some()
    }
}

/// Longer than a gateway waits for its own workers and its agent.
const PATIENCE: Duration = Duration::from_secs(10);

/// The API's own limit.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A list of 10,000 SAs is about 10 MiB.
const LARGEST_ANSWER: usize = 64 << 20;
