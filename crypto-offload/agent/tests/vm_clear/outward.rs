//! What leaves a host.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, anyhow, ensure};
use crypto_offload::{
    Epoch,
    Placement::{self, KernelSoftware, UserSpace},
    PlacementPolicy,
};
use gateway_control::{EventKind, agent::Request};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    agent::Agent,
    ground::{bring_into_use, name, wait_until},
    hosts::{Hosts, Side},
    spy::Spy,
    world::{Inner, MARK, Sender, engines, has_hosts, hosts, left_behind, terms, undefine},
};

#[test]
fn nothing_leaves_in_clear_while_a_pair_has_no_keys_yet_or_no_more() -> Result<()> {
    if !has_hosts("nothing_leaves_in_clear_while_a_pair_has_no_keys_yet_or_no_more") {
        return Ok(());
    }
    for (engines, placement) in engines() {
        for inner in [Inner::Ipv4, Inner::Ipv6] {
            without_keys(engines, placement, inner)
                .with_context(|| format!("{engines}, {inner:?}"))?;
        }
    }
    Ok(())
}

fn without_keys(engines: &str, placement: Placement, inner: Inner) -> Result<()> {
    let hosts = hosts()?;
    let agent = Agent::start(&hosts, Side::Left, engines)?;
    let spy = Spy::listen(&hosts)?;
    let sender = Sender::start(&hosts, Side::Left, inner)?;
    let pair = terms(Side::Left, inner, PlacementPolicy::Require(placement))?;
    let silent = |what: &str| -> Result<()> {
        sender.more(50)?;
        let clear = spy.clear();
        ensure!(clear == 0, "{clear} in clear {what}");
        Ok(())
    };
    for round in 0..2 {
        wait_until("clear text that the spy sees", || Ok(spy.clear() > 0))?;
        let blocked = agent.statistic("XfrmOutPolBlock").unwrap_or(0);
        agent.define(&pair)?;
        spy.clear();
        silent("before the first keys")?;
        ensure!(agent.show(&name(0)?)?.unguarded.is_none(), "{:?}", agent.show(&name(0)?)?);
        if engines.starts_with("xfrm") {
            let counted = agent.statistic("XfrmOutPolBlock")? - blocked;
            ensure!(counted >= 50, "{counted} are counted");
        }
        agent.kill()?;
        silent("while the agent is dead and starts again")?;
        agent.show(&name(0)?)?;
        silent("after a restart")?;
        agent.prepare(&name(0)?, round + 1)?;
        silent("with the inbound SA alone")?;
        agent.ask(&Request::Discard { name: name(0)?, epoch: Epoch(round + 1) })?;
        silent("after it was discarded")?;
        undefine(&agent)?;
    }
    wait_until("clear text, when the pair is gone", || Ok(spy.clear() > 0))?;
    let left = left_behind(&hosts)?;
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}

#[test]
fn nothing_leaves_in_clear_from_first_to_last_keys() -> Result<()> {
    if !has_hosts("nothing_leaves_in_clear_from_first_to_last_keys") {
        return Ok(());
    }
    for (engines, placement) in engines() {
        for inner in [Inner::Ipv4, Inner::Ipv6] {
            with_keys(engines, placement, inner)
                .with_context(|| format!("{engines}, {inner:?}"))?;
        }
    }
    Ok(())
}

fn with_keys(engines: &str, placement: Placement, inner: Inner) -> Result<()> {
    let hosts = hosts()?;
    let left = Agent::start(&hosts, Side::Left, engines)?;
    let right = Agent::start(&hosts, Side::Right, engines)?;
    let define = |hard| -> Result<()> {
        for (agent, side) in [(&left, Side::Left), (&right, Side::Right)] {
            let mut pair = terms(side, inner, PlacementPolicy::Require(placement))?;
            pair.lifetimes.hard.packets = hard;
            agent.define(&pair)?;
        }
        Ok(())
    };
    define(None)?;
    let spy = Spy::listen(&hosts)?;
    let sender = Sender::start(&hosts, Side::Left, inner)?;
    let encrypted = |what: &str| -> Result<()> {
        spy.esp();
        wait_until("ESP on the wire", || Ok(spy.esp() > 0)).context(what.to_owned())?;
        sender.more(50)
    };
    for epoch in 1..=2 {
        bring_into_use([&left, &right], &name(0)?, epoch)?;
        encrypted("new keys")?;
        left.kill()?;
        sender.more(50)?;
        left.show(&name(0)?)?;
        encrypted("after a restart")?;
        if epoch > 1 {
            for agent in [&left, &right] {
                let (name, epoch) = (name(0)?, Epoch(epoch - 1));
                agent.ask(&Request::RetireOutbound { name: name.clone(), epoch })?;
                agent.ask(&Request::RetireInbound { name, epoch })?;
            }
        }
    }
    // Its last SA is used up.
    define(Some(100))?;
    bring_into_use([&left, &right], &name(0)?, 3)?;
    sender.more(200)?;
    left.event(EventKind::SaLost, "pair-0")?;
    sender.more(50)?;
    left.kill()?;
    sender.more(50)?;
    left.show(&name(0)?)?;
    sender.more(50)?;
    let clear = spy.clear();
    ensure!(clear == 0, "{clear} in clear");
    undefine(&left)?;
    let rest = left_behind(&hosts)?;
    ensure!(rest.is_empty(), "left behind: {rest}");
    Ok(())
}

