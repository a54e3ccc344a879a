//! TLS listeners: what they serve with, where their connections are, and what can be asked of them.
//!
//! Nothing secret is in here: a key is named by its source, a certificate by its fingerprint.
//! Directions are the TLS socket's: [`Direction::Inbound`] is what we open, `Outbound` what we seal.

use std::net::SocketAddr;

use crypto_offload::{Direction, Effective, Placement};
use serde::{Deserialize, Serialize};

/// Every listener, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TlsStatus {
    /// Threads that serve TLS; none where there is no listener.
    pub threads: usize,
    /// What is to be done about kTLS: `auto`, `off` or `require`.
    pub kernel: String,
    /// Why no connection can be in the kernel; `None`: some can, see the connections' own reasons.
    pub kernel_problem: Option<String>,
    /// The listeners.
    pub listeners: Vec<TlsListenerStatus>,
    /// With `?connections=true`: those that are up, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<TlsConnection>,
    /// There are more connections than were listed: ask with `&after=ID` of the last one.
    #[serde(default)]
    pub more: bool,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TlsListenerStatus {
    /// As configured.
    pub name: String,
    /// What it does.
    pub mode: TlsMode,
    /// Where it really listens.
    pub listen: SocketAddr,
    /// Whether it serves.
    pub state: TlsListenerState,
    /// Why it does not, or why its last reload was refused while it goes on as before.
    pub problem: Option<String>,
    /// What it shows of itself.
    pub certificates: Vec<TlsCertificate>,
    /// Where it connects to, in order of preference.
    pub upstreams: Vec<TlsUpstream>,
    /// Connections that are up.
    pub connections: u64,
    /// Handshakes that are under way.
    pub handshakes: u64,
    /// Where the connections that are up are, and why.
    pub placements: Vec<TlsPlacementCount>,
}

/// Which way TLS goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// TLS in, TCP to the upstream.
    Terminate,
    /// TCP in, TLS to the upstream.
    Originate,
}

impl TlsMode {
    /// The name, as in JSON and in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Originate => "originate",
        }
    }
}

/// Whether a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsListenerState {
    /// It does.
    Serving,
    /// It could not be started: nothing listens there.
    Failed,
    /// It takes no new connections; those that are up go on.
    Draining,
}

impl TlsListenerState {
    /// The name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Failed => "failed",
            Self::Draining => "draining",
        }
    }
}

/// A certificate that is shown to peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsCertificate {
    /// For which names it is chosen; empty: for none in particular.
    pub names: Vec<String>,
    /// Valid from: seconds since 1970 (UTC).
    pub not_before: u64,
    /// Valid until: seconds since 1970 (UTC).
    pub not_after: u64,
    /// SHA-256 of the DER of the first certificate of the chain, in lower-case hexadecimal digits.
    pub fingerprint: String,
    /// Where it came from: its file, or the directory it was found in.
    pub source: String,
    /// The kind of its key, and whether a token holds it.
    pub key: String,
    /// Until when its stapled OCSP answer may be shown, in seconds since 1970; `None`: none is.
    pub ocsp_until: Option<u64>,
}

/// An address that a listener connects to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TlsUpstream {
    /// As configured.
    pub address: SocketAddr,
    /// It is tried: it answered the last time, or its time to be tried again has come.
    pub up: bool,
    /// Connections that are up to it.
    pub connections: u64,
    /// Connections to it that could not be made, since the start.
    pub failures: u64,
    /// The last failure; `None` while it is up.
    pub reason: Option<String>,
}

/// Connections of one kind in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPlacementCount {
    /// What we open, or what we seal.
    pub direction: Direction,
    /// Where its records are.
    pub placement: Placement,
    /// Why not in a better place; `None`: where it was asked for.
    pub reason: Option<String>,
    /// How many are up.
    pub connections: u64,
}

