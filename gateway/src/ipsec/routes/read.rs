//! Paths that change nothing.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Json;
use crypto_offload::{Capabilities, PairName, SaId, SaPair, Spi};
use gateway_control::{
    ErrorCode, ForeignList, Operation, PairList, PairStatus, PlanReport, RotationLog, path,
};
use serde::Deserialize;

use super::name::Name;
use crate::admin::body::{Asked, Body};
use crate::ipsec::Ipsec;
use crate::ipsec::reply::Refusal;

type Answer<T> = Result<Json<T>, Refusal>;

#[derive(Deserialize)]
pub(super) struct Page {
    after: Option<PairName>,
    limit: Option<usize>,
}

/// The agent's pages are as long as its messages may be: several make one of ours.
pub(super) async fn list(
    State(ipsec): State<Ipsec>,
    Asked(Page { mut after, limit }): Asked<Page>,
) -> Answer<PairList> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let mut list = PairList { pairs: Vec::new(), total: 0, more: true };
    while list.more && list.pairs.len() < limit {
        let page = ipsec.agent().list(after, limit - list.pairs.len()).await?;
        (list.total, list.more) = (page.total, page.more && !page.pairs.is_empty());
        list.pairs.extend(page.pairs);
        after = list.pairs.last().map(|status| status.pair.name.clone());
    }
    Ok(Json(list))
}

pub(super) async fn show(State(ipsec): State<Ipsec>, Name(name): Name) -> Answer<PairStatus> {
    Ok(Json(ipsec.agent().show(&name).await?))
}

#[derive(Deserialize)]
pub(super) struct ForeignPage {
    /// `DESTINATION,SPI`
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn foreign(
    State(ipsec): State<Ipsec>,
    Asked(ForeignPage { after, limit }): Asked<ForeignPage>,
) -> Answer<ForeignList> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let mut after = after.map(|text| sa_id(&text)).transpose()?;
    let mut list = ForeignList { sas: Vec::new(), more: true };
    while list.more && list.sas.len() < limit {
        let page = ipsec.agent().foreign(after, limit - list.sas.len()).await?;
        list.more = page.more && !page.sas.is_empty();
        list.sas.extend(page.sas);
        after = list.sas.last().map(|sa| sa.id);
    }
    Ok(Json(list))
}

fn sa_id(text: &str) -> Result<SaId, Refusal> {
    let read = || {
        let (destination, spi) = text.split_once(',')?;
        let spi = Spi::observed(spi.parse().ok()?)?;
        Some(SaId { destination: destination.parse().ok()?, spi })
    };
    read().ok_or_else(|| {
        let hint = "as in ?after=192.0.2.1,3221225473";
        Refusal::new(ErrorCode::BadParameter, path::FOREIGN_SAS, "after: not an SA", hint)
    })
}

pub(super) async fn capabilities(
    State(ipsec): State<Ipsec>,
) -> Answer<Vec<(String, Capabilities)>> {
    Ok(Json(ipsec.agent().capabilities().await?))
}

pub(super) async fn plan(
    State(ipsec): State<Ipsec>,
    Body(pair): Body<SaPair>,
) -> Answer<PlanReport> {
    ipsec.check_pair(&pair)?;
    Ok(Json(ipsec.agent().plan(pair).await?))
}

#[derive(Deserialize)]
pub(super) struct Newest {
    limit: Option<usize>,
}

pub(super) async fn rotations(
    State(ipsec): State<Ipsec>,
    Asked(Newest { limit }): Asked<Newest>,
) -> Json<RotationLog> {
    Json(RotationLog { rotations: ipsec.log().newest(limit.unwrap_or(DEFAULT_LIMIT)) })
}

#[derive(Deserialize)]
pub(super) struct Wait {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait: u64,
}

pub(super) async fn operation(
    State(ipsec): State<Ipsec>,
    Path(id): Path<String>,
    Asked(Wait { after, wait }): Asked<Wait>,
) -> Answer<Operation> {
    let Some(progress) = ipsec.operations().find(&id) else {
        let hint = format!("GET {} tells what was rotated", path::ROTATIONS);
        let message = "no operation has this id, or it ended long ago";
        return Err(Refusal::new(ErrorCode::UnknownOperation, id, message, hint));
    };
    if wait > 0 {
        progress.wait_beyond(after, Duration::from_secs(wait.min(LONGEST_WAIT))).await;
    }
    Ok(Json(progress.report()))
}

/// As many as a person reads; whoever wants all asks for more.
const DEFAULT_LIMIT: usize = 1000;

/// Seconds; a client asks again.
const LONGEST_WAIT: u64 = 60;
