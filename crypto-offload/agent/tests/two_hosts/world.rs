//! Both hosts with an agent each, a device or none, and the pairs that are defined at both.

use anyhow::Result;
use crypto_offload::{Effective, Placement, PlacementPolicy, SaPair};

use super::{
    agent::Agent,
    ground::{self, Terms, bring_into_use, name, pair},
    hosts::{Hosts, Side},
    simulated::Device,
};

/// In the order in which it ends: an agent takes its SAs away, then their device may go.
pub(crate) struct World {
    agents: [Agent; 2],
    pub(crate) device: Option<Device>,
    pub(crate) hosts: Hosts,
}

impl World {
    /// Room for `pairs` pairs, of agents that have `engine`.
    pub(crate) fn new(engine: &str, pairs: usize) -> Result<Self> {
        Self::beside(ground::hosts(pairs)?, None, engine)
    }

    /// The kernel's ESP, with a device at the left; `None`, said, where the kernel has no such.
    pub(crate) fn with_device(test: &str, pairs: usize) -> Result<Option<Self>> {
        let hosts = ground::hosts(pairs)?;
        let Some(device) = Device::new(test, &hosts, Side::Left)? else { return Ok(None) };
        Self::beside(hosts, Some(device), "xfrm").map(Some)
    }

    fn beside(hosts: Hosts, device: Option<Device>, engine: &str) -> Result<Self> {
        let left = Agent::start(&hosts, Side::Left, engine)?;
        let right = Agent::start(&hosts, Side::Right, engine)?;
        Ok(Self { agents: [left, right], device, hosts })
    }

    pub(crate) fn left(&self) -> &Agent {
        &self.agents[0]
    }

    pub(crate) fn right(&self) -> &Agent {
        &self.agents[1]
    }

    pub(crate) fn both(&self) -> [&Agent; 2] {
        self.agents.each_ref()
    }

    /// Defines pair `index` at both sides and takes epoch 1 into use; says where the left one's SAs
    /// are, inbound first. Devices are the left one's: what asks for one is in software at the
    /// right.
    pub(crate) fn bring_up(&self, index: usize, terms: &Terms) -> Result<[Effective; 2]> {
        self.bring_up_changed(index, terms, |_| {})
    }

    /// As [`bring_up`](Self::bring_up), of a pair that has more to it than the terms.
    pub(crate) fn bring_up_changed(
        &self,
        index: usize,
        terms: &Terms,
        changed: impl Fn(&mut SaPair),
    ) -> Result<[Effective; 2]> {
        let right = match terms.device {
            Some(_) => {
                let software = PlacementPolicy::Require(Placement::KernelSoftware);
                Terms { device: None, placement: software, ..terms.clone() }
            }
            None => terms.clone(),
        };
        for (side, terms) in [(Side::Left, terms), (Side::Right, &right)] {
            let mut pair = pair(side, index, terms)?;
            changed(&mut pair);
            self.both()[usize::from(side == Side::Right)].define(&pair)?;
        }
        let [left, _] = bring_into_use(self.both(), &name(index)?, 1)?;
        Ok(left)
    }
}
