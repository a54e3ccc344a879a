//! Why an established connection ends before its time: what the peer or the kernel did, the alert
//! that the peer is owed for it, and a name for metrics.
//!
//! A fault is final. The caller gets it as a [`RecordError`].

use std::io;

use rustls::AlertDescription;

use crate::failure::RecordError;

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// A record that does not open under its keys.
    #[error("a record cannot be opened")]
    BadRecord,
    /// A record longer than the version allows.
    #[error("a record is too long")]
    RecordOverflow,
    /// A record header that the kernel does not understand.
    #[error("a record's header is none")]
    BadHeader,
    /// A content type that has no place after the handshake.
    #[error("a record of type {0} after the handshake")]
    UnexpectedRecord(u8),
    /// A record without content, of a type that must have some (RFC 8446 section 5.1).
    #[error("an empty record of type {0}")]
    EmptyRecord(u8),
    /// A handshake message that has no place after the handshake.
    #[error("a handshake message of type {0} after the handshake")]
    UnexpectedMessage(u8),
    /// Another record between the parts of one handshake message.
    #[error("another record inside a handshake message")]
    Interleaved,
    /// A handshake message longer than 64 KiB.
    #[error("a handshake message is too long")]
    MessageTooLong,
    /// A KeyUpdate that does not end its record (RFC 8446 section 5.1), or of a wrong form.
    #[error("a KeyUpdate that is malformed or does not end its record")]
    BadKeyUpdate,
    /// A NewSessionTicket that rustls does not understand.
    #[error("a malformed NewSessionTicket")]
    BadTicket,
    /// More KeyUpdates or tickets than [`UpdateLimits`](crate::update::UpdateLimits) allow.
    #[error("too many KeyUpdates or session tickets")]
    Flood,
    /// More warnings than anybody needs.
    #[error("too many warning alerts")]
    TooManyWarnings,
    /// An alert of a wrong form.
    #[error("a malformed alert")]
    BadAlert,
    /// A second attempt to renegotiate, after the first was declined.
    #[error("renegotiation, which was declined")]
    Renegotiation,
    /// TLS 1.2 cannot renew its keys, and they are used up.
    #[error("the keys have protected as many records as they may")]
    KeysExhausted,
    /// New keys could not be made or installed; errno, where the kernel refused them.
    #[error("the keys cannot be renewed (errno {0})")]
    Renewal(i32),
    /// The kernel gave data without saying what it is.
    #[error("the kernel gave a record without its type")]
    Untyped,
}

impl Fault {
    /// What the peer is told.
    pub(crate) fn alert(self) -> AlertDescription {
        match self {
            Self::BadRecord => AlertDescription::BadRecordMac,
            Self::RecordOverflow => AlertDescription::RecordOverflow,
            Self::BadHeader | Self::MessageTooLong | Self::BadTicket | Self::BadAlert => {
                AlertDescription::DecodeError
            }
            Self::BadKeyUpdate => AlertDescription::IllegalParameter,
            Self::UnexpectedRecord(_)
            | Self::EmptyRecord(_)
            | Self::UnexpectedMessage(_)
            | Self::Interleaved
            | Self::Flood
            | Self::TooManyWarnings
            | Self::Renegotiation => AlertDescription::UnexpectedMessage,
            Self::KeysExhausted => AlertDescription::CloseNotify,
            Self::Renewal(_) | Self::Untyped => AlertDescription::InternalError,
        }
    }

    /// For the caller, with what the peer is told.
    pub(crate) fn error(self, told: Option<AlertDescription>) -> io::Error {
        RecordError::new(self.label(), self.to_string()).telling(told).into()
    }

    /// One of a small, stable set of names, for metrics.
    fn label(self) -> &'static str {
        match self {
            Self::BadRecord => "bad_record",
            Self::RecordOverflow => "record_overflow",
            Self::BadHeader | Self::BadAlert | Self::BadTicket | Self::BadKeyUpdate => {
                "decode_error"
            }
            Self::MessageTooLong => "too_long",
            Self::UnexpectedRecord(_)
            | Self::EmptyRecord(_)
            | Self::UnexpectedMessage(_)
            | Self::Interleaved => "unexpected_message",
            Self::Flood => "key_update_flood",
            Self::TooManyWarnings => "warning_flood",
            Self::Renegotiation => "renegotiation",
            Self::KeysExhausted => "keys_exhausted",
            Self::Renewal(_) | Self::Untyped => "internal",
        }
    }
}
