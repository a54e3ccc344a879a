//! A pair's name in a path.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use crypto_offload::PairName;
use gateway_control::ErrorCode;

use crate::ipsec::reply::Refusal;

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
