//! The read-only HTTP listener: metrics for Prometheus, health for whoever restarts us.
//!
//! `/healthz` fails while a worker is stalled, which a restart would heal; `/readyz` fails while
//! draining too, which a restart would not. TLS listeners that do not serve are told in the latter's
//! text and fail neither: calls go on, and a restart would not mend a certificate.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use gateway_control::Lifecycle;
use tokio::net::TcpListener;

use crate::bounded::Bounded;
use crate::metrics;
use crate::observer::Observer;

/// Answers until the process ends.
pub(crate) async fn serve(listener: TcpListener, observer: Observer) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(observer);
    axum::serve(Bounded::new(listener), router).await
}

/// Binds, so that a taken port is known before anything else starts.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

async fn metrics_page(State(observer): State<Observer>) -> Response {
    match observer.figures().await {
        Ok(figures) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::page(&figures))
            .into_response(),
        Err(error) => unavailable(error.to_string()),
    }
}

async fn health(State(observer): State<Observer>) -> Response {
    match stalled(&observer) {
        Some(problem) => unavailable(problem),
        None => match observer.lifecycle().await {
            Ok(_) => "ok\n".into_response(),
            Err(error) => unavailable(error.to_string()),
        },
    }
}

async fn readiness(State(observer): State<Observer>) -> Response {
    match (stalled(&observer), observer.lifecycle().await) {
        (Some(problem), _) => unavailable(problem),
        (None, Ok(Lifecycle::Running)) => ready(&observer.tls.problems().await).into_response(),
        (None, Ok(Lifecycle::Draining)) => unavailable("draining".to_owned()),
        (None, Err(error)) => unavailable(error.to_string()),
    }
}

/// Ready, and what needs somebody all the same.
fn ready(problems: &[String]) -> String {
    let lines = problems.iter().map(|problem| format!("{problem}\n"));
    std::iter::once("ready\n".to_owned()).chain(lines).collect()
}

fn stalled(observer: &Observer) -> Option<String> {
    let stalled = observer.workers.stalled();
    (!stalled.is_empty()).then(|| format!("stalled workers: {stalled:?}"))
}

fn unavailable(problem: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, problem + "\n").into_response()
}
