//! How a handshake or a record loop ends badly: what happened, the alert that the peer is owed, and
//! a label for a metric that does not change with rustls's wording. An error here means that the
//! connection is over; its owner sends [`HandshakeError::alert_bytes`] and closes.

use std::{fmt, io};

use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};

/// A handshake that failed.
#[derive(Debug)]
pub struct HandshakeError {
    cause: Cause,
    alert: Option<AlertDescription>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Cause {
    Tls(Error),
    /// Decided by the caller, for the reason in the label.
    Refused(&'static str),
    TooLong,
    EarlyData,
    Config(Error),
}

impl HandshakeError {
    /// rustls failed, and had this to send.
    pub(crate) fn new(error: Error, bytes: Vec<u8>) -> Self {
        let alert = clear_alert(&bytes).or_else(|| expected_alert(&error));
        // Without bytes nothing was said to the peer, whatever would have been right.
        let alert = alert.filter(|_| !bytes.is_empty());
        Self { cause: Cause::Tls(error), alert, bytes }
    }

    /// The same before any key: where rustls has no alert for its error, one is made.
    pub(crate) fn in_clear(error: Error, bytes: Vec<u8>) -> Self {
        if !bytes.is_empty() || matches!(error, Error::AlertReceived(_)) {
            return Self::new(error, bytes);
        }
        let alert = expected_alert(&error).unwrap_or(AlertDescription::InternalError);
        Self { cause: Cause::Tls(error), alert: Some(alert), bytes: fatal(alert) }
    }

    /// More bytes than any handshake message may have.
    pub(crate) fn too_long() -> Self {
        Self::clear(Cause::TooLong, AlertDescription::DecodeError)
    }

    /// A hello that offers nothing newer than TLS 1.1.
    pub(crate) fn too_old() -> Self {
        let error = PeerIncompatible::Tls12NotOfferedOrEnabled.into();
        Self::clear(Cause::Tls(error), AlertDescription::ProtocolVersion)
    }

    /// Data before the end of the handshake, which is never asked for.
    pub(crate) fn early_data() -> Self {
        Self { cause: Cause::EarlyData, alert: None, bytes: Vec::new() }
    }

    /// A connection that could not be begun with this configuration.
    pub(crate) fn config(error: Error) -> Self {
        Self { cause: Cause::Config(error), alert: None, bytes: Vec::new() }
    }

    /// The caller's decision.
    pub(crate) fn refusal(alert: AlertDescription, label: &'static str) -> Self {
        Self::clear(Cause::Refused(label), alert)
    }

    fn clear(cause: Cause, alert: AlertDescription) -> Self {
        Self { cause, alert: Some(alert), bytes: fatal(alert) }
    }

    /// What to send before closing; empty where the peer is owed nothing.
    pub fn alert_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The alert in those bytes.
    pub fn alert(&self) -> Option<AlertDescription> {
        self.alert
    }

    /// The alert by which the peer ended it.
    pub fn peer_alert(&self) -> Option<AlertDescription> {
        match self.cause {
            Cause::Tls(Error::AlertReceived(alert)) => Some(alert),
            _ => None,
        }
    }

    /// A name for metrics: one of a small, stable set.
    pub fn label(&self) -> &'static str {
        match &self.cause {
            Cause::Tls(error) => label(error),
            Cause::Refused(label) => label,
            Cause::TooLong => "too_long",
            Cause::EarlyData => "early_data",
            Cause::Config(_) => "configuration",
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Tls(error) => write!(f, "TLS handshake: {error}"),
            Cause::Refused(label) => write!(f, "TLS handshake refused: {label}"),
            Cause::TooLong => f.write_str("TLS handshake: a message longer than 64 KiB"),
            Cause::EarlyData => f.write_str("TLS handshake: early data, which was not offered"),
            Cause::Config(error) => write!(f, "TLS configuration: {error}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// A fatal alert in the clear (RFC 8446 sections 5.1 and 6).
fn fatal(alert: AlertDescription) -> Vec<u8> {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    vec![ALERT, 3, 3, 0, 2, FATAL, u8::from(alert)]
}

/// Reads such an alert; an encrypted one is longer.
fn clear_alert(bytes: &[u8]) -> Option<AlertDescription> {
    match bytes {
        [.., 21, 3, _, 0, 2, _, alert] => Some(AlertDescription::from(*alert)),
        _ => None,
    }
}

/// The alert that goes with an error. rustls encrypts its own before we see it, so that it is
/// known by the error alone; the rules are those of its conversions.
pub(crate) fn expected_alert(error: &Error) -> Option<AlertDescription> {
    Some(match error {
        Error::AlertReceived(_) => return None,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::InvalidMessage(error) => AlertDescription::from(*error),
        Error::InvalidCertificate(error) => AlertDescription::from(error.clone()),
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => AlertDescription::ProtocolVersion,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        Error::PeerMisbehaved(
            PeerMisbehaved::MessageInterleavedWithHandshakeMessage
            | PeerMisbehaved::KeyEpochWithPendingFragment
            | PeerMisbehaved::IllegalMiddleboxChangeCipherSpec
            | PeerMisbehaved::TooManyEmptyFragments
            | PeerMisbehaved::TooManyKeyUpdateRequests
            | PeerMisbehaved::TooManyRenegotiationRequests
            | PeerMisbehaved::TooManyWarningAlertsReceived,
        ) => AlertDescription::UnexpectedMessage,
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        _ => AlertDescription::InternalError,
    })
}

/// The label of one of rustls's errors.
pub(crate) fn label(error: &Error) -> &'static str {
    match error {
        Error::AlertReceived(_) => "peer_alert",
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "unexpected_message"
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "not_tls",
        Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::MessageTooLarge,
        ) => "too_long",
        Error::InvalidMessage(_) => "decode_error",
        Error::InvalidCertificate(error) => certificate_label(error),
        Error::NoCertificatesPresented => "certificate_required",
        Error::DecryptError => "bad_record",
        Error::PeerSentOversizedRecord => "record_overflow",
        Error::NoApplicationProtocol => "no_shared_protocol",
        Error::PeerIncompatible(error) => incompatible_label(error),
        Error::PeerMisbehaved(PeerMisbehaved::TooManyKeyUpdateRequests) => "key_update_flood",
        Error::PeerMisbehaved(_) => "peer_misbehaved",
        _ => "internal",
    }
}

fn certificate_label(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate_expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate_not_yet_valid"
        }
        CertificateError::Revoked => "certificate_revoked",
        CertificateError::UnknownIssuer => "certificate_unknown_issuer",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate_wrong_name"
        }
        CertificateError::BadSignature => "certificate_bad_signature",
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => "certificate_revocation_unknown",
        _ => "certificate_refused",
    }
}

