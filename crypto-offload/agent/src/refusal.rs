//! How a request fails: the protocol's error, from whatever went wrong below it.

use crypto_offload::{BadPair, EngineError, ErrorClass, WrongKeyLength};
use gateway_control::agent::{AgentError, AgentErrorCode};

use crate::state::StateError;

/// Becomes a `Response::Refused`.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) AgentError);

impl Refusal {
    pub(crate) fn new(
        code: AgentErrorCode,
        place: impl ToString,
        message: impl Into<String>,
    ) -> Self {
        Self(AgentError { code, message: message.into(), place: place.to_string(), hint: None })
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let EngineError { class, operation, object, reason, hint } = error;
        let message = format!("cannot {operation} {object}: {reason}");
        Self(AgentError { code: AgentErrorCode::Engine(class), message, place: object, hint })
    }
}

impl From<StateError> for Refusal {
    /// A full or broken disk is an operator's to mend, as a fatal answer of an engine is.
    fn from(error: StateError) -> Self {
        let code = AgentErrorCode::Engine(ErrorClass::Fatal);
        Self::new(code, "state", error.to_string()).hint("make room in --state-dir")
    }
}

impl From<BadPair> for Refusal {
    fn from(error: BadPair) -> Self {
        Self::new(AgentErrorCode::Invalid, "pair", error.to_string())
    }
}

impl From<WrongKeyLength> for Refusal {
    fn from(error: WrongKeyLength) -> Self {
        Self::new(AgentErrorCode::Invalid, "key", error.to_string())
    }
}
