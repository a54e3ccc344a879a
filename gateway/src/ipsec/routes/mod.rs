//! The admin API's paths about SAs. Each checks what it is given, asks the desk or the agent, and
//! puts the answer into JSON; nothing is decided here.

mod change;
mod exchange;
mod name;
mod peer;
mod read;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use gateway_control::path;

use super::Ipsec;
use crate::admin::idempotency::{self, Answers};

/// Every path about SAs.
pub(crate) fn router(ipsec: Ipsec, answers: Answers) -> Router {
    Router::new()
        .route(path::SAS, get(read::list).post(change::add))
        .route(path::SA, get(read::show).delete(change::remove))
        .route(path::FOREIGN_SAS, get(read::foreign))
        .route(path::CAPABILITIES, get(read::capabilities).post(change::probe))
        .route(path::PLAN, post(read::plan))
        .route(path::ROTATIONS, get(read::rotations).post(change::rotate))
        .route(path::OPERATION, get(read::operation))
        .route(path::EXCHANGE, get(exchange::identity))
        .route(path::EXPORT, post(exchange::export))
        .route(path::IMPORT, post(exchange::import))
        .layer(middleware::from_fn_with_state(answers, idempotency::remember))
        // Behind the layer, and so not remembered: answers to peers hold keys, and every step is
        // idempotent by pair and epoch anyway.
        .route(path::PEER, get(peer::ask).post(peer::step))
        .with_state(ipsec)
}
