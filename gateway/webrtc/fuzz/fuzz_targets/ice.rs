//! Any order of datagrams, authentic and not, of candidates, restarts and time: an agent never
//! panics, never says more than it may at once, and never asks to be called in a past without end.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use ng::sdp::{Candidate, CandidateKind, IceCredentials};
use sha1::Sha1;
use webrtc::ice::{
    Agent, Component, Implementation, LocalCandidate, MAX_VALID_SOURCES, Output, RemoteParameters,
    Restart, Role, Seed, Settings,
};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut fuzzed = Fuzzed::new(input.byte());
    while !input.0.is_empty() {
        fuzzed.step(&mut input);
        fuzzed.drain();
    }
});

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// One of few addresses, so that they meet again.
    fn address(&mut self) -> SocketAddr {
        let byte = self.byte();
        match byte >> 6 {
            0 => SocketAddr::from(([192, 0, 2, byte], 9)),
            1 => SocketAddr::from(([0x2001, 0xDB8, 0, 0, 0, 0, 0, u16::from(byte)], 9)),
            2 => SocketAddr::from(([10, 0, 0, 1], u16::from(byte & 3))),
            _ => SocketAddr::from(([192, 0, 2, self.byte()], u16::from(self.byte()) + 1)),
        }
    }

    fn role(&mut self) -> Role {
        if self.byte() & 1 == 0 { Role::Controlling } else { Role::Controlled }
    }
}

struct Fuzzed {
    agent: Agent,
    locals: Vec<LocalCandidate>,
    now: Instant,
    /// How many credentials there were on each side.
    generation: [u8; 2],
    /// Header of our last check, and where it went from and to.
    asked: Option<([u8; 20], SocketAddr, SocketAddr)>,
}

impl Fuzzed {
    fn new(flags: u8) -> Self {
        let addresses = [(Component::Rtp, 4000), (Component::Rtcp, 4001)];
        let local = |ip: &str| {
            let ip = ip.parse().expect("address");
            addresses.map(|(component, port)| {
                let address = SocketAddr::new(ip, port);
                LocalCandidate { component, address, preference: 65535 }
            })
        };
        let mut locals = [local("192.0.2.200"), local("2001:db8::200")].concat();
        if flags & 1 == 0 {
            locals.retain(|local| local.component == Component::Rtp);
        }
        let implementation = implementation(flags & 2);
        let role = if flags & 4 == 0 { Role::Controlling } else { Role::Controlled };
        let (local, candidates) = (credentials("ours", 0), locals.clone());
        let seed = Seed::new(&[7; 32]);
        let now = Instant::now();
        let settings = Settings { implementation, role, local, candidates, seed };
        let agent = Agent::new(settings, now).expect("settings");
        Self { agent, locals, now, generation: [0; 2], asked: None }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 10 {
            0 => {
                let length = usize::from(input.byte());
                let (to, from) = (input.byte(), input.address());
                self.give(to, from, input.take(length));
            }
            1..=3 => self.request(input),
            4 | 5 => self.answer(input),
            6 => {
                self.now += Duration::from_millis(u64::from(input.byte()).pow(2));
                self.agent.handle_timeout(self.now);
            }
            7 => self.candidate(input),
            8 => {
                let said = credentials("party", self.generation[1] + (input.byte() & 1));
                let implementation = implementation(input.byte() & 1);
                let remote = RemoteParameters { credentials: said, implementation };
                let _ = self.agent.set_remote(remote, self.now);
            }
            _ => self.rarely(input),
        }
    }

    fn rarely(&mut self, input: &mut Input<'_>) {
        match input.byte() % 5 {
            0 => self.agent.end_of_candidates(self.now),
            1 => self.agent.use_one_component(self.now),
            2 => {
                let taken = self.agent.use_two_components(self.locals.clone(), self.now);
                assert_eq!(taken, Ok(()));
            }
            _ => {
                self.generation = self.generation.map(|before| before.wrapping_add(1) % 100);
                let restart = Restart {
                    implementation: implementation(input.byte() & 1),
                    local: credentials("ours", self.generation[0]),
                    role: input.role(),
                };
                let _ = self.agent.restart(restart, self.now);
            }
        }
    }

