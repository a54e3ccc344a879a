//! Traffic: every kind of tunnel, every length, and a change of keys under load.

use std::{
    net::{IpAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use crypto_offload::{Aead, Epoch, ErrorClass, Mode, SaPair, SequenceNumbers};
use gateway_control::agent::{AgentErrorCode, Request};

use crate::{
    agent::prepare,
    engine::{Encrypts, Engine, UDP},
    ground::{Terms, add_ipv6, bring_into_use, name, pair, wait_until},
    hosts::{Hosts, Side},
    wire::Tap,
    world::World,
};

/// A UDP socket at each end of a pair; nothing goes through one that does not encrypt.
pub(crate) struct Line {
    left: UdpSocket,
    right: UdpSocket,
    encrypts: Encrypts,
}

impl Line {
    pub(crate) fn new(
        hosts: &Hosts,
        encrypts: Encrypts,
        ends: [impl AsRef<str>; 2],
    ) -> Result<Self> {
        let bind = |side, address: &str| -> Result<UdpSocket> {
            let address: IpAddr = address.parse()?;
            let bound = hosts.spawn(side, move || Ok(UdpSocket::bind((address, 0))?))?;
            let socket = bound.join().map_err(|_| anyhow::anyhow!("panic"))??;
            socket.set_read_timeout(Some(LOST))?;
            Ok(socket)
        };
        let (left, right) =
            (bind(Side::Left, ends[0].as_ref())?, bind(Side::Right, ends[1].as_ref())?);
        left.connect(right.local_addr()?)?;
        right.connect(left.local_addr()?)?;
        Ok(Self { left, right, encrypts })
    }

    /// Payloads of these lengths, there and back, whole; says how many went each way.
    pub(crate) fn echo(&self, lengths: &[usize]) -> Result<u64> {
        if self.encrypts == Encrypts::Nothing {
            return Ok(0);
        }
        let mut buffer = vec![0; 65_536];
        for &length in lengths {
            let payload: Vec<u8> = MARK.iter().copied().cycle().take(length).collect();
            for (from, to) in [(&self.left, &self.right), (&self.right, &self.left)] {
                from.send(&payload)?;
                let came = to.recv(&mut buffer).with_context(|| format!("{length} bytes"))?;
                ensure!(buffer[..came] == payload, "{length} bytes are not what was sent");
            }
        }
        Ok(lengths.len() as u64)
    }

    pub(crate) fn demand_nothing_came(&self) -> Result<()> {
        self.right.set_read_timeout(Some(Duration::from_millis(200)))?;
        let came = self.right.recv(&mut [0; 2048]);
        self.right.set_read_timeout(Some(LOST))?;
        ensure!(came.is_err(), "a packet came: {came:?}");
        Ok(())
    }
}

pub(crate) fn every_kind_of_tunnel_carries_every_length_encrypted_and_counts_agree(
    engine: Engine,
) -> Result<()> {
    let kinds = Aead::ALL.into_iter().flat_map(|aead| {
        [(SequenceNumbers::Extended, UDP), (SequenceNumbers::Short, None)].map(
            |(sequence_numbers, encapsulation)| Terms {
                aead,
                sequence_numbers,
                encapsulation,
                ..engine.terms()
            },
        )
    });
    let kinds: Vec<_> = kinds.collect();
    let world = engine.world(kinds.len())?;
    for (index, terms) in kinds.iter().enumerate() {
        let encrypts = engine.bring_up(&world, index, terms, |_| {})?;
        let line = Line::new(&world.hosts, encrypts, Side::BOTH.map(|side| side.inner(index).1))?;
        carries(&world, index, &line).with_context(|| format!("{terms:?}"))?;
    }
    add_ipv6(&world.hosts)?;
    let encrypts = engine.bring_up(&world, kinds.len(), &engine.terms_that_encrypt(), over_ipv6)?;
    let line = Line::new(&world.hosts, encrypts, ["fd01::1", "fd02::1"])?;
    carries(&world, kinds.len(), &line).context("IPv6")
}

fn carries(world: &World, index: usize, line: &Line) -> Result<()> {
    let mut tap = Tap::new(&world.hosts)?;
    let count = line.echo(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 100, 1300])?;
    let packets = tap.packets();
    let pair = world.left().show(&name(index)?)?.pair;
    let (esp, address) = if pair.local.is_ipv6() { (6, 24) } else { (9, 16) };
    let udp_or_esp = if pair.encapsulation.is_some() { 17 } else { 50 };
    let outer = packets.iter().filter(|packet| packet[esp] == udp_or_esp);
    ensure!(outer.count() as u64 == count, "{} packets on the wire", packets.len());
    for packet in &packets {
        ensure!(!packet.windows(12).any(|part| part == &MARK[..12]), "in clear: {packet:02x?}");
        let is_inner = [10, 0xfd].contains(&packet[address]);
        ensure!(!is_inner, "an inner header in clear: {packet:02x?}");
    }
    counts_agree(world, index, count)?;
    // Each length near the MTU, and what is fragmented before or after it is sealed.
    line.echo(&(1380..=1480).step_by(5).chain([3_000, 20_000]).collect::<Vec<_>>()).map(drop)
}

/// What the one side has sealed the other has opened, and nothing else.
fn counts_agree(world: &World, index: usize, count: u64) -> Result<()> {
    for [from, to] in [world.both(), [world.right(), world.left()]] {
        let read = || -> Result<_> {
            let (sent, came) = (from.show(&name(index)?)?, to.show(&name(index)?)?);
            let sent = sent.epochs[0].outbound.clone().context("outbound")?.usage;
            Ok((sent, came.epochs[0].inbound.clone().context("inbound")?.usage))
        };
        wait_until("the counters", || {
            let (sent, came) = read()?;
            Ok(sent.packets == count && came.packets == count)
        })
        .with_context(|| format!("{:?}", read()))?;
        let (sent, came) = read()?;
        ensure!(sent.sequence == came.sequence && sent.sequence == count, "{sent:?} {came:?}");
        ensure!((came.replayed, came.late, came.forged) == (0, 0, 0), "{came:?}");
    }
    Ok(())
}

pub(crate) fn transport_mode_is_carried_or_refused_with_the_reason(engine: Engine) -> Result<()> {
    let world = engine.world(1)?;
    let transport = |pair: &mut SaPair| {
        pair.mode = Mode::Transport;
        pair.local_net = pair.local.into();
        pair.remote_net = pair.remote.into();
        pair.protocol = Some(17);
    };
    if engine != Engine::UserSpace {
        let encrypts = engine.bring_up(&world, 0, &engine.terms_that_encrypt(), transport)?;
        let line = Line::new(&world.hosts, encrypts, Side::BOTH.map(Side::outer))?;
        return line.echo(&[0, 1, 12, 1000, 3_000]).map(drop);
    }
    let mut pair = pair(Side::Left, 0, &engine.terms())?;
    transport(&mut pair);
    world.left().define(&pair)?;
    let refusal = world.left().refusal(&prepare(&name(0)?, 1))?;
    ensure!(refusal.code == AgentErrorCode::Engine(ErrorClass::Unsupported), "{refusal:?}");
    ensure!(refusal.message.contains("tunnel mode only"), "{refusal:?}");
    Ok(())
}

pub(crate) fn a_switch_under_traffic_loses_repeats_and_reorders_nothing(
    engine: Engine,
) -> Result<()> {
    let (world, line) = engine.world_with_pair(&engine.terms_that_encrypt())?;
    let Line { left, right, .. } = line;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<u32> {
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                left.send(&number.to_be_bytes())?;
                number += 1;
                thread::sleep(Duration::from_millis(2));
            }
            left.send(&LAST.to_be_bytes())?;
            Ok(number)
        });
        let receiver = scope.spawn(|| -> Vec<u32> {
            let mut buffer = [0; 4];
            let packets = std::iter::from_fn(|| right.recv(&mut buffer).ok().map(|_| buffer));
            packets.map(u32::from_be_bytes).take_while(|number| *number != LAST).collect()
        });
        let switched = (2..=6).try_for_each(|epoch| switch(&world, epoch));
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().map_err(|_| anyhow::anyhow!("panic"))??;
        let came = receiver.join().map_err(|_| anyhow::anyhow!("panic"))?;
        switched?;
        ensure!(sent > 50, "only {sent} packets");
        ensure!(came.iter().copied().eq(0..sent), "{sent} sent, {} came: {came:?}", came.len());
        Ok(())
    })
}

