//! Who may ask what over TCP. Over the Unix socket everybody who can open it may everything.
//!
//! Operators have the whole API. A peer gateway has `/v1/peer/` and no more: it is another
//! machine, and what it could read or change elsewhere is none of its business. Anybody else,
//! though an authority vouches for them, has nothing.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use gateway_control::{ApiError, ErrorCode, EventKind};
use tokio::sync::watch;

use super::refuse;
use crate::config::Config;
use crate::events::{Events, Occurrence};
use crate::throttle::Throttle;

/// Whom the verified certificate of a request's sender names. In the extensions of every request
/// that came over TLS, and of no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerIdentity(pub(crate) String);

/// The other end of a connection, verified.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    /// `None`: its certificate names nobody.
    pub(crate) identity: Option<String>,
}

/// Who is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    operators: HashSet<String>,
    peers: HashSet<String>,
}

impl Access {
    pub(crate) fn of(config: &Config) -> Self {
        let operators = config.admin.tls.iter().flat_map(|tls| &tls.operators);
        let peers = config.ipsec.peer.iter().map(|peer| &peer.identity);
        Self {
            operators: operators.map(|identity| normal(identity)).collect(),
            peers: peers.map(|identity| normal(identity)).collect(),
        }
    }

    fn permits(&self, identity: &str, path: &str) -> bool {
        self.operators.contains(identity)
            || (self.peers.contains(identity) && path.starts_with(PEER_PATHS))
    }
}

/// As [`admin_client::identity_of`] says it: DNS names know no case, URIs do.
pub(crate) fn normal(identity: &str) -> String {
    match identity.contains(':') {
        true => identity.to_owned(),
        false => identity.to_ascii_lowercase(),
    }
}

/// Tells of refusals, but not as often as strangers like.
#[derive(Clone)]
pub(crate) struct Refusals {
    events: Events,
    throttle: Arc<Mutex<Throttle>>,
}

impl Refusals {
    pub(crate) fn new(events: Events) -> Self {
        Self { events, throttle: Arc::new(Mutex::new(Throttle::new(INTERVAL))) }
    }

    pub(crate) fn tell(&self, who: &str, reason: &str) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(others) = throttle.admit(Instant::now()) else { return };
        let reason = match others {
            0 => reason.to_owned(),
            others => format!("{reason}; and {others} more since the last such event"),
        };
        self.events.record(Occurrence {
            kind: EventKind::AdminRefused,
            object: who,
            from: "",
            to: "",
            reason: &reason,
            owner: "admin",
        });
    }
}

/// What decides on requests.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) access: watch::Receiver<Arc<Access>>,
    pub(crate) refusals: Refusals,
}

/// Lets a request through, with its sender's name, or says no.
pub(super) async fn admit(
    State(gate): State<Gate>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let access = Arc::clone(&gate.access.borrow());
    match caller.identity {
        Some(identity) if access.permits(&identity, path) => {
            request.extensions_mut().insert(PeerIdentity(identity));
            next.run(request).await
        }
        identity => {
            let who = identity.unwrap_or_else(|| "nobody".to_owned());
            let reason = format!("from {}: {} {path}", caller.address, request.method());
            gate.refusals.tell(&who, &reason);
            forbidden(&who, path)
        }
    }
}

fn forbidden(who: &str, path: &str) -> Response {
    refuse(ApiError {
        code: ErrorCode::Forbidden,
        message: format!("\"{who}\", whom your certificate names, may not do this"),
        place: path.to_owned(),
        hint: "the gateway's admin.tls.operators may do everything, an ipsec.peer's identity \
               what peers need"
            .to_owned(),
    })
}

/// As in [`gateway_control::path::PEER`].
const PEER_PATHS: &str = "/v1/peer/";

const INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use gateway_control::path;

    use super::*;

    #[test]
    fn a_peer_has_its_own_paths_an_operator_all_and_a_stranger_none() {
        let access = Access {
            operators: HashSet::from(["ops.example".to_owned()]),
            peers: HashSet::from(["gw-b.example".to_owned()]),
        };
        for (identity, path, expected) in [
            ("ops.example", path::STATUS, true),
            ("ops.example", path::PEER, true),
            ("gw-b.example", path::PEER, true),
            ("gw-b.example", path::STATUS, false),
            ("gw-b.example", path::SAS, false),
            ("ops.example", path::TLS_RELOAD, true),
            ("gw-b.example", path::TLS, false),
            ("gw-b.example", path::TLS_KEYUPDATE, false),
            ("gw-b.example", "/v1/peerless", false),
            ("stranger.example", path::PEER, false),
            ("", path::STATUS, false),
        ] {
            assert_eq!(access.permits(identity, path), expected, "{identity} {path}");
        }
        assert!(path::PEER.starts_with(PEER_PATHS));
    }

    #[test]
    fn refusals_are_told_once_an_interval_with_the_count_of_the_rest() {
        let events = Events::new();
        let refusals = Refusals::new(events.clone());
        for _ in 0..5 {
            refusals.tell("stranger.example", "GET /v1/status");
        }
        let told = events.after(0);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].kind, EventKind::AdminRefused);
    }
}
