//! The gateway's part in IPsec.
//!
//! It keeps no SA: those are the offload agent's, which outlives us. It carries out what the
//! rotation machine of `crypto-offload` decides, asks the agent and the peer's gateway for each
//! step, and repeats steps that may have been lost, which are idempotent by pair and epoch. It
//! answers the admin API's questions about SAs.
//!
//! | module | holds |
//! |---|---|
//! | `agent` | the connection to the offload agent |
//! | `operations`, `idempotency`, `reply` | what the admin API needs: progress, repetition, refusals |
//! | `exchange` | offers in sealed files, for peers without a connection to us |

#![allow(dead_code, reason = "wired by the next commits")]

pub(crate) mod agent;
mod exchange;
pub(crate) mod idempotency;
mod operations;
pub(crate) mod reply;

use std::process::Child;

use crate::config;
use agent::spawn::{self, SpawnError};

/// Starts an agent where the configuration asks for one, none answers, and we may.
pub(crate) fn start_agent(config: &config::Ipsec) -> Result<Option<Child>, SpawnError> {
    match config.agent.path() {
        Some(socket) if config.spawn && config.is_configured() => spawn::ensure(&socket),
        _ => Ok(None),
    }
}
