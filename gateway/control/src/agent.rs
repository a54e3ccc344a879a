//! What `gateway` asks of `offload-agent`, and what that answers.
//!
//! One JSON document a message, over a Unix SEQPACKET socket; a connection's answers come in the
//! order of its requests. Every request about a pair is idempotent by name and epoch: repeated
//! after a lost answer or a restart, it answers as it did and changes nothing.
//!
//! The order that loses no packet (the agent does not enforce it, but refuses what would leave
//! outbound traffic without an SA):
//!
//! 1. `Prepare` at both sides, each handing its offer to the other
//! 2. `InstallOutbound` with the other's offer
//! 3. `Switch`
//! 4. `RetireOutbound` of the old epoch, and once the overlap is over `RetireInbound`
//!
//! `Discard` undoes 1 and 2 for an epoch that is not active; `Switch` to the old epoch undoes 3.

use crypto_offload::{Capabilities, Effective, Epoch, ErrorClass, PairName, SaId, SaPair};
use serde::{Deserialize, Serialize};

use crate::{Event, ForeignList, KeyOffer, PairList, PairStatus, PlanReport};

/// Checked in [`Request::Hello`]; raised when a change would break the other side.
pub const AGENT_VERSION: u32 = 1;

/// Bytes of the largest message, either way. Lists are paged to stay below it.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// Where the agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/postern/agent.sock";

/// From the gateway to the agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// First on each connection. Answer: [`Response::Hello`].
    Hello {
        /// [`AGENT_VERSION`].
        version: u32,
        /// The highest [`AgentHello::generation`] that the asker has seen of this agent: one that
        /// answers less has had its state rolled back, and gives up its keys.
        seen_generation: Option<u64>,
    },
    /// Ask the engines again. Answer: [`Response::Capabilities`].
    Probe,
    /// What was last found out. Answer: [`Response::Capabilities`].
    Capabilities,
    /// Answer: [`Response::Plan`].
    Plan {
        /// Need not be defined.
        pair: Box<SaPair>,
    },
    /// Define a pair, or change what of it may change while it has SAs. Answer:
    /// [`Response::Pair`].
    Define {
        /// Whole.
        pair: Box<SaPair>,
    },
    /// Forget a pair with its SAs and policies. Answer: [`Response::Done`].
    Undefine {
        /// Unknown ones are no error.
        name: PairName,
    },
    /// Choose an SPI and a key (or take those given), and install the inbound SA. Answer:
    /// [`Response::Prepared`].
    Prepare {
        /// Defined before.
        name: PairName,
        /// New: above every one that was. Known: the answer is repeated.
        epoch: Epoch,
        /// Keys that people have agreed on by hand.
        given: Option<KeyOffer>,
    },
    /// Install the outbound SA, unused. Answer: [`Response::Installed`].
    InstallOutbound {
        /// The pair.
        name: PairName,
        /// Prepared before.
        epoch: Epoch,
        /// The peer's.
        offer: KeyOffer,
    },
    /// Send outbound traffic through this epoch's SA, in one step. Answer: [`Response::Done`].
    Switch {
        /// The pair.
        name: PairName,
        /// Has an outbound SA.
        epoch: Epoch,
    },
    /// Remove an outbound SA that is not in use. Answer: [`Response::Retired`].
    RetireOutbound {
        /// The pair.
        name: PairName,
        /// Not the active one.
        epoch: Epoch,
    },
    /// Remove an inbound SA. Answer: [`Response::Retired`].
    RetireInbound {
        /// The pair.
        name: PairName,
        /// Not the active one.
        epoch: Epoch,
    },
    /// Remove both SAs of an epoch that is not active. Answer: [`Response::Done`].
    Discard {
        /// The pair.
        name: PairName,
        /// Not the active one.
        epoch: Epoch,
    },
    /// Answer: [`Response::Pairs`].
    List {
        /// From the one after this name on.
        after: Option<PairName>,
        /// At most; the agent may answer with fewer.
        limit: usize,
    },
    /// Answer: [`Response::Pair`].
    Show {
        /// The pair.
        name: PairName,
    },
    /// SAs that are not ours. Answer: [`Response::Foreign`].
    Foreign {
        /// From the one after this on.
        after: Option<SaId>,
        /// At most.
        limit: usize,
    },
    /// Counters of the engines. Answer: [`Response::Statistics`].
    Statistics,
    /// What happened. Answer: [`Response::Events`], at once where there is something.
    Events {
        /// What is known already.
        after: u64,
        /// How long to wait for something new; at most 60,000.
        wait_ms: u64,
    },
}

