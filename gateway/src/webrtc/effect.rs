//! What a leg wants done: its agents decide, the thread does.

use std::net::SocketAddr;
use std::time::Duration;

use srtp::Profile;
use webrtc::dtls::{Failure, SignRequest};

use super::plan::{DtlsRole, Epoch, IceGeneration, LegNewsKind};
use crate::relay::command::IcePath;
use crate::relay::key_plan::HandshakeKeys;
use crate::relay::uplink::Component;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send this from the component's socket.
    Send { component: Component, to: SocketAddr, bytes: Vec<u8> },
    /// The worker is to take media from there, and send it there.
    Path { generation: IceGeneration, path: IcePath },
    /// The worker is to use these keys.
    Secure { epoch: Epoch, keys: Box<HandshakeKeys> },
    /// A key elsewhere is to sign.
    Sign { epoch: Epoch, request: SignRequest },
    /// A handshake has ended, and its place is free.
    Handshake(HandshakeEnd),
    /// A handshake's place is free, though it goes on.
    PlaceFree,
    /// Control is to know.
    News(LegNewsKind),
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HandshakeEnd {
    pub(super) result: HandshakeResult,
    pub(super) role: DtlsRole,
    /// From its first step.
    pub(super) took: Duration,
    pub(super) place: Place,
}

/// Whether a handshake has a place among those that may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not before the party has answered what we sent.
    None,
    Held,
}

/// What a handshake came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeResult {
    /// Keys, under this profile.
    Secured(Profile),
    /// It failed.
    Failed(FailureClass),
    /// The leg ended or began another one.
    Abandoned,
}

/// Failures, as metrics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureClass {
    WrongFingerprint,
    NoCertificate,
    CertificateTooLarge,
    NoCommonProfile,
    TimedOut,
    Alert,
    NotSigned,
    Protocol,
}

impl FailureClass {
    /// The metric label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WrongFingerprint => "wrong_fingerprint",
            Self::NoCertificate => "no_certificate",
            Self::CertificateTooLarge => "certificate_too_large",
            Self::NoCommonProfile => "no_common_profile",
            Self::TimedOut => "timed_out",
            Self::Alert => "alert",
            Self::NotSigned => "not_signed",
            Self::Protocol => "protocol",
        }
    }
}

impl FailureClass {
    /// Whether a datagram from nobody knows whom can bring it about: it comes before the party's
    /// certificate, and nothing protects what is said until then.
    pub(super) fn may_be_forged(self) -> bool {
        match self {
            Self::TimedOut | Self::Alert | Self::NoCommonProfile | Self::Protocol => true,
            Self::WrongFingerprint
            | Self::NoCertificate
            | Self::CertificateTooLarge
            | Self::NotSigned => false,
        }
    }
}

impl From<Failure> for FailureClass {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::WrongFingerprint => Self::WrongFingerprint,
            Failure::NoCertificate => Self::NoCertificate,
            Failure::CertificateTooLarge => Self::CertificateTooLarge,
            Failure::NoCommonProfile => Self::NoCommonProfile,
            Failure::TimedOut => Self::TimedOut,
            Failure::Alert(_) => Self::Alert,
            Failure::NotSigned => Self::NotSigned,
            Failure::Protocol(_) => Self::Protocol,
        }
    }
}
