//! How the paths of the admin API say no.

use axum::response::{IntoResponse, Response};
use gateway_control::{ApiError, ErrorCode};

/// An answer that is not a success.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(pub(crate) ApiError);

impl Refusal {
    pub(crate) fn new(
        code: ErrorCode,
        place: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self(ApiError { code, message: message.into(), place: place.into(), hint: hint.into() })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        super::refuse(self.0)
    }
}
