//! Paths that change something.

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use crypto_offload::Capabilities;
use gateway_control::{AddSa, OperationStarted, RotationRequest};

use super::body::{Body, Name};
use crate::ipsec::Ipsec;
use crate::ipsec::define::Added;
use crate::ipsec::operations::Progress;
use crate::ipsec::reply::Refusal;
use crate::ipsec::rotate::{self, Cause, Want};

pub(super) async fn add(
    State(ipsec): State<Ipsec>,
    Body(add): Body<AddSa>,
) -> Result<Response, Refusal> {
    Ok(match ipsec.add(add).await? {
        Added::Started(progress) => started(&progress).into_response(),
        Added::Waiting(status) => Json(*status).into_response(),
    })
}

pub(super) async fn remove(
    State(ipsec): State<Ipsec>,
    Name(name): Name,
) -> Result<Json<()>, Refusal> {
    ipsec.remove(&name).await.map(Json)
}

pub(super) async fn probe(
    State(ipsec): State<Ipsec>,
) -> Result<Json<Vec<(String, Capabilities)>>, Refusal> {
    Ok(Json(ipsec.agent().probe().await?))
}

pub(super) async fn rotate(
    State(ipsec): State<Ipsec>,
    Body(request): Body<RotationRequest>,
) -> Result<Response, Refusal> {
    let RotationRequest { pairs, dry_run, requested_by } = request;
    let selected = ipsec.select(&pairs).await?;
    if dry_run {
        return Ok(Json(rotate::plan(&selected)).into_response());
    }
    let who = match requested_by {
        Some(name) => format!("operator {name}"),
        None => "operator".to_owned(),
    };
    let names = selected.into_iter().map(|status| status.pair.name).collect();
    let cause = Cause { who, why: "asked".to_owned() };
    Ok(started(&ipsec.start_rotations(names, Want::NewKeys, &cause)).into_response())
}

/// Where to ask how it goes.
pub(super) fn started(progress: &Progress) -> Json<OperationStarted> {
    Json(OperationStarted { operation: progress.id().to_owned() })
}
