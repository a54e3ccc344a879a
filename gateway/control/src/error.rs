//! How the admin API says no.

use serde::{Deserialize, Serialize};

/// The body of every response that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What kind of error, for programs.
    pub code: ErrorCode,
    /// What was wrong, for people.
    pub message: String,
    /// What it was wrong with: a path, a call, a header.
    #[serde(rename = "where")]
    pub place: String,
    /// What to do about it.
    pub hint: String,
}

/// Kinds of [`ApiError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No such path.
    NotFound,
    /// No such call.
    UnknownCall,
    /// No SA pair has that name.
    UnknownPair,
    /// The pair has no such epoch, or no longer.
    UnknownEpoch,
    /// No operation has that id, or it ended long ago.
    UnknownOperation,
    /// No TLS listener has that name.
    UnknownListener,
    /// No TLS connection has that id, or no longer.
    UnknownConnection,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// Asked in another version of this API.
    VersionMismatch,
    /// A parameter cannot be read.
    BadParameter,
    /// It can be read and makes no sense; the message says what.
    Invalid,
    /// The asker may not.
    Forbidden,
    /// Something else has it, or is being done to it now.
    Conflict,
    /// The two ends of a pair are defined differently.
    TermsDiffer,
    /// An exchange file from somebody else, for somebody else, or for another pair or epoch.
    WrongFile,
    /// No engine would do it.
    Engine,
    /// The gateway could not answer in time.
    Unavailable,
    /// Its offload agent does not answer, and has not for longer than a restart takes.
    AgentAbsent,
}
