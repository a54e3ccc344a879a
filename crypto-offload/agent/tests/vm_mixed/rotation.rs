//! The verbs of a rotation in their order, each done at both sides before the next.

use anyhow::{Context, Result};
use crypto_offload::{Epoch, PairName};
use gateway_control::{KeyOffer, agent::Request};

use crate::agent::Agent;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Prepare,
    InstallOutbound,
    Switch,
    RetireOutbound,
    RetireInbound,
}

pub(crate) const VERBS: [Verb; 5] =
    [Verb::Prepare, Verb::InstallOutbound, Verb::Switch, Verb::RetireOutbound, Verb::RetireInbound];

impl Verb {
    /// Asks one side; the old epoch is the one before. `offers` holds what the sides have offered,
    /// the left one's first, until the other has taken it.
    pub(crate) fn ask(
        self,
        agent: &Agent,
        name: &PairName,
        epoch: u64,
        offers: &mut Vec<KeyOffer>,
    ) -> Result<()> {
        let (name, old) = (name.clone(), Epoch(epoch - 1));
        let is_first = old.0 == 0;
        match self {
            Self::Prepare => offers.push(agent.prepare(&name, epoch)?.0),
            // The left side comes first, and takes the right one's.
            Self::InstallOutbound => {
                let offer = offers.pop().context("an offer")?;
                agent.install_outbound(&name, epoch, offer)?;
            }
            Self::Switch => agent.switch(&name, epoch)?,
            Self::RetireOutbound | Self::RetireInbound if is_first => {}
            Self::RetireOutbound => drop(agent.ask(&Request::RetireOutbound { name, epoch: old })?),
            Self::RetireInbound => drop(agent.ask(&Request::RetireInbound { name, epoch: old })?),
        }
        Ok(())
    }
}
