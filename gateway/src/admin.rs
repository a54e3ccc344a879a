//! The admin API: HTTP and JSON over a Unix socket that only our user may open, and over mutual TLS
//! for those that `access` knows (`remote`).
//!
//! Calls are only read; SAs ([`crate::ipsec`]) and TLS listeners ([`crate::tls`]) are changed too.
//! Every response carries the API's version, and a request that
//! names another one is refused before it is looked at.

pub(crate) mod access;
pub(crate) mod body;
pub(crate) mod idempotency;
pub(crate) mod refusal;
pub(crate) mod remote;
mod srtp;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path as Segment, Query, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use bytes::Bytes;
use gateway_control::{API_VERSION, ApiError, ErrorCode, EventList, VERSION_HEADER, path};
use serde::Deserialize;
use tokio::net::UnixListener;

use crate::bounded::Bounded;
use crate::config::AdminListen;
use crate::ipsec::routes;
use crate::observer::{Observer, Unavailable};
use crate::tls;
use access::Caller;
use idempotency::Answers;
use remote::Remote;

/// A bound socket, removed again when we leave.
pub(crate) struct AdminSocket {
    listener: UnixListener,
    pub(crate) path: SocketPath,
}

/// Where the socket is; dropping it removes the socket.
pub(crate) struct SocketPath(pub(crate) PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error(
        "admin.listen (--admin) {}: another gateway answers there; stop it or give another path",
        .0.display()
    )]
    Taken(PathBuf),
    #[error("admin.listen (--admin) {}: {source}{}", path.display(), hint(source))]
    Bind { path: PathBuf, source: io::Error },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; make its directory first, or give another path",
        io::ErrorKind::PermissionDenied => "; give a path in a directory that is ours",
        io::ErrorKind::AddrInUse => "; a file is in the way, remove it or give another path",
        io::ErrorKind::InvalidInput => "; a socket's path has 107 bytes at most",
        _ => "",
    }
}

/// Binds where the configuration says; `None` if it says nowhere or there is nowhere.
pub(crate) fn bind(listen: &AdminListen) -> Result<Option<AdminSocket>, AdminError> {
    match listen {
        AdminListen::Off => Ok(None),
        AdminListen::Path(path) => bind_at(path).map(Some),
        AdminListen::Auto => Ok(bind_somewhere()),
    }
}

/// The first runtime directory that lets us. A second gateway beside a first takes a name of its
/// own; without any directory the API is off, which is no reason not to relay.
fn bind_somewhere() -> Option<AdminSocket> {
    let own = format!("gateway-{}.sock", std::process::id());
    for directory in runtime_directories() {
        for name in ["gateway.sock", &own] {
            match bind_at(&directory.join(name)) {
                Ok(socket) => return Some(socket),
                Err(AdminError::Taken(path)) => {
                    tracing::info!(path = %path.display(), "another gateway has this admin socket");
                }
                Err(AdminError::Bind { path, source }) => {
                    tracing::debug!(path = %path.display(), error = %source, "no admin socket here");
                    break;
                }
            }
        }
    }
    tracing::warn!("no admin API: no runtime directory is ours; name a path with --admin");
    None
}

fn runtime_directories() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    // systemd lists several separated by colons; the first is ours.
    if let Ok(listed) = std::env::var("RUNTIME_DIRECTORY") {
        directories.extend(listed.split(':').next().map(PathBuf::from));
    }
    let shared = PathBuf::from("/run/postern");
    // Fails for everyone but root, for whom it makes `gateway run` work without preparation.
    let _ = std::fs::create_dir(&shared);
    directories.push(shared);
    if let Some(user) = std::env::var_os("XDG_RUNTIME_DIR") {
        directories.push(PathBuf::from(user));
    }
    directories
}

