//! How the agent's refusals become the admin API's.

use crypto_offload::ErrorClass;
use gateway_control::agent::{AgentError, AgentErrorCode};
use gateway_control::{ErrorCode, path};

use super::agent::AskError;
pub(crate) use crate::admin::refusal::Refusal;

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(error) => Self::from(error),
            AskError::Absent(reason) => Self::new(
                ErrorCode::AgentAbsent,
                "offload-agent",
                format!("the offload agent does not answer: {reason}"),
                "start offload-agent, and name its socket in ipsec.agent",
            ),
        }
    }
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        let code = match error.code {
            AgentErrorCode::UnknownPair => ErrorCode::UnknownPair,
            AgentErrorCode::UnknownEpoch => ErrorCode::UnknownEpoch,
            AgentErrorCode::StaleEpoch | AgentErrorCode::InUse | AgentErrorCode::Conflict => {
                ErrorCode::Conflict
            }
            AgentErrorCode::KeyReused | AgentErrorCode::Invalid => ErrorCode::Invalid,
            AgentErrorCode::VersionMismatch => ErrorCode::Unavailable,
            AgentErrorCode::Engine(ErrorClass::Conflict) => ErrorCode::Conflict,
            AgentErrorCode::Engine(ErrorClass::Busy) => ErrorCode::Unavailable,
            AgentErrorCode::Engine(_) => ErrorCode::Engine,
        };
        let hint = error.hint.unwrap_or_else(|| match code {
            ErrorCode::UnknownPair => format!("GET {} lists those that there are", path::SAS),
            ErrorCode::Unavailable => "ask again".to_owned(),
            _ => format!("GET {} says what the engines can do", path::CAPABILITIES),
        });
        Self::new(code, error.place, error.message, hint)
    }
}
