//! Two hosts, an agent with the engine under test on each, and the pairs between them.

use std::fs;

use anyhow::Result;
use crypto_offload::{
    Aead, Effective, PairEncapsulation, Placement, PlacementPolicy, SaPair, SequenceNumbers,
};

use crate::{
    agent::Agent,
    ground::{self, Terms, bring_into_use, name, pair},
    hosts::{Hosts, Side},
};

/// Which one is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    UserSpace,
    Xfrm,
}

/// Those that this machine has; SKIPPED with the reason where it has none.
pub(crate) fn engines(claim: &str) -> Vec<Engine> {
    if std::env::var_os("POSTERN_VM").is_some() {
        return vec![Engine::Xfrm, Engine::UserSpace];
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root && fs::metadata("/dev/net/tun").is_ok() {
        return vec![Engine::UserSpace];
    }
    println!("SKIPPED contract: {claim}: it needs root and /dev/net/tun");
    Vec::new()
}

impl Engine {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::UserSpace => "user-space",
            Self::Xfrm => "xfrm",
        }
    }

    pub(crate) fn terms(self) -> Terms {
        let placement = match self {
            Self::UserSpace => Placement::UserSpace,
            Self::Xfrm => Placement::KernelSoftware,
        };
        Terms {
            placement: PlacementPolicy::Require(placement),
            aead: Aead::Aes128Gcm,
            sequence_numbers: SequenceNumbers::Extended,
            device: None,
            encapsulation: None,
        }
    }
}

/// Agents first, so that they end before their hosts do.
pub(crate) struct World {
    pub(crate) agents: [Agent; 2],
    pub(crate) hosts: Hosts,
    pub(crate) engine: Engine,
}

impl World {
    pub(crate) fn new(engine: Engine, pairs: usize) -> Result<Self> {
        let hosts = ground::hosts(pairs)?;
        for (side, at) in [(Side::Left, 1), (Side::Right, 2)] {
            hosts.ip(side, &format!("address add 2001:db8::{at}/64 dev wire nodad"))?;
            hosts.ip(side, &format!("address add fd0{at}::1/128 dev lo nodad"))?;
            hosts.ip(side, &format!("-6 route add default via 2001:db8::{}", 3 - at))?;
        }
        let left = Agent::start(&hosts, Side::Left, engine.name())?;
        let right = Agent::start(&hosts, Side::Right, engine.name())?;
        Ok(Self { agents: [left, right], hosts, engine })
    }

    /// One with pair 0 in use.
    pub(crate) fn with_pair(engine: Engine) -> Result<Self> {
        let world = Self::new(engine, 2)?;
        world.bring_up(0, &engine.terms(), |_| {})?;
        Ok(world)
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

    /// Defines pair `index` at both sides, `changed`, and takes epoch 1 into use.
    pub(crate) fn bring_up(
        &self,
        index: usize,
        terms: &Terms,
        changed: impl Fn(&mut SaPair),
    ) -> Result<[[Effective; 2]; 2]> {
        for (side, agent) in Side::BOTH.into_iter().zip(self.both()) {
            let mut pair = pair(side, index, terms)?;
            changed(&mut pair);
            agent.define(&pair)?;
        }
        bring_into_use(self.both(), &name(index)?, 1)
    }
}

pub(crate) const UDP: Option<PairEncapsulation> =
    Some(PairEncapsulation { local_port: 4500, remote_port: 4500 });
