//! Replies as a controller reads them.

use bytes::Bytes;

use crate::wire::Dict;

/// What the relay said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is there.
    Pong,
    /// Done.
    Ok {
        /// The body, for an offer or answer.
        sdp: Option<Bytes>,
        /// What was odd.
        warning: Option<Bytes>,
        /// All of the reply.
        dict: Dict,
    },
    /// Refused, with the reason.
    Error(Bytes),
    /// Refused because of load, with the message.
    LoadLimit(Bytes),
    /// A `result` that no relay should send.
    Unknown(Dict),
}

impl Reply {
    /// What a reply's dictionary means.
    pub fn of(dict: Dict) -> Self {
        let text = |key| dict.bytes(key).cloned();
        match dict.bytes("result").map(|result| &result[..]) {
            Some(b"pong") => Self::Pong,
            Some(b"ok") => Self::Ok { sdp: text("sdp"), warning: text("warning"), dict },
            Some(b"error") => Self::Error(text("error-reason").unwrap_or_default()),
            Some(b"load limit") => Self::LoadLimit(text("message").unwrap_or_default()),
            _ => Self::Unknown(dict),
        }
    }
}