#[test]
fn a_route_that_leads_past_the_tunnel_leads_nowhere() -> Result<()> {
    if !has_hosts("a_route_that_leads_past_the_tunnel_leads_nowhere") {
        return Ok(());
    }
    for (engines, placement) in engines() {
        let hosts = hosts()?;
        let left = Agent::start(&hosts, Side::Left, engines)?;
        let right = Agent::start(&hosts, Side::Right, engines)?;
        for (agent, side) in [(&left, Side::Left), (&right, Side::Right)] {
            agent.define(&terms(side, Inner::Ipv4, PlacementPolicy::Require(placement))?)?;
        }
        bring_into_use([&left, &right], &name(0)?, 1)?;
        let spy = Spy::listen(&hosts)?;
        let sender = Sender::start(&hosts, Side::Left, Inner::Ipv4)?;
        wait_until("ESP on the wire", || Ok(spy.esp() > 0))?;
        let past = format!("{} via {}", Side::Right.inner(0).1, Side::Right.outer());
        hosts.ip(Side::Left, &format!("route add {past}"))?;
        sender.more(50)?;
        left.kill()?;
        sender.more(50)?;
        left.show(&name(0)?)?;
        bring_into_use([&left, &right], &name(0)?, 2)?;
        sender.more(50)?;
        let clear = spy.clear();
        ensure!(clear == 0, "{engines}: {clear} in clear");
        hosts.ip(Side::Left, &format!("route delete {past}"))?;
        spy.esp();
        wait_until("ESP on the wire again", || Ok(spy.esp() > 0))?;
        undefine(&left)?;
        let rest = left_behind(&hosts)?;
        ensure!(rest.is_empty(), "{engines}: left behind: {rest}");
    }
    Ok(())
}

#[test]
fn nothing_is_handed_on_in_clear_for_networks_behind_the_host() -> Result<()> {
    if !has_hosts("nothing_is_handed_on_in_clear_for_networks_behind_the_host") {
        return Ok(());
    }
    for (engines, placement) in engines() {
        let hosts = hosts()?;
        let agent = Agent::start(&hosts, Side::Left, engines)?;
        let spy = Spy::listen(&hosts)?;
        from_behind(&hosts)?;
        ensure!(spy.clear() > 0, "the left hands nothing on");
        agent.define(&terms(Side::Left, Inner::Ipv4, PlacementPolicy::Require(placement))?)?;
        from_behind(&hosts)?;
        agent.kill()?;
        from_behind(&hosts)?;
        let clear = spy.clear();
        ensure!(clear == 0, "{engines}: {clear} in clear");
        undefine(&agent)?;
        from_behind(&hosts)?;
        ensure!(spy.clear() > 0, "{engines}: a guard stayed");
    }
    Ok(())
}

/// Hands the left packets as a host behind it would, 10.100.0.9 to 10.200.0.9: by the same wire,
/// and they go back where they came from.
fn from_behind(hosts: &Hosts) -> Result<()> {
    let sent = hosts.spawn(Side::Right, || {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        let to = std::net::SocketAddr::from((Ipv4Addr::new(10, 200, 0, 9), 0));
        let length = u16::try_from(28 + MARK.len())?.to_be_bytes();
        let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend([10, 100, 0, 9, 10, 200, 0, 9]);
        let length = u16::try_from(8 + MARK.len())?.to_be_bytes();
        packet.extend([0x10, 0, 0x20, 0, length[0], length[1], 0, 0]);
        packet.extend(MARK);
        for _ in 0..5 {
            raw.send_to(&packet, &to.into())?;
        }
        Ok(())
    })?;
    sent.join().map_err(|_| anyhow!("panic"))?
}

#[test]
fn nothing_leaves_in_clear_as_keys_move_between_kernel_and_user_space() -> Result<()> {
    const TEST: &str = "nothing_leaves_in_clear_as_keys_move_between_kernel_and_user_space";
    if !has_hosts(TEST) {
        return Ok(());
    }
    if std::env::var_os("POSTERN_VM").is_none() {
        println!("SKIPPED {TEST}: this kernel has no ESP");
        return Ok(());
    }
    for inner in [Inner::Ipv4, Inner::Ipv6] {
        let hosts = hosts()?;
        let left = Agent::start(&hosts, Side::Left, "xfrm,user-space")?;
        let right = Agent::start(&hosts, Side::Right, "xfrm,user-space")?;
        let spy = Spy::listen(&hosts)?;
        let define = |placement| -> Result<()> {
            for (agent, side) in [(&left, Side::Left), (&right, Side::Right)] {
                agent.define(&terms(side, inner, PlacementPolicy::Require(placement))?)?;
            }
            Ok(())
        };
        define(KernelSoftware)?;
        let sender = Sender::start(&hosts, Side::Left, inner)?;
        for (epoch, placement) in (1..=6).zip([KernelSoftware, UserSpace].into_iter().cycle()) {
            define(placement)?;
            let placed = bring_into_use([&left, &right], &name(0)?, epoch)?;
            ensure!(placed.iter().flatten().all(|at| at.effective == placement), "{placed:?}");
            spy.esp();
            sender.more(50)?;
            if epoch > 1 {
                for agent in [&left, &right] {
                    let (name, epoch) = (name(0)?, Epoch(epoch - 1));
                    agent.ask(&Request::RetireOutbound { name: name.clone(), epoch })?;
                    agent.ask(&Request::RetireInbound { name, epoch })?;
                }
            }
            left.kill()?;
            sender.more(50)?;
            left.show(&name(0)?)?;
            wait_until("ESP on the wire", || Ok(spy.esp() > 0))?;
        }
        let clear = spy.clear();
        ensure!(clear == 0, "{inner:?}: {clear} in clear");
        undefine(&left)?;
        let rest = left_behind(&hosts)?;
        ensure!(rest.is_empty(), "{inner:?}: left behind: {rest}");
    }
    Ok(())
}
