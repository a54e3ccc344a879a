//! What requests bring: bodies and queries, refused in the API's own words.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use crypto_offload::PairName;
use gateway_control::ErrorCode;
use serde::de::DeserializeOwned;
use zeroize::Zeroize;

use crate::ipsec::idempotency::LARGEST_BODY;
use crate::ipsec::reply::Refusal;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// A body that is yet to be read. It may hold keys: its bytes are wiped once they are read, where
/// they are ours alone.
pub(super) struct Raw {
    bytes: Bytes,
    place: String,
}

impl<S: Sync> FromRequest<S> for Raw {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let place = request.uri().path().to_owned();
        let bytes = axum::body::to_bytes(request.into_body(), LARGEST_BODY).await;
        let bytes = bytes.map_err(|error| bad_body(&place, &error.to_string()))?;
        Ok(Self { bytes, place })
    }
}

impl Raw {
    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        let read = serde_json::from_slice(&self.bytes);
        wipe(self.bytes);
        read.map_err(|error| bad_body(&self.place, &error.to_string()))
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        Raw::from_request(request, state).await?.json().map(Self)
    }
}

fn wipe(bytes: Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.as_mut().zeroize();
    }
}

fn bad_body(place: &str, reason: &str) -> Refusal {
    let hint = "send the JSON document that this path takes; keymgr of this release does";
    Refusal::new(ErrorCode::BadParameter, place, format!("the body: {reason}"), hint)
}

/// The pair's name out of the path.
pub(super) struct Name(pub(super) PairName);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| bad_name(parts.uri.path(), "cannot be read"))?;
        pair_name(text).map(Self)
    }
}

/// A name as people write it.
pub(super) fn pair_name(text: String) -> Result<PairName, Refusal> {
    PairName::new(text.clone()).map_err(|error| bad_name(&text, &error.to_string()))
}

fn bad_name(place: &str, reason: &str) -> Refusal {
    Refusal::new(ErrorCode::BadParameter, place, reason, "as in /v1/sas/trunk-1")
}

/// What is behind the path's question mark.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                let hint = "?after= and &limit= for lists, ?after= and &wait= for operations";
                let (place, said) = (parts.uri.path(), rejection.body_text());
                Err(Refusal::new(ErrorCode::BadParameter, place, said, hint))
            }
        }
    }
}
