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
//! | `peers` | the peers' gateways and what is asked of them |
//! | `slots` | what is being done to each pair right now |
//! | `drive`, `rotate` | rotations that we drive |
//! | `respond` | rotations that a peer drives |
//! | `renew` | what a restart of an agent means for either |
//! | `by_hand`, `carried`, `exchange` | keys that people bring, offers in sealed files |
//! | `schedule` | rotations that nobody asked for |
//! | `audience` | who is told how far a rotation is |
//! | `define` | pairs of the configuration and of the admin API |
//! | `routes`, `operations`, `reply` | the admin API |
//! | `log`, `tally`, `traffic` | what rotations came to, what pairs carried |

pub(crate) mod agent;
mod audience;
mod by_hand;
mod carried;
mod define;
mod drive;
mod exchange;
mod log;
mod operations;
mod peers;
mod renew;
mod reply;
mod respond;
mod rotate;
pub(crate) mod routes;
mod schedule;
mod slots;
pub(crate) mod tally;
#[cfg(test)]
mod tests;
pub(crate) mod traffic;

use std::process::Child;
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, SemaphorePermit, watch};

use self::agent::Agent;
use self::agent::spawn::{self, SpawnError};
use self::exchange::Identity;
pub(crate) use self::exchange::IdentityError;
use self::log::RotationLog;
use self::operations::Operations;
use self::peers::Peers;
use self::schedule::Schedule;
use self::slots::Slots;
use self::tally::Tally;
use crate::config::ipsec::Rotate;
use crate::config::{self, Config};
use crate::events::Events;

/// The whole of it; clones share it.
#[derive(Clone)]
pub(crate) struct Ipsec(Arc<Shared>);

struct Shared {
    gateway_id: String,
    agent: Agent,
    peers: Peers,
    slots: Slots,
    operations: Operations,
    log: RotationLog,
    exchange: Identity,
    events: Events,
    tally: Tally,
    /// How many requests may be on their way to peers.
    places: Semaphore,
    configured: Mutex<Vec<config::ipsec::Sa>>,
    rotate: watch::Sender<Rotate>,
}

/// Starts an agent where the configuration asks for one, none answers, and we may.
pub(crate) fn start_agent(config: &config::Ipsec) -> Result<Option<Child>, SpawnError> {
    match config.agent.path() {
        Some(socket) if config.spawn && config.is_configured() => spawn::ensure(&socket),
        _ => Ok(None),
    }
}

impl Ipsec {
    /// Connects to the agent and begins to look after the SAs.
    ///
    /// # Errors
    /// When the state directory has no key for exchange files that could be used.
    pub(crate) fn start(config: &Config, events: &Events) -> Result<Self, IdentityError> {
        let state = config.state.directory();
        let exchange = Identity::load(state)?;
        let (agent, news) = match config.ipsec.agent.path() {
            Some(socket) => {
                let (agent, news) = Agent::connect(&socket, state, events);
                (agent, Some(news))
            }
            None => (Agent::none(), None),
        };
        let ipsec = Self(Arc::new(Shared {
            gateway_id: define::gateway_id(config),
            agent,
            peers: Peers::default(),
            slots: Slots::default(),
            operations: Operations::new(),
            log: RotationLog::open(state),
            exchange,
            events: events.clone(),
            tally: Tally::default(),
            places: Semaphore::new(AT_PEERS),
            configured: Mutex::new(config.ipsec.sa.clone()),
            rotate: watch::Sender::new(config.ipsec.rotate),
        }));
        ipsec.0.peers.replace(define::peers(config));
        if let Some(news) = news {
            let rotate = ipsec.0.rotate.subscribe();
            tokio::spawn(Schedule::new(ipsec.clone(), news, rotate).run());
        }
        Ok(ipsec)
    }

    /// One without an agent or peers.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        let mut config = Config::default();
        config.ipsec.agent = config::ipsec::AgentSocket::Off;
        Self::start(&config, &Events::new()).unwrap()
    }

    pub(super) fn gateway_id(&self) -> &str {
        &self.0.gateway_id
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.0.agent
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.0.peers
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.0.slots
    }

    pub(super) fn operations(&self) -> &Operations {
        &self.0.operations
    }

    pub(super) fn log(&self) -> &RotationLog {
        &self.0.log
    }

    pub(super) fn exchange(&self) -> &Identity {
        &self.0.exchange
    }

    pub(super) fn events(&self) -> &Events {
        &self.0.events
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// The numbers behind `/metrics`.
    pub(crate) async fn figures(&self) -> tally::Figures {
        let mut figures = self.0.tally.figures();
        figures.agent_up = matches!(self.0.agent.link(), agent::Link::Up);
        if figures.agent_up {
            // A page without them is better than none.
            figures.statistics = self.0.agent.statistics().await.unwrap_or_default();
        }
        figures
    }

    /// A place among the requests that are on their way to peers.
    pub(super) async fn peer_place(&self) -> Option<SemaphorePermit<'_>> {
        self.0.places.acquire().await.ok()
    }
}

/// Fewer than one address may have at the peer's listener, and enough: an answer takes the peer's
/// agent a millisecond.
const AT_PEERS: usize = 8;