/// From the agent to the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// To `Hello`.
    Hello(AgentHello),
    /// One list for each engine.
    Capabilities {
        /// Its name and what it can do.
        engines: Vec<(String, Capabilities)>,
    },
    /// To `Plan`.
    Plan(PlanReport),
    /// Nothing to tell.
    Done,
    /// To `Prepare`.
    Prepared {
        /// For the peer.
        offer: KeyOffer,
        /// Where the inbound SA is.
        placement: Effective,
    },
    /// To `InstallOutbound`.
    Installed {
        /// Where the outbound SA is.
        placement: Effective,
    },
    /// To the two that retire: the SA's last counters, also when it was retired before.
    Retired {
        /// Packets that it sealed or opened in all; `None` where nobody knows any more.
        packets: Option<u64>,
    },
    /// To `List`.
    Pairs(PairList),
    /// To `Define` and `Show`.
    Pair(Box<PairStatus>),
    /// To `Foreign`.
    Foreign(ForeignList),
    /// Engine, name, value.
    Statistics {
        /// As the engines name them.
        counters: Vec<(String, String, u64)>,
    },
    /// To `Events`, oldest first.
    Events {
        /// Their `seq` counts within this run of the agent.
        events: Vec<Event>,
    },
    /// To any.
    Refused(AgentError),
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHello {
    /// [`AGENT_VERSION`].
    pub version: u32,
    /// Its release.
    pub release: String,
    /// Its process.
    pub pid: u32,
    /// Counts the agent's starts on this state directory; never falls.
    pub generation: u64,
    /// Its engines, best first.
    pub engines: Vec<String>,
    /// Why keys from before this start were given up, if they were.
    pub distrusted: Option<String>,
}

/// Why the agent did not do it. Nothing of what was asked is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", mended_by(hint.as_deref()))]
pub struct AgentError {
    /// What kind.
    pub code: AgentErrorCode,
    /// Operation, object and reason.
    pub message: String,
    /// The pair, the SA or the field.
    #[serde(rename = "where")]
    pub place: String,
    /// The setting or command that mends it.
    pub hint: Option<String>,
}

/// Whoever shows an error alone shows what mends it, too.
fn mended_by(hint: Option<&str>) -> String {
    hint.map(|hint| format!("; {hint}")).unwrap_or_default()
}

/// Kinds of [`AgentError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentErrorCode {
    /// An engine's answer.
    Engine(ErrorClass),
    /// No pair has that name.
    UnknownPair,
    /// The epoch was never prepared, or is gone.
    UnknownEpoch,
    /// An epoch that is not above those that were.
    StaleEpoch,
    /// It would leave outbound traffic without an SA, or takes what is in use.
    InUse,
    /// Another pair has overlapping selectors, or the same name and other terms.
    Conflict,
    /// A key that was used before.
    KeyReused,
    /// It makes no sense; the message says what.
    Invalid,
    /// The agent speaks another version.
    VersionMismatch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_shown_alone_says_what_mends_it() {
        let error = AgentError {
            code: AgentErrorCode::Conflict,
            message: "it is in use".to_owned(),
            place: "spi".to_owned(),
            hint: Some("choose another SPI".to_owned()),
        };
        assert_eq!(error.to_string(), "it is in use; choose another SPI");
        assert_eq!(AgentError { hint: None, ..error }.to_string(), "it is in use");
    }
}