    /// A check under the right credentials with any attributes.
    fn request(&mut self, input: &mut Input<'_>) {
        let (ours, party) = (credentials("ours", self.generation[0]), self.generation[1]);
        let username = format!("{}:{}", ours.ufrag, credentials("party", party).ufrag);
        let mut message = header(0x0001, &[input.byte(); 12]);
        attribute(&mut message, 0x0006, username.as_bytes());
        attribute(&mut message, 0x0024, &[1, 2, 3, input.byte()]);
        self.attributes(&mut message, input);
        sign(&mut message, &ours.pwd);
        let (to, from) = (input.byte(), input.address());
        self.give(to, from, &message);
    }

    /// An answer to our last check, with any attributes.
    fn answer(&mut self, input: &mut Input<'_>) {
        let Some((asked, from, to)) = self.asked else { return };
        let class = if input.byte() & 1 == 0 { 0x0101 } else { 0x0111 };
        let mut message = header(class, &asked[8..]);
        if class == 0x0101 {
            attribute(&mut message, 0x0020, &[0, 1, 3, 4, 5, 6, 7, input.byte()]);
        } else {
            attribute(&mut message, 0x0009, &[0, 0, 4, input.byte()]);
        }
        self.attributes(&mut message, input);
        sign(&mut message, &credentials("party", self.generation[1]).pwd);
        let index = self.locals.iter().position(|local| local.address == from).unwrap_or_default();
        let source = if input.byte() == 0 { input.address() } else { to };
        self.give(index as u8, source, &message);
    }

    fn attributes(&self, message: &mut Vec<u8>, input: &mut Input<'_>) {
        for _ in 0..input.byte() & 3 {
            let kind = u16::from_be_bytes([input.byte() & 0x80, input.byte() & 0x3F]);
            let length = usize::from(input.byte() & 31);
            attribute(message, kind, input.take(length));
        }
    }

    fn candidate(&mut self, input: &mut Input<'_>) {
        let candidate = Candidate {
            foundation: char::from(b'a' + (input.byte() & 7)).to_string().into(),
            component: input.byte() & 3,
            priority: u32::from_be_bytes([input.byte(); 4]),
            address: input.address(),
            kind: CandidateKind::Host,
            related: None,
        };
        let _ = self.agent.add_candidate(&candidate, self.now);
    }

    fn give(&mut self, to: u8, source: SocketAddr, bytes: &[u8]) {
        let local = self.locals[usize::from(to) % self.locals.len()];
        let _ = self.agent.receive(local.component, local.address, source, bytes, self.now);
    }

    fn drain(&mut self) {
        for _ in 0..1000 {
            match self.agent.poll() {
                Output::Transmit(sent) => {
                    assert!(sent.bytes.len() < 700);
                    if let (0x01, Some(head)) = (sent.bytes[1], sent.bytes.first_chunk()) {
                        self.asked = Some((*head, sent.from, sent.to));
                    }
                }
                Output::Valid { sources, .. } => assert!(sources.len() <= MAX_VALID_SOURCES),
                // What is due now is done now, so that this comes to an end.
                Output::Timeout(Some(due)) if due <= self.now => {
                    self.agent.handle_timeout(self.now)
                }
                Output::Timeout(_) => return,
                Output::Selected { .. } | Output::Failed | Output::ConsentLost => {}
            }
        }
        panic!("there is always more to poll");
    }
}

fn implementation(lite: u8) -> Implementation {
    if lite == 0 { Implementation::Full } else { Implementation::Lite }
}

fn credentials(whose: &str, generation: u8) -> IceCredentials {
    let ufrag = format!("{whose}{generation}").into();
    IceCredentials { ufrag, pwd: format!("{whose}{generation:0>22}").into() }
}

fn header(kind: u16, transaction: &[u8]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend([0, 0, 0x21, 0x12, 0xA4, 0x42]);
    message.extend(transaction);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn sign(message: &mut Vec<u8>, password: &str) {
    set_length(message, 24);
    let mut mac = Hmac::<Sha1>::new_from_slice(password.as_bytes()).expect("any length");
    mac.update(message);
    attribute(message, 0x0008, &mac.finalize().into_bytes());
    set_length(message, 8);
    let checksum = crc32(message) ^ 0x5354_554E;
    attribute(message, 0x8028, &checksum.to_be_bytes());
}

fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() + more - 20) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}
