//! Our ESP in user space at one end, the kernel's at the other, both by our agent: steady traffic
//! while the pair's keys change fifty times, and while either agent is killed after each verb.
//!
//! The test does by hand what two gateways do, in the order that loses nothing. Every packet is
//! accounted for at its end, and every ESP packet is seen on the wire, where no IV may come twice
//! under one key. Run by `make test-vm` (deploy/testvm/README.md).
#![allow(clippy::print_stdout, reason = "a test says what it did")]

mod rotation;
#[path = "../../../../gateway/tests/ipsec/stream.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod stream;
#[path = "../two_hosts/mod.rs"]
mod two_hosts;
#[path = "../../../../gateway/tests/ipsec/wire.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod wire;

use std::{collections::HashMap, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use crypto_offload::{
    PairEncapsulation,
    Placement::{KernelSoftware, UserSpace},
    PlacementPolicy,
};
use gateway_control::agent::{Request, Response};

use crate::{
    agent::Agent,
    ground::{Terms, hosts, name, pair},
    hosts::{Hosts, Side},
    rotation::{VERBS, Verb},
    stream::{Account, Traffic},
    two_hosts::{agent, ground, hosts},
    wire::Wire,
};

#[test]
fn fifty_rotations_between_user_space_and_the_kernel_lose_and_repeat_nothing() -> Result<()> {
    let ports = PairEncapsulation { local_port: 4500, remote_port: 4500 };
    let mut world = World::new(Some(ports))?;
    let sustained = world.sustained_rate()?;
    let rate = (sustained / 2.0).max(LEAST_RATE);
    let account = world.under_traffic(rate, |world| {
        for epoch in world.epoch..world.epoch + 50 {
            world.rotate(epoch + 1, |_, _| Ok(()))?;
        }
        Ok(())
    })?;
    println!("{rate:.0} packets a second each way of {sustained:.0}: {account:?}");
    ensure!(account.lost == 0 && account.duplicated == 0, "{account:?}");
    ensure!(account.damaged == 0 && account.sent > 1_000, "{account:?}");
    world.demand_no_drops()?;
    world.demand_unique_nonces()
}

#[test]
fn a_killed_agent_costs_the_kernel_nothing_and_user_space_the_time_of_its_restart() -> Result<()> {
    // Without UDP: the kernel receives ESP in UDP by way of a socket of the agent's.
    let mut world = World::new(None)?;
    for victim in Side::BOTH {
        for verb in VERBS {
            let kill = |world: &World, done| match done == verb {
                true => world.agent(victim).kill(),
                false => Ok(()),
            };
            let account = world.under_traffic(CALM_RATE, |world| {
                world.rotate(world.epoch + 1, kill)?;
                world.replace_resumed()
            })?;
            println!("the agent at the {} killed after {verb:?}: {account:?}", victim.name());
            ensure!(account.duplicated == 0 && account.damaged == 0, "{verb:?}: {account:?}");
            ensure!(account.sent > 100, "no traffic: {account:?}");
            let gap = if victim == USER_SPACE { RESTART_GAP } else { Duration::ZERO };
            ensure!(account.longest_gap <= gap, "{victim:?}, {verb:?}: {account:?}");
        }
    }
    let in_clear = world.agent(Side::Right).statistic("XfrmInTmplMismatch")?;
    ensure!(in_clear == 0, "{in_clear} packets went out in clear");
    world.demand_unique_nonces()
}

/// User space on the left, the kernel on the right.
struct World {
    agents: [Agent; 2],
    hosts: Hosts,
    wire: Option<Wire>,
    /// In use at both sides.
    epoch: u64,
    /// Names of keys by SPI.
    keys: HashMap<u32, String>,
}

impl World {
    fn new(encapsulation: Option<PairEncapsulation>) -> Result<Self> {
        let hosts = hosts(1)?;
        // The user-space engine's routes end with its process; this one holds what it protected.
        let protected = Side::Right.inner(0).0;
        hosts.ip(Side::Left, &format!("route add unreachable {protected} metric 1000000"))?;
        let wire = Some(Wire::listen(&hosts, Side::Left)?);
        let left = Agent::start(&hosts, Side::Left, "user-space")?;
        let right = Agent::start(&hosts, Side::Right, "xfrm")?;
        let places = [(Side::Left, &left, UserSpace), (Side::Right, &right, KernelSoftware)];
        for (side, agent, placement) in places {
            let terms =
                Terms { encapsulation, ..Terms::placed(PlacementPolicy::Require(placement)) };
            agent.define(&pair(side, 0, &terms)?)?;
        }
        let mut world = Self { agents: [left, right], hosts, wire, epoch: 0, keys: HashMap::new() };
        world.rotate(1, |_, _| Ok(()))?;
        ensure!(ground::echo(&world.hosts, 0, 5)? == 5, "it carries nothing");
        Ok(world)
    }

    fn agent(&self, side: Side) -> &Agent {
        &self.agents[usize::from(side == Side::Right)]
    }

    /// Takes a new epoch into use and the old one out; `after` each verb, done at both sides.
    fn rotate(
        &mut self,
        epoch: u64,
        mut after: impl FnMut(&Self, Verb) -> Result<()>,
    ) -> Result<()> {
        let name = name(0)?;
        let mut offers = Vec::new();
        for verb in VERBS {
            for side in Side::BOTH {
                verb.ask(self.agent(side), &name, epoch, &mut offers)?;
            }
            if verb == Verb::InstallOutbound {
                self.note_keys()?;
            }
            after(self, verb)?;
            match verb {
                // The kernel drops what is on its way through an SA that goes.
                Verb::Switch => pause(IN_FLIGHT),
                Verb::RetireOutbound => pause(OVERLAP),
                _ => {}
            }
        }
        self.epoch = epoch;
        for side in Side::BOTH {
            let status = self.agent(side).show(&name)?;
            let [one] = status.epochs.as_slice() else {
                anyhow::bail!("{side:?}: more or less than one epoch: {status:?}");
            };
            ensure!(one.epoch.0 == epoch && status.active == Some(one.epoch), "{status:?}");
            ensure!(one.inbound.is_some() && one.outbound.is_some(), "{status:?}");
        }
        Ok(())
    }

    /// What a gateway does when it hears of a restart: an SA that was resumed refuses packets up
    /// to its replay floor, so new keys come at once.
    fn replace_resumed(&mut self) -> Result<()> {
        let status = self.agent(USER_SPACE).show(&name(0)?)?;
        let sas = status.epochs.iter().flat_map(|epoch| [&epoch.inbound, &epoch.outbound]);
        if sas.flatten().any(|sa| sa.resumed) {
            self.rotate(self.epoch + 1, |_, _| Ok(()))?;
        }
        Ok(())
    }

    fn note_keys(&mut self) -> Result<()> {
        let status = self.agent(Side::Left).show(&name(0)?)?;
        let sas = status.epochs.into_iter().flat_map(|epoch| [epoch.inbound, epoch.outbound]);
        self.keys.extend(sas.flatten().map(|sa| (sa.spi.value(), sa.key)));
        Ok(())
    }

    fn under_traffic(
        &mut self,
        rate: f64,
        work: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Account> {
        let traffic = Traffic::start(&self.hosts, 1, rate)?;
        let worked = work(self);
        // What a kill leaves undone shows in what is sent after it.
        thread::sleep(SETTLED);
        let account = traffic.finish(rate)?;
        if account.lost > 0 {
            self.print_drops();
        }
        worked.with_context(|| {
            let logs = self.agents.each_ref().map(Agent::log);
            format!("{account:?}\nleft:\n{}\nright:\n{}", logs[0], logs[1])
        })?;
        Ok(account)
    }

    /// The highest rate of those tried at which a second of traffic is sent in its time and none
    /// of it is lost.
    fn sustained_rate(&mut self) -> Result<f64> {
        let mut sustained = 0.0;
        for rate in RATES {
            let account = self.under_traffic(rate, |_| {
                thread::sleep(Duration::from_secs(1));
                Ok(())
            })?;
            // Both ways, for as long as it is on.
            let wanted = 2.0 * rate * (1.0 + SETTLED.as_secs_f64());
            if account.lost > 0 || (account.sent as f64) < wanted * 0.95 {
                break;
            }
            sustained = rate;
        }
        Ok(sustained)
    }

    /// Every counter that is not 0.
    fn print_drops(&self) {
        for side in Side::BOTH {
            if let Ok(Response::Statistics { counters }) =
                self.agent(side).ask(&Request::Statistics)
            {
                let counters: Vec<_> = counters.iter().filter(|(_, _, value)| *value > 0).collect();
                println!("{side:?}: {counters:?}");
            }
            let status = name(0).and_then(|name| self.agent(side).show(&name));
            println!("{side:?}: {:?}", status.map(|status| status.epochs));
        }
    }

    /// The receivers have refused no packet, and the kernel dropped none.
    fn demand_no_drops(&self) -> Result<()> {
        for side in Side::BOTH {
            let status = self.agent(side).show(&name(0)?)?;
            let inbound = status.epochs[0].inbound.as_ref().context("an inbound SA")?;
            let drops = inbound.usage.replayed + inbound.usage.late + inbound.usage.forged;
            ensure!(drops == 0, "{side:?}: {:?}", inbound.usage);
        }
        for counter in ["XfrmInStateSeqError", "XfrmInNoStates", "XfrmOutNoStates"] {
            let count = self.agent(Side::Right).statistic(counter)?;
            ensure!(count == 0, "{counter}: {count}");
        }
        for counter in ["inbound_replayed", "inbound_late", "inbound_no_sa", "outbound_no_sa"] {
            let count = self.agent(Side::Left).statistic(counter)?;
            ensure!(count == 0, "{counter}: {count}");
        }
        Ok(())
    }

    /// Of everything that was on the wire, no IV came twice under one key.
    fn demand_unique_nonces(&mut self) -> Result<()> {
        let seen = self.wire.take().context("listened already")?.finish()?;
        ensure!(seen.packets > 1_000, "only {} ESP packets seen", seen.packets);
        let twice = seen.repeated.first();
        ensure!(twice.is_none(), "SPI and IV twice: {twice:x?}");
        // One SPI a key: so no IV can come twice under it by way of another SPI.
        let mut by_key: HashMap<&str, u32> = HashMap::new();
        for spi in seen.by_spi.keys() {
            let key = self.keys.get(spi).with_context(|| format!("whose SPI is {spi:#x}?"))?;
            let other = by_key.insert(key, *spi);
            ensure!(other.is_none(), "SPIs {spi:#x} and {other:x?} have one key");
        }
        println!("{} ESP packets under {} SPIs, no IV twice", seen.packets, seen.by_spi.len());
        Ok(())
    }
}

/// Many short sleeps: an emulated machine that stands still for longer than the overlap must not
/// take it for over before its threads have read what came.
fn pause(long: Duration) {
    for _ in 0..60 {
        thread::sleep(long / 60);
    }
}

const USER_SPACE: Side = Side::Left;
/// Packets a second each way.
const RATES: [f64; 4] = [500.0, 1_000.0, 2_000.0, 4_000.0];
const LEAST_RATE: f64 = 500.0;
/// While an agent starts it takes all of the emulated CPU: what is sent then must fit beside it.
const CALM_RATE: f64 = 100.0;
const IN_FLIGHT: Duration = Duration::from_millis(100);
const OVERLAP: Duration = Duration::from_millis(300);
const SETTLED: Duration = Duration::from_millis(300);
/// On a real CPU it is a second at most (`gateway/tests/ipsec`); this one is emulated, and a
/// process starts there in ten times its time.
const RESTART_GAP: Duration = Duration::from_secs(8);
