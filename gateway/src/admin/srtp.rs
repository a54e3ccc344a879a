//! The admin API's paths about SRTP legs: reads what is given, asks control, and puts what it says
//! into JSON. Nothing is decided here.

use axum::Router;
use axum::extract::State;
use axum::middleware;
use axum::response::Json;
use axum::routing::{get, post};
use bytes::Bytes;
use gateway_control::{ErrorCode, SrtpList, SrtpRekeyReport, SrtpRekeyRequest, path};
use serde::Deserialize;

use super::body::{Asked, Optional};
use super::idempotency::{self, Answers};
use super::refusal::Refusal;
use crate::control::srtp::Whose;
use crate::observer::{Observer, Unavailable};

/// Every path about SRTP.
pub(super) fn router(observer: Observer, answers: Answers) -> Router {
    Router::new()
        .route(path::SRTP, get(list))
        .route(path::SRTP_REKEY, post(rekey))
        .layer(middleware::from_fn_with_state(answers, idempotency::remember))
        .with_state(observer)
}

type Answer<T> = Result<Json<T>, Refusal>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    call: Option<String>,
    after: Option<u64>,
    limit: Option<usize>,
}

async fn list(State(observer): State<Observer>, Asked(wanted): Asked<Wanted>) -> Answer<SrtpList> {
    let limit = wanted.limit.unwrap_or(MOST_CALLS).clamp(1, MOST_CALLS);
    let whose = match &wanted.call {
        Some(call) => Whose::Call(Bytes::copy_from_slice(call.as_bytes())),
        None => Whose::Page { after: wanted.after, limit },
    };
    let list = observer.srtp(whose).await?;
    list.map(Json).ok_or_else(|| unknown(wanted.call.unwrap_or_default()))
}

async fn rekey(
    State(observer): State<Observer>,
    Optional(request): Optional<SrtpRekeyRequest>,
) -> Answer<SrtpRekeyReport> {
    if let Some(message) = contradiction(&request) {
        let hint = "{\"call_id\": …}, with \"tag\" or without, or {\"all\": true}";
        return Err(Refusal::new(ErrorCode::BadParameter, path::SRTP_REKEY, message, hint));
    }
    let call = request.call_id.clone().unwrap_or_default();
    observer.rekey(request).await?.map(Json).ok_or_else(|| unknown(call))
}

/// What a request must say, and what it must not say together.
fn contradiction(request: &SrtpRekeyRequest) -> Option<&'static str> {
    match (&request.call_id, request.all) {
        (None, false) => Some("it does not say whose keys"),
        (Some(_), true) => Some("one call, or all of them?"),
        (None, true) if request.tag.is_some() => Some("a tag means a party of one call"),
        _ => None,
    }
}

fn unknown(call: String) -> Refusal {
    let hint = format!("{} lists the calls that are", path::CALLS);
    Refusal::new(ErrorCode::UnknownCall, call, "no call of this call-id is up", hint)
}

impl From<Unavailable> for Refusal {
    fn from(unavailable: Unavailable) -> Self {
        let hint = "ask again; see /healthz if it stays so";
        Self::new(ErrorCode::Unavailable, "control", unavailable.to_string(), hint)
    }
}

/// Calls a page: each is a question to its worker, which relays meanwhile.
const MOST_CALLS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_whose_keys_and_does_not_contradict_itself() {
        let of = |call: Option<&str>, tag: Option<&str>, all| {
            contradiction(&SrtpRekeyRequest {
                call_id: call.map(str::to_owned),
                tag: tag.map(str::to_owned),
                all,
                ..SrtpRekeyRequest::default()
            })
        };
        assert_eq!(of(None, None, true).or(of(Some("c"), Some("t"), false)), None);
        for refused in [of(None, None, false), of(Some("c"), None, true), of(None, Some("t"), true)]
        {
            assert!(refused.is_some());
        }
    }
}
