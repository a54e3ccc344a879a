//! Paths that change something.

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Json, Response};
use crypto_offload::Capabilities;
use gateway_control::{AddSa, OperationStarted, RotationRequest};

use super::name::Name;
use crate::admin::access::PeerIdentity;
use crate::admin::body::Body;
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
    identity: Option<Extension<PeerIdentity>>,
    Body(request): Body<RotationRequest>,
) -> Result<Response, Refusal> {
    let RotationRequest { pairs, dry_run, requested_by } = request;
    let selected = ipsec.select(&pairs).await?;
    if dry_run {
        return Ok(Json(rotate::plan(&selected)).into_response());
    }
    let who = operator(identity.as_ref().map(|Extension(who)| who), requested_by.as_deref());
    let names = selected.into_iter().map(|status| status.pair.name).collect();
    let cause = Cause { who, why: "asked".to_owned() };
    Ok(started(&ipsec.start_rotations(names, Want::NewKeys, &cause)).into_response())
}

/// Who asks, for the log: whom the certificate names, which cannot be made up, and then what they
/// call themselves, which can.
fn operator(identity: Option<&PeerIdentity>, calls_itself: Option<&str>) -> String {
    let name = calls_itself.map(|name| -> String {
        name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
    });
    match (identity, name.filter(|name| !name.is_empty())) {
        (Some(PeerIdentity(known)), Some(name)) => format!("operator {known} ({name})"),
        (Some(PeerIdentity(known)), None) => format!("operator {known}"),
        (None, Some(name)) => format!("operator {name}"),
        (None, None) => "operator".to_owned(),
    }
}

/// Characters of a user's name in the log.
const LONGEST_NAME: usize = 64;

/// Where to ask how it goes.
pub(super) fn started(progress: &Progress) -> Json<OperationStarted> {
    Json(OperationStarted { operation: progress.id().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_whom_the_certificate_names_and_takes_no_lines_from_anybody() {
        let known = PeerIdentity("ops.example".to_owned());
        assert_eq!(operator(Some(&known), Some("root")), "operator ops.example (root)");
        assert_eq!(operator(Some(&known), Some("\n")), "operator ops.example");
        assert_eq!(operator(None, Some("ann\n2026 ERROR")), "operator ann2026 ERROR");
        assert_eq!(operator(None, Some(&"x".repeat(9999))).len(), "operator ".len() + LONGEST_NAME);
        assert_eq!(operator(None, None), "operator");
    }
}
