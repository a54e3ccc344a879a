//! Traffic: every kind of tunnel, every length, and a change of keys under load.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use crypto_offload::{Aead, Epoch, ErrorClass, Mode, SaPair, SequenceNumbers};
use gateway_control::agent::{AgentErrorCode, Request};

use crate::{
    agent::prepare,
    ground::{Terms, bring_into_use, name, pair, wait_until},
    hosts::{Hosts, Side},
    wire::Tap,
    world::{Engine, UDP, World},
};

/// A UDP socket at each end.
pub(crate) struct Line {
    left: UdpSocket,
    right: UdpSocket,
}

impl Line {
    pub(crate) fn new(hosts: &Hosts, left: &'static str, right: &'static str) -> Result<Self> {
        let bind = |side, address: &'static str| -> Result<UdpSocket> {
            let bound = hosts.spawn(side, move || Ok(UdpSocket::bind((address, 0))?))?;
            let socket = bound.join().map_err(|_| anyhow::anyhow!("panic"))??;
            socket.set_read_timeout(Some(LOST))?;
            Ok(socket)
        };
        let (left, right) = (bind(Side::Left, left)?, bind(Side::Right, right)?);
        left.connect(right.local_addr()?)?;
        right.connect(left.local_addr()?)?;
        Ok(Self { left, right })
    }

    /// Payloads of these lengths, there and back, whole.
    pub(crate) fn echo(&self, lengths: &[usize]) -> Result<()> {
        let mut buffer = vec![0; 65_536];
        for &length in lengths {
            let payload: Vec<u8> = MARK.iter().copied().cycle().take(length).collect();
            for (from, to) in [(&self.left, &self.right), (&self.right, &self.left)] {
                from.send(&payload)?;
                let came = to.recv(&mut buffer).with_context(|| format!("{length} bytes"))?;
                ensure!(buffer[..came] == payload, "{length} bytes are not what was sent");
            }
        }
        Ok(())
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
    for (aead, sequence_numbers) in Aead::ALL.into_iter().zip([
        SequenceNumbers::Extended,
        SequenceNumbers::Short,
        SequenceNumbers::Extended,
    ]) {
        for encapsulation in [UDP, None] {
            let terms = Terms { aead, sequence_numbers, encapsulation, ..engine.terms() };
            carries(engine, &terms, ["10.100.0.1", "10.200.0.1"], |_| {})
                .with_context(|| format!("{terms:?}"))?;
        }
    }
    let terms = Terms { aead: Aead::Aes256Gcm, ..engine.terms() };
    carries(engine, &terms, ["fd01::1", "fd02::1"], over_ipv6).context("IPv6")
}

fn carries(
    engine: Engine,
    terms: &Terms,
    inner: [&'static str; 2],
    changed: fn(&mut SaPair),
) -> Result<()> {
    let world = World::new(engine, 1)?;
    world.bring_up(0, terms, changed)?;
    let line = Line::new(&world.hosts, inner[0], inner[1])?;
    let mut tap = Tap::new(&world.hosts)?;
    line.echo(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 100, 1300])?;
    let packets = tap.packets();
    let (esp, address) = match inner[0].contains(':') {
        true => (6, 24),
        false => (9, 16),
    };
    let udp_or_esp = if terms.encapsulation.is_some() { 17 } else { 50 };
    let outer = packets.iter().filter(|packet| packet[esp] == udp_or_esp);
    ensure!(outer.count() == 15, "{} packets on the wire", packets.len());
    for packet in &packets {
        ensure!(!packet.windows(12).any(|part| part == &MARK[..12]), "in clear: {packet:02x?}");
        let is_inner = [10, 0xfd].contains(&packet[address]);
        ensure!(!is_inner, "an inner header in clear: {packet:02x?}");
    }
    counts_agree(&world, 15)?;
    // Each length near the MTU, and what is fragmented before or after it is sealed.
    line.echo(&(1380..=1480).step_by(5).chain([3_000, 20_000]).collect::<Vec<_>>())
}

/// What the one side has sealed the other has opened, and nothing else.
fn counts_agree(world: &World, count: u64) -> Result<()> {
    for [from, to] in [world.both(), [world.right(), world.left()]] {
        let read = || -> Result<_> {
            let (sent, came) = (from.show(&name(0)?)?, to.show(&name(0)?)?);
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
    let world = World::new(engine, 1)?;
    let transport = |pair: &mut SaPair| {
        pair.mode = Mode::Transport;
        pair.local_net = pair.local.into();
        pair.remote_net = pair.remote.into();
        pair.protocol = Some(17);
    };
    if engine == Engine::Xfrm {
        world.bring_up(0, &engine.terms(), transport)?;
        let line = Line::new(&world.hosts, Side::Left.outer(), Side::Right.outer())?;
        line.echo(&[0, 1, 12, 1000, 3_000])?;
        return Ok(());
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
    let world = World::with_pair(engine)?;
    let Line { left, right } = Line::new(&world.hosts, "10.100.0.1", "10.200.0.1")?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<u32> {
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                left.send(&number.to_be_bytes())?;
                number += 1;
                thread::sleep(Duration::from_millis(2));
            }
            Ok(number)
        });
        let receiver = scope.spawn(|| -> Vec<u32> {
            let mut buffer = [0; 4];
            let packets = std::iter::from_fn(|| right.recv(&mut buffer).ok().map(|_| buffer));
            packets.map(u32::from_be_bytes).collect()
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
    let at = |address: std::net::IpAddr| if address.to_string().ends_with('1') { 1 } else { 2 };
    let outer = |at: u16| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, at);
    let inner = |at: u16| std::net::Ipv6Addr::new(0xfd00 + at, 0, 0, 0, 0, 0, 0, 1);
    let (local, remote) = (at(pair.local), at(pair.remote));
    (pair.local, pair.remote) = (outer(local).into(), outer(remote).into());
    pair.local_net = std::net::IpAddr::from(inner(local)).into();
    pair.remote_net = std::net::IpAddr::from(inner(remote)).into();
}

const MARK: &[u8] = b"nobody else may read this sentence";
const LOST: Duration = Duration::from_secs(3);
