//! Paths from gateway to gateway. Who asks is known from the certificate; operators and the Unix
//! socket have nothing to ask here.

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Json, Response};
use crypto_offload::{Epoch, PairName};
use gateway_control::{ErrorCode, PairStatus, PeerOffer, PeerStep, path};

use super::name::pair_name;
use crate::admin::access::PeerIdentity;
use crate::admin::body::Raw;
use crate::ipsec::Ipsec;
use crate::ipsec::peers::Peer;
use crate::ipsec::reply::Refusal;

type Place = Path<(String, u64, String)>;

pub(super) async fn ask(
    State(ipsec): State<Ipsec>,
    identity: Option<Extension<PeerIdentity>>,
    Path((name, _, step)): Place,
) -> Result<Json<PairStatus>, Refusal> {
    let peer = caller(&ipsec, identity, &name)?;
    if step != "status" {
        return Err(no_such_step(&step));
    }
    ipsec.pair_of_peer(&pair_name(name)?, &peer).await.map(Json)
}

pub(super) async fn step(
    State(ipsec): State<Ipsec>,
    identity: Option<Extension<PeerIdentity>>,
    Path((name, epoch, step)): Place,
    body: Raw,
) -> Result<Response, Refusal> {
    let peer = caller(&ipsec, identity, &name)?;
    let (name, epoch): (PairName, Epoch) = (pair_name(name)?, Epoch(epoch));
    if step == "offer" {
        let offer: PeerOffer = body.json()?;
        let answer = ipsec.take_offer(&name, epoch, &peer, offer).await?;
        return Ok(Json(answer).into_response());
    }
    let asked: PeerStep = body.json()?;
    let done = match step.as_str() {
        "switch" => ipsec.answer_switch(&name, epoch, &peer).await?,
        "retire" => ipsec.answer_retire(&name, epoch, &peer, asked).await?,
        "renew" => ipsec.answer_renew(&name, epoch, &peer).await?,
        "abort" => ipsec.answer_abort(&name, epoch, &peer).await?,
        other => return Err(no_such_step(other)),
    };
    Ok(Json(done).into_response())
}

fn caller(
    ipsec: &Ipsec,
    identity: Option<Extension<PeerIdentity>>,
    place: &str,
) -> Result<Peer, Refusal> {
    let known = identity.as_ref().and_then(|Extension(who)| ipsec.peers().identified(&who.0));
    known.ok_or_else(|| {
        let said = "only the gateway of an [[ipsec.peer]] may ask this";
        Refusal::new(ErrorCode::Forbidden, place, said, "rotate with POST /v1/rotations")
    })
}

fn no_such_step(step: &str) -> Refusal {
    let hint = "offer, switch, retire, renew, abort (POST) or status (GET)";
    Refusal::new(ErrorCode::NotFound, format!("{} {step}", path::PEER), "no such step", hint)
}
