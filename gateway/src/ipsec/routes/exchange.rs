//! Paths about exchange files.

use axum::extract::State;
use axum::response::Json;
use gateway_control::{
    ExchangeFile, ExchangeIdentity, ExportRequest, ImportRequest, OperationStarted,
};

use super::change::started;
use super::name::Name;
use crate::admin::body::Body;
use crate::ipsec::Ipsec;
use crate::ipsec::by_hand::Export;
use crate::ipsec::reply::Refusal;

pub(super) async fn identity(State(ipsec): State<Ipsec>) -> Json<ExchangeIdentity> {
    Json(ExchangeIdentity { public_key: ipsec.exchange().public_text() })
}

pub(super) async fn export(
    State(ipsec): State<Ipsec>,
    Name(name): Name,
    Body(request): Body<ExportRequest>,
) -> Result<Json<ExchangeFile>, Refusal> {
    let which = if request.new { Export::New } else { Export::Waiting };
    ipsec.export(&name, &request.recipient, which).await.map(Json)
}

pub(super) async fn import(
    State(ipsec): State<Ipsec>,
    Name(name): Name,
    Body(ImportRequest { file, sender }): Body<ImportRequest>,
) -> Result<Json<OperationStarted>, Refusal> {
    Ok(started(&ipsec.start_import(&name, &file, &sender).await?))
}
