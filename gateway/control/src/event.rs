//! What happened, as the admin API's stream and the log tell it.

use serde::{Deserialize, Serialize};

/// Something that an operator wants to know afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up from 1 without gaps while the process lives.
    pub seq: u64,
    /// Milliseconds since 1970 (UTC).
    pub time: u64,
    /// What.
    pub kind: EventKind,
    /// To what: a worker, a call, a file.
    pub object: String,
    /// The state before, where there was one.
    pub from: String,
    /// The state now.
    pub to: String,
    /// Why.
    pub reason: String,
    /// Whose decision: `kernel`, `config`, `operator`, `signalling`, `gateway`,
    /// `tls`, `party`.
    pub owner: String,
}

/// Kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// Something runs in a worse place than asked for.
    #[serde(rename = "placement.fallback")]
    PlacementFallback,
    /// An SRTP leg should get new keys: its key nears its limit, or the operator wishes it. An offer
    /// to its party brings them.
    #[serde(rename = "srtp.rekey_due")]
    SrtpRekeyDue,
    /// We send to an SRTP leg under the next of our keys that its party knows by MKI: the operator
    /// wished it, or the one before neared its limit.
    #[serde(rename = "srtp.rekeyed")]
    SrtpRekeyed,
    /// A leg of a call goes without something that SRTP should give.
    #[serde(rename = "srtp.weakened")]
    SrtpWeakened,
    /// An SA pair has new keys.
    #[serde(rename = "sa.rotated")]
    SaRotated,
    /// A rotation was undone, or stands half-way; the reason says which.
    #[serde(rename = "sa.rotation_failed")]
    SaRotationFailed,
    /// An SA nears its soft limit, or is past it.
    #[serde(rename = "sa.rotation_due")]
    SaRotationDue,
    /// An SA is gone that nobody of us removed: a hard limit, a link down, another program.
    #[serde(rename = "sa.lost")]
    SaLost,
    /// An SA of another program's came, went or was changed.
    #[serde(rename = "sa.foreign")]
    SaForeign,
    /// Clear text that fits a pair's selectors may pass, or is refused again.
    #[serde(rename = "sa.unguarded")]
    SaUnguarded,
    /// The offload agent does not answer.
    #[serde(rename = "agent.lost")]
    AgentLost,
    /// The offload agent answers again.
    #[serde(rename = "agent.restored")]
    AgentRestored,
    /// Keys from before a restart were given up.
    #[serde(rename = "state.distrusted")]
    StateDistrusted,
    /// TLS connections got new keys, by a peer's wish, an operator's or because of their limit.
    #[serde(rename = "tls.keyupdate")]
    TlsKeyUpdate,
    /// A TLS listener serves with what was read again, or begins to.
    #[serde(rename = "tls.reloaded")]
    TlsReloaded,
    /// A TLS listener could not be started, or not be given what was read again.
    #[serde(rename = "tls.reload_failed")]
    TlsReloadFailed,
    /// Session tickets are sealed with a new key.
    #[serde(rename = "tls.tickets_rotated")]
    TlsTicketsRotated,
    /// A certificate is about to expire, or has; told once for each step.
    #[serde(rename = "tls.certificate_expiring")]
    TlsCertificateExpiring,
    /// An upstream of a TLS listener cannot be reached.
    #[serde(rename = "tls.upstream_down")]
    TlsUpstreamDown,
    /// It can be reached again.
    #[serde(rename = "tls.upstream_up")]
    TlsUpstreamUp,
    /// ICE found no way to a leg's party or lost it, or DTLS brought no keys; not each is told.
    #[serde(rename = "webrtc.leg_failed")]
    WebRtcLegFailed,
    /// New legs are shown another certificate.
    #[serde(rename = "webrtc.certificate_renewed")]
    WebRtcCertificateRenewed,
    /// A limit refused something.
    #[serde(rename = "limit.reached")]
    LimitReached,
    /// A worker stopped answering.
    #[serde(rename = "worker.stalled")]
    WorkerStalled,
    /// A stalled worker answers again.
    #[serde(rename = "worker.recovered")]
    WorkerRecovered,
    /// The configuration was read again.
    #[serde(rename = "config.reloaded")]
    ConfigReloaded,
    /// The configuration was read again and refused; the old one stays.
    #[serde(rename = "config.refused")]
    ConfigRefused,
    /// Somebody may not use the admin API, or not so; told once in a while.
    #[serde(rename = "admin.refused")]
    AdminRefused,
    /// No new calls are taken.
    #[serde(rename = "drain.started")]
    DrainStarted,
}

impl EventKind {
    /// The name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PlacementFallback => "placement.fallback",
            Self::SrtpRekeyDue => "srtp.rekey_due",
            Self::SrtpRekeyed => "srtp.rekeyed",
            Self::SrtpWeakened => "srtp.weakened",
            Self::SaRotated => "sa.rotated",
            Self::SaRotationFailed => "sa.rotation_failed",
            Self::SaRotationDue => "sa.rotation_due",
            Self::SaLost => "sa.lost",
            Self::SaForeign => "sa.foreign",
            Self::SaUnguarded => "sa.unguarded",
            Self::AgentLost => "agent.lost",
            Self::AgentRestored => "agent.restored",
            Self::StateDistrusted => "state.distrusted",
            Self::TlsKeyUpdate => "tls.keyupdate",
            Self::TlsReloaded => "tls.reloaded",
            Self::TlsReloadFailed => "tls.reload_failed",
            Self::TlsTicketsRotated => "tls.tickets_rotated",
            Self::TlsCertificateExpiring => "tls.certificate_expiring",
            Self::TlsUpstreamDown => "tls.upstream_down",
            Self::TlsUpstreamUp => "tls.upstream_up",
            Self::WebRtcLegFailed => "webrtc.leg_failed",
            Self::WebRtcCertificateRenewed => "webrtc.certificate_renewed",
            Self::LimitReached => "limit.reached",
            Self::WorkerStalled => "worker.stalled",
            Self::WorkerRecovered => "worker.recovered",
            Self::ConfigReloaded => "config.reloaded",
            Self::ConfigRefused => "config.refused",
            Self::AdminRefused => "admin.refused",
            Self::DrainStarted => "drain.started",
        }
    }
}

/// Recent events, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventList {
    /// As many as are kept.
    pub events: Vec<Event>,
}
