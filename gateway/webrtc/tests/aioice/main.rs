//! Our agent and one of aioice (Python), over real sockets of this host. Without a Python that has
//! it (`scripts/aiortc-python`) or an address that is not loopback, SKIPPED.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ng::sdp::{Candidate, CandidateKind, IceCredentials};
use webrtc::ice::{
    Agent, Component, Implementation, LocalCandidate, Output, RemoteParameters, Role, Seed,
    Settings, State, credentials,
};

#[test]
fn we_connect_with_aioice_in_both_roles() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/aiortc-python");
    let found = Command::new(script).output().expect("runs");
    if !found.status.success() {
        println!("SKIPPED aioice: {}", String::from_utf8_lossy(&found.stderr).trim());
        return;
    }
    let python = String::from_utf8(found.stdout).unwrap();
    for role in [Role::Controlling, Role::Controlled] {
        meet(python.trim(), role);
    }
}

fn meet(python: &str, role: Role) {
    let mut peer = Peer::start(python, role.other());
    let Some(ip) = peer.candidates.iter().map(SocketAddr::ip).find(|ip| ip.is_ipv4()) else {
        println!("SKIPPED aioice: this host has loopback addresses alone");
        return;
    };
    let mut ours = Ours::new(SocketAddr::new(ip, 0), role);
    let said = ours.local.to_sdp(ours.local.address);
    let Candidate { foundation, priority, address, .. } = &said;
    let (ufrag, pwd) = (&ours.credentials.ufrag, &ours.credentials.pwd);
    let line =
        format!("{foundation} 1 udp {priority} {} {} typ host", address.ip(), address.port());
    writeln!(peer.input, "{ufrag} {pwd}\n{line}").unwrap();
    ours.learn(&peer);
    assert_eq!(ours.media(), b"\x80ping", "{role:?}");
    assert_eq!(ours.agent.state(), State::Connected);
    assert_eq!(peer.line(), "connected");
    let (_, to) = ours.selected.unwrap();
    ours.socket.send_to(b"\x80pong", to).unwrap();
    assert_eq!(peer.line(), "b'\\x80pong'");
    let counters = ours.agent.counters();
    assert_eq!(counters.refused.iter().sum::<u32>(), 0, "{counters:?}");
}

struct Ours {
    agent: Agent,
    credentials: IceCredentials,
    local: LocalCandidate,
    socket: UdpSocket,
    selected: Option<(SocketAddr, SocketAddr)>,
}

impl Ours {
    fn new(address: SocketAddr, role: Role) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        let local = LocalCandidate { component: Component::Rtp, address, preference: 65535 };
        let port = address.port().to_be_bytes();
        let credentials = credentials(&std::array::from_fn(|index| port[index % 2] ^ index as u8));
        let settings = Settings {
            implementation: Implementation::Full,
            role,
            local: credentials.clone(),
            candidates: vec![local],
            seed: Seed::new(&std::array::from_fn(|index| port[index % 2])),
        };
        let agent = Agent::new(settings, Instant::now()).unwrap();
        Self { agent, credentials, local, socket, selected: None }
    }

    fn learn(&mut self, peer: &Peer) {
        let (credentials, now) = (peer.credentials.clone(), Instant::now());
        let implementation = Implementation::Full;
        self.agent.set_remote(RemoteParameters { credentials, implementation }, now).unwrap();
        for address in &peer.candidates {
            let candidate = Candidate {
                foundation: "theirs".into(),
                component: 1,
                priority: self.local.priority(),
                address: *address,
                kind: CandidateKind::Host,
                related: None,
            };
            self.agent.add_candidate(&candidate, now).unwrap();
        }
        self.agent.end_of_candidates(now);
    }

    /// The first datagram that is not STUN (RFC 7983); returned once we are connected too, which
    /// the party may be before us.
    fn media(&mut self) -> Vec<u8> {
        let start = Instant::now();
        let mut buffer = [0; 1500];
        let mut media = None;
        while start.elapsed() < Duration::from_secs(20) {
            self.drain();
            if let (State::Connected, Some(media)) = (self.agent.state(), &media) {
                return Vec::clone(media);
            }
            let Ok((length, source)) = self.socket.recv_from(&mut buffer) else { continue };
            let bytes = &buffer[..length];
            if bytes[0] >= 4 {
                media = Some(bytes.to_vec());
                continue;
            }
            let (to, now) = (self.local.address, Instant::now());
            let _ = self.agent.receive(Component::Rtp, to, source, bytes, now);
        }
        panic!("no media: {:?} {:?}", self.agent, self.agent.counters());
    }

    /// Sends what there is to send, and sets the socket to wait until something is due.
    fn drain(&mut self) {
        self.agent.handle_timeout(Instant::now());
        loop {
            match self.agent.poll() {
                Output::Transmit(sent) => drop(self.socket.send_to(&sent.bytes, sent.to)),
                Output::Selected { local, remote, .. } => self.selected = Some((local, remote)),
                Output::Timeout(due) => {
                    let due = due.map_or(Duration::MAX, |due| due - Instant::now());
                    let wait = due.clamp(Duration::from_millis(1), Duration::from_millis(100));
                    return self.socket.set_read_timeout(Some(wait)).unwrap();
                }
                Output::Valid { .. } | Output::Failed | Output::ConsentLost => {}
            }
        }
    }
}

struct Peer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    credentials: IceCredentials,
    candidates: Vec<SocketAddr>,
}

impl Peer {
    fn start(python: &str, role: Role) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aioice/peer.py");
        let role = if role == Role::Controlling { "controlling" } else { "controlled" };
        let mut command = Command::new(python);
        command.arg(program).arg(role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let nobody = IceCredentials { ufrag: "".into(), pwd: "".into() };
        let output = BufReader::new(output);
        let mut peer = Self { process, input, output, credentials: nobody, candidates: Vec::new() };
        let said = peer.line();
        let (ufrag, pwd) = said.split_once(' ').expect("credentials");
        peer.credentials = IceCredentials { ufrag: ufrag.into(), pwd: pwd.into() };
        loop {
            let line = peer.line();
            let words: Vec<&str> = line.split(' ').collect();
            let [_, "1", _, _, ip, port, ..] = words[..] else { break };
            peer.candidates.push(SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap()));
        }
        peer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