/// The process's umask makes the socket ours alone.
fn bind_at(path: &Path) -> Result<AdminSocket, AdminError> {
    let failed = |source| AdminError::Bind { path: path.to_owned(), source };
    match UnixStream::connect(path) {
        Ok(_) => return Err(AdminError::Taken(path.to_owned())),
        // A socket file that nobody answers is left from a gateway that was killed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    Ok(AdminSocket { listener, path: SocketPath(path.to_owned()) })
}

/// Answers until the process ends.
pub(crate) async fn serve(listener: UnixListener, observer: Observer) -> io::Result<()> {
    let router = router(observer).layer(middleware::from_fn(check_version));
    axum::serve(Bounded::new(listener), router).await
}

/// The same from afar, for those who may.
pub(crate) async fn serve_remote(remote: Remote, observer: Observer) -> io::Result<()> {
    let (listener, gate) = remote.open(&observer.events);
    // The version goes outermost: whoever is refused still learns it.
    let router = router(observer)
        .layer(middleware::from_fn_with_state(gate, access::admit))
        .layer(middleware::from_fn(check_version));
    axum::serve(listener, router.into_make_service_with_connect_info::<Caller>()).await
}

impl AdminSocket {
    /// The listener, and the path that must live as long.
    pub(crate) fn into_parts(self) -> (UnixListener, SocketPath) {
        (self.listener, self.path)
    }
}

fn router(observer: Observer) -> Router {
    let answers = Answers::default();
    let sas = routes::router(observer.ipsec.clone(), answers.clone());
    let tls = tls::routes::router(observer.tls.clone(), answers.clone());
    let srtp = srtp::router(observer.clone(), answers);
    Router::new()
        .route(path::STATUS, get(status))
        .route(path::CALLS, get(calls))
        .route(path::CALL, get(call))
        .route(path::EVENTS, get(events))
        .with_state(observer)
        .merge(sas)
        .merge(tls)
        .merge(srtp)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

async fn check_version(request: Request, next: Next) -> Response {
    let asked = request.headers().get(VERSION_HEADER).cloned();
    let ours = HeaderValue::from(API_VERSION);
    let mut response = match asked {
        Some(asked) if asked != ours => refuse(ApiError {
            code: ErrorCode::VersionMismatch,
            message: format!("this gateway speaks version {API_VERSION} of the admin API"),
            place: format!("header {VERSION_HEADER}"),
            hint: "use the keymgr or loadgen of the gateway's release".to_owned(),
        }),
        _ => next.run(request).await,
    };
    response.headers_mut().insert(VERSION_HEADER, ours);
    response
}

async fn status(State(observer): State<Observer>) -> Response {
    match observer.status().await {
        Ok(status) => Json(status).into_response(),
        Err(unavailable) => unavailable.into_response(),
    }
}

#[derive(Deserialize)]
struct CallsQuery {
    limit: Option<usize>,
}

async fn calls(
    State(observer): State<Observer>,
    query: Result<Query<CallsQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let limit = match query {
        Ok(Query(query)) => query.limit.unwrap_or(DEFAULT_LIMIT),
        Err(rejection) => return bad_query(path::CALLS, &rejection.body_text(), "limit=100"),
    };
    match observer.calls(limit).await {
        Ok(calls) => Json(calls).into_response(),
        Err(unavailable) => unavailable.into_response(),
    }
}

async fn call(State(observer): State<Observer>, Segment(id): Segment<String>) -> Response {
    match observer.call(Bytes::from(id.clone())).await {
        Ok(Some(call)) => Json(call).into_response(),
        Ok(None) => refuse(ApiError {
            code: ErrorCode::UnknownCall,
            message: "no call of this call-id is up".to_owned(),
            place: id,
            hint: format!("{} lists the calls that are", path::CALLS),
        }),
        Err(unavailable) => unavailable.into_response(),
    }
}

#[derive(Deserialize)]
struct EventsQuery {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait: u64,
}

/// What is known beyond `after`; where that is nothing, what comes within `wait` seconds.
async fn events(
    State(observer): State<Observer>,
    query: Result<Query<EventsQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let EventsQuery { after, wait } = match query {
        Ok(Query(query)) => query,
        Err(rejection) => {
            return bad_query(path::EVENTS, &rejection.body_text(), "after=17&wait=30");
        }
    };
    // Followed before looking: nothing falls between the two.
    let mut follower = observer.events.follow();
    let mut events = observer.events.after(after);
    if events.is_empty() && wait > 0 {
        let patience = Duration::from_secs(wait.min(LONGEST_WAIT));
        let _ = tokio::time::timeout(patience, follower.recv()).await;
        events = observer.events.after(after);
    }
    Json(EventList { events }).into_response()
}

async fn no_such_path(request: Request) -> Response {
    refuse(ApiError {
        code: ErrorCode::NotFound,
        message: "no such path".to_owned(),
        place: request.uri().path().to_owned(),
        hint: [
            path::STATUS,
            path::CALLS,
            path::CALL,
            path::EVENTS,
            path::SAS,
            path::SA,
            path::FOREIGN_SAS,
            path::CAPABILITIES,
            path::PLAN,
            path::ROTATIONS,
            path::OPERATION,
            path::EXCHANGE,
            path::TLS,
            path::TLS_RELOAD,
            path::TLS_TICKETS,
            path::TLS_KEYUPDATE,
            path::SRTP,
            path::SRTP_REKEY,
        ]
        .join(", "),
    })
}

async fn no_such_method(request: Request) -> Response {
    refuse(ApiError {
        code: ErrorCode::MethodNotAllowed,
        message: format!("{} is not allowed here", request.method()),
        place: request.uri().path().to_owned(),
        hint:
            "most paths are read with GET; SAs are added and rotated with POST, and removed with \
             DELETE; what is under /v1/tls/ and /v1/srtp/ is done with POST"
                .to_owned(),
    })
}

fn bad_query(place: &str, message: &str, example: &str) -> Response {
    refuse(ApiError {
        code: ErrorCode::BadParameter,
        message: message.to_owned(),
        place: place.to_owned(),
        hint: format!("as in {place}?{example}"),
    })
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        refuse(ApiError {
            code: ErrorCode::Unavailable,
            message: self.to_string(),
            place: "control".to_owned(),
            hint: "ask again; see /healthz if it stays so".to_owned(),
        })
    }
}

/// An answer that is not a success.
pub(crate) fn refuse(error: ApiError) -> Response {
    let status = match error.code {
        ErrorCode::NotFound
        | ErrorCode::UnknownCall
        | ErrorCode::UnknownPair
        | ErrorCode::UnknownEpoch
        | ErrorCode::UnknownOperation
        | ErrorCode::UnknownListener
        | ErrorCode::UnknownConnection => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::VersionMismatch | ErrorCode::BadParameter => StatusCode::BAD_REQUEST,
        ErrorCode::Invalid | ErrorCode::WrongFile | ErrorCode::Engine => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::Conflict | ErrorCode::TermsDiffer => StatusCode::CONFLICT,
        ErrorCode::Unavailable | ErrorCode::AgentAbsent => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(error)).into_response()
}

/// Bytes; an exchange file of a thousand pairs is smaller.
const LARGEST_BODY: usize = 1 << 20;

/// As many calls as a person reads.
const DEFAULT_LIMIT: usize = 1000;

/// Seconds; a client asks again.
const LONGEST_WAIT: u64 = 60;
