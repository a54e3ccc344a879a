//! What requests bring: bodies and queries, refused in the API's own words.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use gateway_control::ErrorCode;
use serde::de::DeserializeOwned;
use zeroize::Zeroize;

use super::idempotency::LARGEST_BODY;
use super::refusal::Refusal;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body that may be left out: then nothing in it is set.
pub(crate) struct Optional<T>(pub(crate) T);

/// A body that is yet to be read. It may hold keys: its bytes are wiped once they are read, where
/// they are ours alone.
pub(crate) struct Raw {
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
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, Refusal> {
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

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for Optional<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let raw = Raw::from_request(request, state).await?;
        if raw.bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        raw.json().map(Self)
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

/// What is behind the path's question mark.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                let hint = "?after= and &limit= for lists, ?after= and &wait= for operations; the guide has the rest";
                let (place, said) = (parts.uri.path(), rejection.body_text());
                Err(Refusal::new(ErrorCode::BadParameter, place, said, hint))
            }
        }
    }
}
