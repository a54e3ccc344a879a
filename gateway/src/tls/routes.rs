//! The admin API's paths about TLS listeners: reads what is given, asks the relay, and puts what it
//! says into JSON. Nothing is decided here.

use axum::Router;
use axum::extract::State;
use axum::middleware;
use axum::response::Json;
use axum::routing::{get, post};
use gateway_control::{
    ErrorCode, TlsKeyUpdateReport, TlsKeyUpdateRequest, TlsReloadReport, TlsReloadRequest,
    TlsStatus, TlsTicketsReport, TlsTicketsRequest, path,
};
use serde::Deserialize;
use tls_relay::UnknownListener;

use super::{Silent, Tls};
use crate::admin::body::{Asked, Optional};
use crate::admin::idempotency::{self, Answers};
use crate::admin::refusal::Refusal;

/// Every path about TLS.
pub(crate) fn router(tls: Tls, answers: Answers) -> Router {
    Router::new()
        .route(path::TLS, get(status))
        .route(path::TLS_RELOAD, post(reload))
        .route(path::TLS_TICKETS, post(rotate_tickets))
        .route(path::TLS_KEYUPDATE, post(update_keys))
        .layer(middleware::from_fn_with_state(answers, idempotency::remember))
        .with_state(tls)
}

type Answer<T> = Result<Json<T>, Refusal>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    connections: bool,
    listener: Option<String>,
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

async fn status(State(tls): State<Tls>, Asked(wanted): Asked<Wanted>) -> Answer<TlsStatus> {
    let limit = match wanted.connections {
        true => wanted.limit.unwrap_or(MOST_CONNECTIONS).clamp(1, MOST_CONNECTIONS),
        false => 0,
    };
    let mut status = tls.status(limit, wanted.after).await?;
    if let Some(name) = &wanted.listener {
        known(&tls, Some(name))?;
        status.listeners.retain(|listener| &listener.name == name);
        only_of(&tls, &mut status, name, limit).await?;
    }
    Ok(Json(status))
}

/// Leaves connections of other listeners out, and looks on where that leaves too few.
async fn only_of(
    tls: &Tls,
    status: &mut TlsStatus,
    name: &str,
    limit: usize,
) -> Result<(), Refusal> {
    let mut last = status.connections.last().map(|connection| connection.id);
    status.connections.retain(|connection| connection.listener == name);
    while let Some(after) = last.filter(|_| status.more && status.connections.len() < limit) {
        let page = tls.status(limit, after).await?;
        last = page.connections.last().map(|connection| connection.id);
        let (mut of_it, wanted) = (page.connections, limit - status.connections.len());
        of_it.retain(|connection| connection.listener == name);
        status.more = page.more || of_it.len() > wanted;
        of_it.truncate(wanted);
        status.connections.extend(of_it);
    }
    Ok(())
}

async fn reload(
    State(tls): State<Tls>,
    Optional(request): Optional<TlsReloadRequest>,
) -> Answer<TlsReloadReport> {
    known(&tls, request.listener.as_deref())?;
    let report = tls.aside(move |relay| relay.reload(&request)).await?;
    Ok(Json(report.transpose()?.unwrap_or_else(super::nothing_reloaded)))
}

async fn rotate_tickets(
    State(tls): State<Tls>,
    Optional(request): Optional<TlsTicketsRequest>,
) -> Answer<TlsTicketsReport> {
    let report = tls.aside(move |relay| relay.rotate_tickets(&request)).await?;
    let report = report.transpose().map_err(|error| {
        let hint = "the old key goes on; ask again, and see the log if it stays so";
        Refusal::new(ErrorCode::Unavailable, path::TLS_TICKETS, error.to_string(), hint)
    })?;
    let nothing = TlsTicketsReport { listeners: Vec::new(), old_opens_for: 0 };
    Ok(Json(report.unwrap_or(nothing)))
}

async fn update_keys(
    State(tls): State<Tls>,
    Optional(request): Optional<TlsKeyUpdateRequest>,
) -> Answer<TlsKeyUpdateReport> {
    known(&tls, request.listener.as_deref())?;
    let connection = request.connection;
    let report = tls.aside(move |relay| relay.update_keys(&request)).await?;
    let report = report.transpose()?.unwrap_or_default();
    match connection {
        Some(id) if report == TlsKeyUpdateReport::default() => Err(Refusal::new(
            ErrorCode::UnknownConnection,
            id.to_string(),
            "no TLS connection of this number is up",
            format!("GET {}?connections=true lists those that are", path::TLS),
        )),
        _ => Ok(Json(report)),
    }
}

fn known(tls: &Tls, listener: Option<&str>) -> Result<(), UnknownListener> {
    match listener {
        Some(name) if !tls.has_listener(name) => Err(UnknownListener(name.to_owned())),
        _ => Ok(()),
    }
}

impl From<UnknownListener> for Refusal {
    fn from(error: UnknownListener) -> Self {
        let hint = format!("GET {} lists those that there are", path::TLS);
        Self::new(ErrorCode::UnknownListener, error.0, "no TLS listener has this name", hint)
    }
}

impl From<Silent> for Refusal {
    fn from(silent: Silent) -> Self {
        let hint = "what was begun goes on; ask GET /v1/tls in a while";
        Self::new(ErrorCode::Unavailable, path::TLS, silent.to_string(), hint)
    }
}

/// As many as fit a page.
const MOST_CONNECTIONS: usize = 1_000;
