//! Our user-space ESP: an offload agent at both ends, told what to do as a gateway tells it.

use std::{
    io::{Read, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use crypto_offload::{
    Aead, Epoch, PairEncapsulation, PairName, Placement, PlacementPolicy, SaPair,
};
use gateway_control::{
    KeyOffer,
    agent::{AGENT_VERSION, MAX_MESSAGE, Request, Response},
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{
    Tunnel,
    topology::{Host, Topology},
    wait_until_it_carries,
};

/// Both ends; stopped when dropped.
pub struct Esp {
    ends: [Child; 2],
    directory: PathBuf,
}

impl Esp {
    /// Starts both and waits until the first packet has passed.
    ///
    /// # Errors
    /// When `offload-agent` is not beside this program.
    pub fn start(topology: &Topology) -> Result<Self> {
        // In memory, as an agent's state is by default.
        let directory = PathBuf::from(format!("/dev/shm/postern-esp-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let hosts = [&topology.left, &topology.right];
        let start = |side: usize| start_end(hosts[side], DEVICES[side], &directory);
        let tunnel = Self { ends: [start(0)?, start(1)?], directory };
        let agent = |side: usize| Agent::connect(&socket(&tunnel.directory, DEVICES[side]));
        let mut agents = [agent(0)?, agent(1)?];
        agents[0].ask(&define(hosts[0], hosts[1])?)?;
        agents[1].ask(&define(hosts[1], hosts[0])?)?;
        let offers = [agents[0].prepare()?, agents[1].prepare()?];
        for (agent, offer) in agents.iter_mut().zip(offers.into_iter().rev()) {
            agent.ask(&Request::InstallOutbound { name: name()?, epoch: Epoch(1), offer })?;
            agent.ask(&Request::Switch { name: name()?, epoch: Epoch(1) })?;
        }
        wait_until_it_carries(topology, &tunnel)?;
        Ok(tunnel)
    }
}

impl Tunnel for Esp {
    fn processes(&self) -> [u32; 2] {
        [self.ends[0].id(), self.ends[1].id()]
    }

    fn right_device(&self) -> &str {
        DEVICES[1]
    }
}

impl Drop for Esp {
    fn drop(&mut self) {
        for end in &mut self.ends {
            let _ = end.kill();
            let _ = end.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn start_end(host: &Host, device: &str, directory: &Path) -> Result<Child> {
    let program = std::env::current_exe()?.with_file_name("offload-agent");
    let program = program.to_str().context("a path that is no text")?;
    let socket = socket(directory, device);
    let child = host
        .command(program)
        .args(["run", "--engine", "user-space", "--tun", device, "--socket"])
        .arg(&socket)
        .arg("--state-dir")
        .arg(directory.join(device))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting offload-agent")?;
    let start = Instant::now();
    while !socket.exists() {
        ensure!(start.elapsed() < PATIENCE, "offload-agent does not come up: {device}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

fn socket(directory: &Path, device: &str) -> PathBuf {
    directory.join(format!("{device}.sock"))
}

/// AES-GCM-128 in UDP: what WireGuard's packets are most like.
fn define(own: &Host, peer: &Host) -> Result<Request> {
    let (local, remote): (IpAddr, IpAddr) = (own.outer.parse()?, peer.outer.parse()?);
    let pair = SaPair {
        name: name()?,
        group: None,
        peer: None,
        local,
        remote,
        local_net: own.network.parse()?,
        remote_net: peer.network.parse()?,
        protocol: None,
        local_port: None,
        remote_port: None,
        mode: crypto_offload::Mode::Tunnel,
        aead: Aead::Aes128Gcm,
        sequence_numbers: crypto_offload::SequenceNumbers::Extended,
        replay_window: 1024,
        lifetimes: crypto_offload::Lifetimes::default(),
        encapsulation: Some(PairEncapsulation { local_port: 4500, remote_port: 4500 }),
        placement: PlacementPolicy::Require(Placement::UserSpace),
        device: None,
        rotation: crypto_offload::RotationTiming::default(),
    };
    Ok(Request::Define { pair: Box::new(pair) })
}

fn name() -> Result<PairName> {
    Ok(PairName::new("bench")?)
}

/// A connection to an agent, one request at a time.
struct Agent(Socket);

impl Agent {
    fn connect(path: &Path) -> Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        let mut agent = Self(socket);
        agent.ask(&Request::Hello { version: AGENT_VERSION, seen_generation: None })?;
        Ok(agent)
    }

    fn prepare(&mut self) -> Result<KeyOffer> {
        let request = Request::Prepare { name: name()?, epoch: Epoch(1), given: None };
        match self.ask(&request)? {
            Response::Prepared { offer, .. } => Ok(offer),
            other => bail!("the agent answers {other:?}"),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Response> {
        self.0.write_all(&serde_json::to_vec(request)?)?;
        let mut answer = vec![0; MAX_MESSAGE];
        let len = self.0.read(&mut answer)?;
        match serde_json::from_slice(&answer[..len])? {
            Response::Refused(refusal) => bail!("the agent refuses: {refusal}"),
            response => Ok(response),
        }
    }
}

const DEVICES: [&str; 2] = ["esp-left", "esp-right"];
const PATIENCE: Duration = Duration::from_secs(10);
