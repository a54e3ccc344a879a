//! What `query` says of a section's ICE and DTLS: the incumbent's flags, and under our own key
//! `postern` what those leave open, above all why a leg came to nothing.

use std::net::SocketAddr;

use crate::wire::Dict;

/// ICE of a media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceStatistics {
    /// How far it is.
    pub state: IceState,
    /// Which of the two nominates.
    pub controlling: Side,
    /// We only answer checks.
    pub lite: bool,
    /// The party only answers checks.
    pub peer_lite: bool,
    /// The party may name more candidates.
    pub trickle: bool,
    /// The pair in use: our address, the party's.
    pub selected: Option<(SocketAddr, SocketAddr)>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// How far ICE is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceState {
    /// The party has not said its credentials.
    Waiting,
    /// Checks are under way, or awaited.
    Checking,
    /// Every component has a pair.
    Connected,
    /// No pair works, or consent was lost.
    Failed,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We.
    Us,
    /// The party.
    Peer,
}

/// DTLS-SRTP of a media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsStatistics {
    /// How far it is.
    pub state: DtlsState,
    /// Whose ClientHello begins, once that is settled: ours makes us the incumbent's `active`.
    pub client: Option<Side>,
    /// The SRTP profile agreed.
    pub profile: Option<&'static str>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// How far a DTLS association is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsState {
    /// The party has not said its fingerprint.
    Waiting,
    /// The handshake is under way, or awaits its turn.
    Handshaking,
    /// Keys are in force, and the certificate fits the fingerprint.
    Secured,
    /// The handshake failed, or the party closed the association.
    Failed,
}

impl IceStatistics {
    /// The incumbent's words for a section.
    pub(super) fn flags(&self) -> impl Iterator<Item = &'static str> {
        let flags = [
            (true, "ICE"),
            (self.trickle, "trickle ICE"),
            (self.controlling == Side::Us, "ICE controlling"),
            (self.peer_lite, "ICE-lite peer"),
            (self.lite, "ICE-lite self"),
        ];
        flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name)
    }

    pub(super) fn dict(&self) -> Dict {
        let mut dict = Dict::default().with("state", self.state.name());
        if let Some((local, remote)) = self.selected {
            dict.push("local", local.to_string());
            dict.push("remote", remote.to_string());
        }
        push_reason(&mut dict, self.reason.as_ref());
        dict
    }
}

impl DtlsStatistics {
    /// The incumbent's words for a section.
    pub(super) fn flags(&self) -> impl Iterator<Item = &'static str> {
        let role = self.client.map(|side| match side {
            Side::Us => "DTLS role active",
            Side::Peer => "DTLS role passive",
        });
        std::iter::once("DTLS-SRTP").chain(role)
    }

    /// The incumbent's words for each of its streams.
    pub(super) fn stream_flags(&self) -> Option<&'static str> {
        (self.state == DtlsState::Secured).then_some("DTLS fingerprint verified")
    }

    pub(super) fn dict(&self) -> Dict {
        let mut dict = Dict::default().with("state", self.state.name());
        if let Some(profile) = self.profile {
            dict.push("profile", profile);
        }
        push_reason(&mut dict, self.reason.as_ref());
        dict
    }
}

impl IceState {
    /// As `query` and the admin API name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Checking => "checking",
            Self::Connected => "connected",
            Self::Failed => "failed",
        }
    }
}

impl DtlsState {
    /// As `query` and the admin API name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Handshaking => "handshaking",
            Self::Secured => "secured",
            Self::Failed => "failed",
        }
    }
}

fn push_reason(dict: &mut Dict, reason: Option<&String>) {
    if let Some(reason) = reason {
        dict.push("reason", reason.clone());
    }
}
