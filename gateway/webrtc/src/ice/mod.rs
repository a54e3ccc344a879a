//! ICE (RFC 8445, trickle RFC 8838, consent RFC 7675) for one stream, sans-IO: one or two
//! components, host candidates, full or lite, in both roles.
//!
//! [`Agent`] is the whole interface. What it is told: the party's credentials and candidates as
//! signalling brings them, datagrams, the time. What it says ([`Output`]): datagrams to send, from
//! which addresses media may come, to which it goes, and that there is no way or no consent any
//! more. It opens no socket, resolves no name (`.local` never gets here), gathers nothing.
//!
//! A message without right FINGERPRINT and MESSAGE-INTEGRITY changes nothing but a counter and is
//! not answered ([`Refusal`] says why). All that a party can make grow is bounded (`limits`).
//!
//! | module | holds |
//! |---|---|
//! | `agent`, `words` | the interface; restarts: which session is in force |
//! | `session` | one pair of credentials: the party's checks, answers to ours |
//! | `asking`, `roles` | our checks; who controls |
//! | `checklist` | pairs of a session, in order and within bounds |
//! | `clock` | what is due when: pacing, retransmission, patience |
//! | `conclude` | nomination, selection, what is valid |
//! | `consent` | RFC 7675 |
//! | `pair` | one pair |
//! | `replay` | nominations that a lite agent knows again |
//! | `stun`, `credentials`, `candidate`, `random` | words of the protocol |

mod agent;
mod asking;
mod candidate;
mod checklist;
mod clock;
mod conclude;
mod consent;
mod credentials;
mod limits;
mod pair;
mod random;
mod refusal;
mod replay;
mod roles;
mod session;
mod stun;
mod words;

pub use agent::Agent;
pub use candidate::{Component, LocalCandidate};
pub use credentials::{CREDENTIAL_BYTES, credentials};
pub use limits::{MAX_REMOTE_CANDIDATES, MAX_VALID_SOURCES};
pub use random::Seed;
pub use refusal::{Counters, Refusal};
pub use words::{
    AgentError, Implementation, Output, RemoteParameters, Restart, Role, Settings, State, Transmit,
};
