//! Two tunnel ends in two network namespaces, with a veth pair between them: where ESP and
//! WireGuard carry the same packets.

pub mod boringtun;
pub mod esp;
pub mod topology;
pub mod traffic;

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::topology::{Host, Topology};

/// A tunnel between the two hosts of a [`Topology`], up and ready.
pub trait Tunnel {
    /// The processes that carry it.
    fn processes(&self) -> [u32; 2];
    /// The TUN device of the right host, whose counters tell what was delivered.
    fn right_device(&self) -> &str;
}

/// What carries packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contestant {
    /// Our ESP, AES-GCM-128 in UDP.
    Esp,
    /// WireGuard in Rust, ChaCha20-Poly1305 in UDP.
    Boringtun,
}

impl Contestant {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Esp, Self::Boringtun];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Esp => "user-space ESP",
            Self::Boringtun => "boringtun",
        }
    }

    /// Starts it between the hosts.
    ///
    /// # Errors
    /// When a program is missing or does not come up.
    pub fn start(self, topology: &Topology) -> Result<Box<dyn Tunnel>> {
        match self {
            Self::Esp => Ok(Box::new(esp::Esp::start(topology)?)),
            Self::Boringtun => Ok(Box::new(boringtun::Boringtun::start(topology)?)),
        }
    }
}

/// Has a process in the left host send through the tunnel (a thread could not: it shares its
/// process's namespace), on `core`. The answer is how many packets it sent; see
/// [`traffic::send`].
///
/// # Errors
/// When the sender does not run.
pub fn send_through(
    topology: &Topology,
    core: usize,
    bytes: usize,
    length: Duration,
    rate: Option<f64>,
) -> Result<u64> {
    let to = SocketAddr::new(topology.right.inner.parse()?, DISCARD);
    let program = std::env::current_exe()?.with_file_name("tunnel_send");
    let mut command: Command = topology.left.command("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command.args([to.to_string(), bytes.to_string(), length.as_millis().to_string()]);
    command.args(rate.map(|rate| rate.to_string())).stdout(Stdio::piped());
    let output = command.output()?;
    String::from_utf8(output.stdout)?.trim().parse().context("the sender says no number")
}

/// Bytes of IP packets that the right end has handed out. Packets of one flow may come joined, and
/// then count the headers of the first alone: what follows from this is never too much.
///
/// # Errors
/// When its device is gone.
pub fn delivered(right: &Host, tunnel: &dyn Tunnel) -> Result<u64> {
    right.counter(tunnel.right_device(), "rx_bytes")
}

/// Sends now and then until something arrives.
fn wait_until_it_carries(topology: &Topology, tunnel: &dyn Tunnel) -> Result<()> {
    let start = Instant::now();
    while delivered(&topology.right, tunnel)? == 0 {
        ensure!(start.elapsed() < PATIENCE, "nothing comes through the tunnel");
        send_through(topology, 0, 100, Duration::from_millis(1), Some(10_000.0))?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// UDP's discard port: nobody listens, of which the kernel tells the sender once a second.
const DISCARD: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(10);
