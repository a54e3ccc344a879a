//! What the tests in the VM stand on: two hosts whose inner networks reach each other by way of the
//! wire, pairs between them, and the kernel's own answers.

use std::{
    iter,
    net::UdpSocket,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use crypto_offload::{
    Aead, Effective, PairEncapsulation, PairName, PlacementPolicy, SaPair, SequenceNumbers,
};

use super::{
    agent::{Agent, PATIENCE},
    hosts::{Hosts, Side},
};

/// Two hosts with room for `pairs` pairs. The kernel's ESP wants a route before it looks for a
/// policy.
pub(crate) fn hosts(pairs: usize) -> Result<Hosts> {
    let hosts = Hosts::new(pairs)?;
    for side in Side::BOTH {
        hosts.ip(side, &format!("route add default via {}", side.other().outer()))?;
    }
    Ok(hosts)
}

/// Gives both hosts IPv6, too: on the wire 2001:db8::1 and ::2, inside fd01::1 and fd02::1.
pub(crate) fn add_ipv6(hosts: &Hosts) -> Result<()> {
    for (side, at) in [(Side::Left, 1), (Side::Right, 2)] {
        let lines = format!(
            "address add 2001:db8::{at}/64 dev wire nodad\n\
             address add fd0{at}::1/128 dev lo nodad\n\
             route add default via 2001:db8::{}\n",
            3 - at
        );
        hosts.ip_all(side, &lines)?;
    }
    Ok(())
}

/// What a test asks of a pair.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) placement: PlacementPolicy,
    pub(crate) aead: Aead,
    pub(crate) sequence_numbers: SequenceNumbers,
    pub(crate) device: Option<&'static str>,
    pub(crate) encapsulation: Option<PairEncapsulation>,
}

impl Terms {
    /// AES-GCM with 256 bits and extended sequence numbers; no device, no UDP.
    pub(crate) fn placed(placement: PlacementPolicy) -> Self {
        Self {
            placement,
            aead: Aead::Aes256Gcm,
            sequence_numbers: SequenceNumbers::Extended,
            device: None,
            encapsulation: None,
        }
    }
}

/// Pair `index` as `side` has it.
pub(crate) fn pair(side: Side, index: usize, terms: &Terms) -> Result<SaPair> {
    let (local_net, remote_net) = (side.inner(index).0, side.other().inner(index).0);
    Ok(SaPair {
        name: name(index)?,
        group: None,
        peer: None,
        local: side.outer().parse()?,
        remote: side.other().outer().parse()?,
        local_net: local_net.parse()?,
        remote_net: remote_net.parse()?,
        protocol: None,
        local_port: None,
        remote_port: None,
        mode: crypto_offload::Mode::Tunnel,
        aead: terms.aead,
        sequence_numbers: terms.sequence_numbers,
        replay_window: 256,
        lifetimes: crypto_offload::Lifetimes::default(),
        encapsulation: terms.encapsulation,
        placement: terms.placement.clone(),
        device: terms.device.map(str::to_owned),
        rotation: crypto_offload::RotationTiming::default(),
    })
}

pub(crate) fn name(index: usize) -> Result<PairName> {
    Ok(PairName::new(format!("pair-{index}"))?)
}

/// Brings an epoch into use at both sides, in the order that loses nothing; says where the SAs of
/// each side are, inbound first.
pub(crate) fn bring_into_use(
    agents: [&Agent; 2],
    name: &PairName,
    epoch: u64,
) -> Result<[[Effective; 2]; 2]> {
    let (left_offer, left_in) = agents[0].prepare(name, epoch)?;
    let (right_offer, right_in) = agents[1].prepare(name, epoch)?;
    let left_out = agents[0].install_outbound(name, epoch, right_offer)?;
    let right_out = agents[1].install_outbound(name, epoch, left_offer)?;
    for agent in agents {
        agent.switch(name, epoch)?;
    }
    Ok([[left_in, left_out], [right_in, right_out]])
}

/// Sends `count` packets through pair `index`, one after the other; says how many came back.
pub(crate) fn echo(hosts: &Hosts, index: usize, count: usize) -> Result<usize> {
    let there = Side::Right.inner(index).1;
    let (ready, is_ready) = std::sync::mpsc::channel();
    let done = Arc::new(AtomicBool::new(false));
    let answering = hosts.spawn(Side::Right, {
        let (there, is_done) = (there.clone(), Arc::clone(&done));
        move || {
            let socket = UdpSocket::bind((there.as_str(), PORT))?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            let _ = ready.send(());
            let mut buffer = [0; 2048];
            while !is_done.load(Ordering::Relaxed) {
                if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    socket.send_to(&buffer[..len], from)?;
                }
            }
            Ok(())
        }
    })?;
    is_ready.recv().context("nobody answers at the right")?;
    let asking = hosts.spawn(Side::Left, move || {
        let socket = UdpSocket::bind((Side::Left.inner(index).1.as_str(), 0))?;
        socket.connect((there.as_str(), PORT))?;
        socket.set_read_timeout(Some(LOST))?;
        let (mut back, mut buffer) = (0, [0; 100]);
        for number in 0..count {
            let payload = [number as u8 + 1; 100];
            let sent = socket.send(&payload).is_ok();
            // One that was late counts as lost, and is not taken for the next.
            let mut answers = iter::from_fn(|| socket.recv(&mut buffer).ok().map(|_| buffer));
            let came = sent && answers.any(|answer| answer == payload);
            back += usize::from(came);
        }
        Ok(back)
    })?;
    let back = asking.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))?;
    done.store(true, Ordering::Relaxed);
    answering.join().map_err(|_| anyhow::anyhow!("the answering thread panicked"))??;
    back
}

/// What `ip -n NAMESPACE arguments` prints.
pub(crate) fn ip_says(hosts: &Hosts, side: Side, arguments: &str) -> Result<String> {
    let output = Command::new("ip")
        .args(["-n", &hosts.namespace(side)])
        .args(arguments.split_whitespace())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "ip {arguments}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits for what the kernel or a process brings about.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

const PORT: u16 = 7001;
/// How long a packet may be on its way before it counts as lost.
const LOST: Duration = Duration::from_secs(3);