fn switch(world: &World, epoch: u64) -> Result<()> {
    bring_into_use(world.both(), &name(0)?, epoch)?;
    let old = Epoch(epoch - 1);
    for agent in world.both() {
        agent.ask(&Request::RetireOutbound { name: name(0)?, epoch: old })?;
    }
    thread::sleep(Duration::from_millis(300));
    for agent in world.both() {
        agent.ask(&Request::RetireInbound { name: name(0)?, epoch: old })?;
    }
    Ok(())
}

fn over_ipv6(pair: &mut SaPair) {
    let at = |address: IpAddr| if address.to_string().ends_with('1') { 1 } else { 2 };
    let outer = |at: u16| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, at);
    let inner = |at: u16| std::net::Ipv6Addr::new(0xfd00 + at, 0, 0, 0, 0, 0, 0, 1);
    let (local, remote) = (at(pair.local), at(pair.remote));
    (pair.local, pair.remote) = (outer(local).into(), outer(remote).into());
    pair.local_net = IpAddr::from(inner(local)).into();
    pair.remote_net = IpAddr::from(inner(remote)).into();
}

const MARK: &[u8] = b"nobody else may read this sentence";
/// Ends a flow of numbered packets.
const LAST: u32 = u32::MAX;
/// How long a packet may be on its way before it counts as lost: a VM stands still beside builds.
const LOST: Duration = Duration::from_secs(10);