fn incompatible_label(error: &PeerIncompatible) -> &'static str {
    match error {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired => "no_shared_version",
        PeerIncompatible::NoCipherSuitesInCommon => "no_shared_cipher",
        PeerIncompatible::NoKxGroupsInCommon => "no_shared_group",
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => "no_shared_signature",
        _ => "incompatible",
    }
}

/// Why a connection ended after its handshake. It reaches the caller inside an `io::Error` of kind
/// `InvalidData`; [`RecordError::of`] finds it there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TLS records: {text}")]
pub struct RecordError {
    label: &'static str,
    text: String,
    told: Option<AlertDescription>,
}

impl RecordError {
    /// An error with a label for metrics and words for people.
    pub(crate) fn new(label: &'static str, text: impl Into<String>) -> Self {
        Self { label, text: text.into(), told: None }
    }

    /// With what the peer is told.
    pub(crate) fn telling(self, told: Option<AlertDescription>) -> Self {
        Self { told, ..self }
    }

    /// More bytes of one message than we hold.
    pub(crate) fn too_long() -> Self {
        Self::new("too_long", "a message longer than 64 KiB")
    }

    /// More KeyUpdates or tickets than the policy allows.
    pub(crate) fn flood() -> Self {
        Self::new("key_update_flood", "too many KeyUpdates or session tickets")
    }

    /// We have ended it by an alert.
    pub(crate) fn given_up() -> Self {
        Self::new("given_up", "an alert of ours has ended the connection")
    }

    /// The keys have sealed as much as they may (RFC 8446 section 5.5), and cannot be renewed.
    pub(crate) fn exhausted() -> Self {
        Self::new("keys_exhausted", "the keys have sealed as many records as they may")
    }

    /// Finds it inside an error of a stream.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// A name for metrics: one of a small, stable set.
    pub fn label(&self) -> &'static str {
        self.label
    }

    /// The alert by which the stream has told the peer, or will once it is flushed (RFC 8446
    /// section 6.2). `None`: nothing more could be said, or the caller has said it by
    /// [`send_alert`](crate::Stream::send_alert). Every further call answers with the same error,
    /// and the alert is sent but once.
    pub fn alert(&self) -> Option<AlertDescription> {
        self.told
    }
}

impl From<Error> for RecordError {
    fn from(error: Error) -> Self {
        Self::new(label(&error), error.to_string())
    }
}

impl From<RecordError> for io::Error {
    fn from(error: RecordError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