/// One connection, after its handshake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TlsConnection {
    /// Counts up while the process lives.
    pub id: u64,
    /// The listener's name.
    pub listener: String,
    /// Who connected to us.
    pub peer: SocketAddr,
    /// Whom we connected to.
    pub upstream: SocketAddr,
    /// Since it was accepted.
    pub seconds: f64,
    /// `1.2` or `1.3`.
    pub version: String,
    /// The cipher suite, as IANA names it.
    pub suite: String,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The protocol that was agreed (ALPN).
    pub alpn: Option<String>,
    /// It went on from an earlier one's keys.
    pub resumed: bool,
    /// Where what we open is.
    pub inbound: Effective,
    /// Where what we seal is.
    pub outbound: Effective,
    /// Application data that we opened, bytes.
    pub bytes_in: u64,
    /// Application data that we sealed, bytes.
    pub bytes_out: u64,
    /// New keys that either side asked for (RFC 8446 section 4.6.3).
    pub key_updates: u64,
}

/// Asks for certificates, keys, revocation lists and OCSP answers to be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsReloadRequest {
    /// Only this listener's.
    #[serde(default)]
    pub listener: Option<String>,
    /// Read and check them, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of it, listener by listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsReloadReport {
    /// In the order of the configuration.
    pub listeners: Vec<TlsReloaded>,
}

/// One listener's reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsReloaded {
    /// Its name.
    pub listener: String,
    /// How it went.
    pub result: TlsReloadResult,
    /// Why it was refused; otherwise what changed.
    pub reason: String,
}

/// How a reload went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsReloadResult {
    /// New connections get what was read; those that are up go on.
    Reloaded,
    /// What was read is what was in force.
    Unchanged,
    /// It serves now, and did not before.
    Started,
    /// It is no longer configured.
    Stopped,
    /// Something is wrong with what was read: all of the old stays in force.
    Refused,
}

impl TlsReloadResult {
    /// The name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reloaded => "reloaded",
            Self::Unchanged => "unchanged",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Refused => "refused",
        }
    }
}

/// Asks for a new key for session tickets (RFC 8446 section 4.6.1, RFC 5077).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsTicketsRequest {
    /// Tell what would be done, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Ticket keys after a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsTicketsReport {
    /// Listeners whose tickets are sealed with a new key.
    pub listeners: Vec<String>,
    /// For so long the last key still opens tickets, in seconds.
    pub old_opens_for: u64,
}

/// Asks for new keys on connections that are up (TLS 1.3, RFC 8446 section 4.6.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsKeyUpdateRequest {
    /// Only this listener's connections.
    #[serde(default)]
    pub listener: Option<String>,
    /// Only this connection.
    #[serde(default)]
    pub connection: Option<u64>,
    /// Tell how many it would be, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// How many connections were asked for new keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsKeyUpdateReport {
    /// They send under new keys before their next record, and their peers are asked to.
    pub updated: u64,
    /// TLS 1.2 knows no such thing: those keep their keys.
    pub not_possible: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_a_request_asks_for_everything_and_does_it() {
        let request: TlsKeyUpdateRequest = serde_json::from_str("{}").unwrap();
        assert_eq!(request, TlsKeyUpdateRequest::default());
        assert!(!request.dry_run);
        assert!(serde_json::from_str::<TlsReloadRequest>(r#"{"listner":"sip"}"#).is_err());
    }

    #[test]
    fn words_are_named_alike_in_json_and_for_people() {
        for result in [
            TlsReloadResult::Reloaded,
            TlsReloadResult::Unchanged,
            TlsReloadResult::Started,
            TlsReloadResult::Stopped,
            TlsReloadResult::Refused,
        ] {
            assert_eq!(serde_json::to_value(result).unwrap(), result.name());
        }
        for state in
            [TlsListenerState::Serving, TlsListenerState::Failed, TlsListenerState::Draining]
        {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for mode in [TlsMode::Terminate, TlsMode::Originate] {
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
        }
    }
}
