//! What goes into an agent and what comes out of it.

use std::net::SocketAddr;
use std::time::Instant;

use ng::sdp::IceCredentials;

use super::candidate::{Component, LocalCandidate};
use super::random::Seed;

/// Whether an agent checks, or only answers checks (RFC 8445 section 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 8445 section 4 says what they are")]
pub enum Implementation {
    Full,
    Lite,
}

/// Who nominates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 8445 section 4 says what they are")]
pub enum Role {
    Controlling,
    Controlled,
}

impl Role {
    /// The party's.
    pub fn other(self) -> Self {
        match self {
            Self::Controlling => Self::Controlled,
            Self::Controlled => Self::Controlling,
        }
    }
}

/// What an agent is made of.
#[derive(Debug)]
pub struct Settings {
    /// What we are.
    pub implementation: Implementation,
    /// As signalling settles it (RFC 8445 section 6.1.1): the offerer's is controlling, unless lite.
    pub role: Role,
    /// Ours, fresh: see [`credentials`](super::credentials()).
    pub local: IceCredentials,
    /// Our sockets, all that there will be; at most 16, of both components and families.
    pub candidates: Vec<LocalCandidate>,
    /// What transactions and tie-breakers follow from.
    pub seed: Seed,
}

/// The party as its SDP names it.
#[derive(Clone, Debug)]
pub struct RemoteParameters {
    /// The party's.
    pub credentials: IceCredentials,
    /// What it is: lite with `a=ice-lite`.
    pub implementation: Implementation,
}

/// A restart (RFC 8445 section 9).
#[derive(Debug)]
pub struct Restart {
    /// What we are from now on: a restart alone can change it.
    pub implementation: Implementation,
    /// Ours, fresh.
    pub local: IceCredentials,
    /// Settled anew: the restart's offerer controls, unless lite.
    pub role: Role,
}

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The party's credentials are not known yet.
    New,
    /// Checks are under way.
    Checking,
    /// Every component has a selected pair.
    Connected,
    /// It had; consent ran out.
    Lost,
    /// There is no way.
    Failed,
}

/// What an agent wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// All remote addresses that media of a component may come from now, the best first; at most
    /// [`MAX_VALID_SOURCES`](super::MAX_VALID_SOURCES). Replaces the last.
    Valid {
        /// Of which component.
        component: Component,
        /// None: from nowhere.
        sources: Vec<SocketAddr>,
        /// As many others at most, from which the party has checked us while our own check is still
        /// under way: with our answer it may send media from there. Nothing is to be sent to them.
        heard: Vec<SocketAddr>,
    },
    /// Send a component's media there. Holds until the next, or until consent is lost.
    Selected {
        /// Of which component.
        component: Component,
        /// Our address, from which.
        local: SocketAddr,
        /// The party's.
        remote: SocketAddr,
    },
    /// No pair works, and none will (RFC 8445 section 8.1.2). Only a restart helps. A path from
    /// before a restart goes on as long as there is consent.
    Failed,
    /// Stop sending (RFC 7675 section 5.1): a component's selected pair was silent for 30 seconds
    /// and no other is nominated. What another component still has follows as selected again. The
    /// party may come back on another address.
    ConsentLost,
    /// Nothing more now; call [`Agent::handle_timeout`](super::Agent::handle_timeout) then. `None`: only input brings more.
    Timeout(Option<Instant>),
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From which component's socket,
    pub component: Component,
    /// bound to this address of [`Settings::candidates`].
    pub from: SocketAddr,
    /// The destination.
    pub to: SocketAddr,
    /// The payload, below 700 bytes.
    pub bytes: Box<[u8]>,
}

/// What signalling asked cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// RFC 8839 section 5.4 has other lengths and characters.
    #[error("malformed ICE credentials")]
    Credentials,
    /// Those of before a restart, or our own: what was said in one session must mean nothing in another.
    #[error("ICE credentials that were used before")]
    ReusedCredentials,
    /// A candidate nothing can be sent to: no port, unspecified, multicast.
    #[error("a candidate that nothing can be sent to")]
    Candidate,
    /// More candidates than we keep.
    #[error("too many ICE candidates")]
    TooMany,
}
