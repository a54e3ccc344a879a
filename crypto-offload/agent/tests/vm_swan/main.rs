//! Beside other programs: keys that iproute2 put into a kernel at the far end, for our kernel
//! engine and for our user-space one; and strongSwan's SAs in our own kernel, which we list and
//! watch and never touch.
//!
//! Run by `make test-vm` (deploy/testvm/README.md).
#![allow(clippy::print_stdout, reason = "a test says what it did")]

mod daemon;
mod manual;
#[path = "../two_hosts/mod.rs"]
mod two_hosts;

use anyhow::{Result, ensure};
use crypto_offload::{Aead, Placement, PlacementPolicy, SequenceNumbers};
use gateway_control::{
    EventKind,
    agent::{AgentErrorCode, Request},
};

use crate::{
    agent::Agent,
    daemon::Daemon,
    ground::{Terms, bring_into_use, echo, hosts, ip_says, name, pair, wait_until},
    hosts::{Hosts, Side},
    two_hosts::{agent, ground, hosts},
};

#[test]
fn keys_that_iproute2_put_into_a_kernel_meet_our_kernel_engine() -> Result<()> {
    meet_manual_keys("xfrm", Placement::KernelSoftware)
}

#[test]
fn keys_that_iproute2_put_into_a_kernel_meet_our_user_space_engine() -> Result<()> {
    meet_manual_keys("user-space", Placement::UserSpace)
}

fn meet_manual_keys(engine: &str, placement: Placement) -> Result<()> {
    let all = Aead::ALL.into_iter().flat_map(|aead| {
        [SequenceNumbers::Extended, SequenceNumbers::Short].map(|numbers| (aead, numbers))
    });
    let all: Vec<_> = all.collect();
    let hosts = hosts(all.len())?;
    let agent = Agent::start(&hosts, Side::Left, engine)?;
    for (index, (aead, sequence_numbers)) in all.into_iter().enumerate() {
        let placement = PlacementPolicy::Require(placement);
        let terms = Terms { aead, sequence_numbers, ..Terms::placed(placement) };
        agent.define(&pair(Side::Left, index, &terms)?)?;
        let (ours, _) = agent.prepare(&name(index)?, 1)?;
        let theirs = manual::offer(index, aead)?;
        manual::install(&hosts, index, &theirs, &ours, sequence_numbers)?;
        agent.install_outbound(&name(index)?, 1, theirs)?;
        agent.switch(&name(index)?, 1)?;
        let back = echo(&hosts, index, 20)?;
        ensure!(back == 20, "{engine}, {aead}, {sequence_numbers:?}: {back} of 20 came back");
        let status = agent.show(&name(index)?)?;
        let sas = [&status.epochs[0].inbound, &status.epochs[0].outbound];
        for sa in sas.into_iter().flatten() {
            ensure!(sa.usage.packets == 20, "{sa:?}");
            ensure!(sa.usage.replayed + sa.usage.late + sa.usage.forged == 0, "{sa:?}");
        }
    }
    Ok(())
}

#[test]
fn strongswans_sas_are_listed_and_watched_and_never_touched() -> Result<()> {
    let hosts = hosts(2)?;
    let daemons = [Daemon::start(&hosts, Side::Left)?, Daemon::start(&hosts, Side::Right)?];
    daemons[0].initiate()?;
    ensure!(echo(&hosts, 0, 5)? == 5, "strongSwan's own tunnel carries nothing");
    let theirs = ids(&hosts)?;
    ensure!(theirs.len() == 2, "{theirs:?}");

    let mut left = Agent::start(&hosts, Side::Left, "xfrm")?;
    let right = Agent::start(&hosts, Side::Right, "xfrm")?;
    demand_foreign(&left, &theirs)?;
    let terms = Terms::placed(PlacementPolicy::Require(Placement::KernelSoftware));
    // Theirs has those selectors already.
    let policies = ip_says(&hosts, Side::Left, "xfrm policy list")?;
    let wanted = Request::Define { pair: Box::new(pair(Side::Left, 0, &terms)?) };
    let refusal = left.refusal(&wanted)?;
    println!("{refusal}; {:?}", refusal.hint);
    ensure!(refusal.code == AgentErrorCode::Conflict, "{refusal:?}");
    ensure!(refusal.message.contains("another program's policy"), "{refusal}");
    ensure!(refusal.message.contains("10.200.0.0/24"), "{refusal}");
    ensure!(ids(&hosts)? == theirs, "something of it is left");
    ensure!(ip_says(&hosts, Side::Left, "xfrm policy list")? == policies, "policies changed");

    for (agent, side) in [(&left, Side::Left), (&right, Side::Right)] {
        agent.define(&pair(side, 1, &terms)?)?;
    }
    // Whatever becomes of ours, theirs stays.
    bring_into_use([&left, &right], &name(1)?, 1)?;
    ensure!(echo(&hosts, 1, 5)? == 5, "our pair carries nothing");
    demand_foreign(&left, &theirs)?;
    left.kill()?;
    demand_foreign(&left, &theirs)?;
    left.ask(&Request::Undefine { name: name(1)? })?;
    ensure!(ids(&hosts)? == theirs, "removing our pairs took more");
    // It flushes what is ours when it ends.
    left.stop();
    ensure!(ids(&hosts)? == theirs, "the agent's end took more");
    ensure!(ip_says(&hosts, Side::Left, "xfrm policy list")? == policies, "policies changed");
    ensure!(echo(&hosts, 0, 5)? == 5, "strongSwan's tunnel carries nothing any more");

    let left = Agent::start(&hosts, Side::Left, "xfrm")?;
    demand_foreign(&left, &theirs)?;
    daemons[0].terminate()?;
    for id in &theirs {
        let event = left.event(EventKind::SaForeign, id)?;
        ensure!(event.to == "gone", "{event:?}");
    }
    wait_until("their SAs to be gone", || Ok(left.foreign()?.is_empty()))?;
    daemons[0].initiate()?;
    for id in ids(&hosts)? {
        let event = left.event(EventKind::SaForeign, &id)?;
        ensure!(event.to == "there", "{event:?}");
    }
    Ok(())
}

fn demand_foreign(agent: &Agent, expected: &[String]) -> Result<()> {
    let mut listed = Vec::new();
    for sa in agent.foreign()? {
        ensure!(sa.aead == Some(Aead::Aes256Gcm), "{sa:?}");
        ensure!(sa.placement == Placement::KernelSoftware, "{sa:?}");
        listed.push(sa.id.to_string());
    }
    listed.sort();
    ensure!(listed == expected, "{listed:?}, not {expected:?}");
    Ok(())
}

/// The left kernel's SAs as iproute2 tells them, in our words.
fn ids(hosts: &Hosts) -> Result<Vec<String>> {
    let states = ip_says(hosts, Side::Left, "xfrm state list nokeys")?;
    let (mut ids, mut destination) = (Vec::new(), "");
    for line in states.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["src", _, "dst", to, ..] => destination = to,
            ["proto", "esp", "spi", spi, ..] => ids.push(format!("{spi} to {destination}")),
            _ => {}
        }
    }
    ids.sort();
    Ok(ids)
}
