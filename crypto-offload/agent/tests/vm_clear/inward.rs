//! What a host takes in.

use std::net::UdpSocket;

use anyhow::{Context, Result, anyhow, ensure};
use crypto_offload::{Placement, PlacementPolicy};
use gateway_control::EventKind;

use crate::{
    agent::Agent,
    ground::{bring_into_use, echo, name, wait_until},
    hosts::{Hosts, Side},
    spy::Spy,
    world::{Inner, MARK, PORT, Sender, engines, has_hosts, hosts, terms, undefine},
};

#[test]
fn clear_text_is_refused_as_it_comes_in_from_definition_to_end() -> Result<()> {
    if !has_hosts("clear_text_is_refused_as_it_comes_in_from_definition_to_end") {
        return Ok(());
    }
    for (engines, placement) in engines() {
        for inner in [Inner::Ipv4, Inner::Ipv6] {
            refused(engines, placement, inner).with_context(|| format!("{engines}, {inner:?}"))?;
        }
    }
    Ok(())
}

fn refused(engines: &str, placement: Placement, inner: Inner) -> Result<()> {
    let hosts = hosts()?;
    let left = Agent::start(&hosts, Side::Left, engines)?;
    let listener = Listener::new(&hosts, inner)?;
    let sender = Sender::start(&hosts, Side::Right, inner)?;
    wait_until("clear text to come in", || listener.takes(&sender))?;
    left.define(&terms(Side::Left, inner, PlacementPolicy::Require(placement))?)?;
    ensure!(!listener.takes(&sender)?, "clear text is taken before the first keys");
    left.kill()?;
    ensure!(!listener.takes(&sender)?, "clear text is taken while the agent starts again");
    left.prepare(&name(0)?, 1)?;
    let status = left.show(&name(0)?)?;
    // What the kernel cannot tell from the tunnel's packets it takes, and that is told.
    let passes = placement == Placement::UserSpace && inner == Inner::Ipv6;
    ensure!(status.unguarded.is_some() == passes, "{status:?}");
    ensure!(listener.takes(&sender)? == passes, "with the inbound SA: {status:?}");
    if passes {
        let event = left.event(EventKind::SaUnguarded, "pair-0")?;
        ensure!(event.to == "may pass" && event.reason.contains("IPv6"), "{event:?}");
    }
    undefine(&left)?;
    wait_until("clear text, when the pair is gone", || listener.takes(&sender))?;
    Ok(())
}

#[test]
fn what_an_sa_opened_is_taken_beside_clear_text_that_is_not() -> Result<()> {
    if !has_hosts("what_an_sa_opened_is_taken_beside_clear_text_that_is_not") {
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
        ensure!(echo(&hosts, 0, 20)? == 20, "{engines}: the tunnel loses packets");
        // The right forgets the pair, so that what it sends is in clear.
        undefine(&right)?;
        let listener = Listener::new(&hosts, Inner::Ipv4)?;
        let sender = Sender::start(&hosts, Side::Right, Inner::Ipv4)?;
        ensure!(!listener.takes(&sender)?, "{engines}: clear text is taken beside an SA");
    }
    Ok(())
}

#[test]
fn what_an_sa_opened_is_handed_on_to_networks_behind_the_host() -> Result<()> {
    if !has_hosts("what_an_sa_opened_is_handed_on_to_networks_behind_the_host") {
        return Ok(());
    }
    for (engines, placement) in engines() {
        for (inner, behind) in [(Inner::Ipv4, "10.200.0.9"), (Inner::Ipv6, "fd02::9")] {
            let hosts = hosts()?;
            hosts.ip(Side::Right, "link add lan type veth peer name host")?;
            hosts.ip(Side::Right, "link set host up")?;
            hosts.ip(Side::Right, "link set lan up")?;
            hosts.ip(Side::Right, &format!("route add {behind} dev lan"))?;
            hosts.ip(Side::Right, &format!("neigh add {behind} lladdr {BEHIND} dev lan"))?;
            let left = Agent::start(&hosts, Side::Left, engines)?;
            let right = Agent::start(&hosts, Side::Right, engines)?;
            for (agent, side) in [(&left, Side::Left), (&right, Side::Right)] {
                agent.define(&terms(side, inner, PlacementPolicy::Require(placement))?)?;
            }
            bring_into_use([&left, &right], &name(0)?, 1)?;
            let spy = Spy::on(&hosts, Side::Right, 0..6, BEHIND)?;
            let socket = hosts
                .spawn(Side::Left, move || Ok(UdpSocket::bind((inner.address(Side::Left), 0))?))?;
            let socket = socket.join().map_err(|_| anyhow!("panic"))??;
            wait_until("packets behind the right host", || {
                socket.send_to(MARK, (behind, PORT))?;
                Ok(spy.clear() > 0)
            })
            .with_context(|| format!("{engines}, {inner:?}\n{}", right.log()))?;
        }
    }
    Ok(())
}

/// Who the packets are for, on the left.
struct Listener(UdpSocket);

impl Listener {
    fn new(hosts: &Hosts, inner: Inner) -> Result<Self> {
        let socket = hosts
            .spawn(Side::Left, move || Ok(UdpSocket::bind((inner.address(Side::Left), PORT))?))?;
        let socket = socket.join().map_err(|_| anyhow!("panic"))??;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Whether anything comes of the next packets.
    fn takes(&self, sender: &Sender) -> Result<bool> {
        self.drain();
        sender.more(50)?;
        Ok(self.drain())
    }

    /// Empties it; whether there was something.
    fn drain(&self) -> bool {
        let (mut came, mut buffer) = (false, [0; 100]);
        while self.0.recv(&mut buffer).is_ok_and(|len| buffer[..len] == *MARK) {
            came = true;
        }
        came
    }
}

/// A host behind the right one.
const BEHIND: &str = "02:00:00:00:00:09";
