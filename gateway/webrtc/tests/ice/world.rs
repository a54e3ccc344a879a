//! Two ends of ours, a network, and a clock that jumps from event to event.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ng::sdp::IceCredentials;
use webrtc::ice::{
    Agent, Component, Implementation, LocalCandidate, Output, RemoteParameters, Restart, Role,
    Seed, Settings, State, credentials,
};

use crate::network::{Chance, Datagram, Network};

/// What an end was told by its agent.
pub(crate) struct End {
    pub(crate) agent: Agent,
    pub(crate) credentials: IceCredentials,
    pub(crate) implementation: Implementation,
    pub(crate) locals: Vec<LocalCandidate>,
    pub(crate) valid: [Vec<SocketAddr>; 2],
    pub(crate) heard: [Vec<SocketAddr>; 2],
    pub(crate) selected: [Option<(SocketAddr, SocketAddr)>; 2],
    pub(crate) selections: Vec<(Instant, SocketAddr)>,
    pub(crate) failed: Option<Instant>,
    pub(crate) lost: Option<Instant>,
    /// Every datagram sent: when, to whom, how long.
    pub(crate) sent: Vec<(Instant, SocketAddr, usize)>,
    due: Option<Instant>,
}

/// What an end is made of.
#[derive(Clone, Copy)]
pub(crate) struct Made<'a> {
    pub(crate) implementation: Implementation,
    pub(crate) role: Role,
    /// RTP's addresses.
    pub(crate) rtp: &'a [&'a str],
    /// RTCP's.
    pub(crate) rtcp: &'a [&'a str],
}

impl<'a> Made<'a> {
    pub(crate) fn full(role: Role, rtp: &'a [&'a str]) -> Self {
        Self { implementation: Implementation::Full, role, rtp, rtcp: &[] }
    }

    pub(crate) fn lite(rtp: &'a [&'a str]) -> Self {
        Self { implementation: Implementation::Lite, role: Role::Controlled, rtp, rtcp: &[] }
    }
}

impl End {
    pub(crate) fn new(made: Made<'_>, chance: &mut Chance, now: Instant) -> Self {
        let local = |component| {
            move |(index, address): (usize, &&str)| LocalCandidate {
                component,
                address: address.parse().unwrap(),
                preference: 65535 - index as u16,
            }
        };
        let rtp = made.rtp.iter().enumerate().map(local(Component::Rtp));
        let locals: Vec<_> =
            rtp.chain(made.rtcp.iter().enumerate().map(local(Component::Rtcp))).collect();
        let credentials = credentials(&chance.bytes());
        let settings = Settings {
            implementation: made.implementation,
            role: made.role,
            local: credentials.clone(),
            candidates: locals.clone(),
            seed: Seed::new(&chance.bytes()),
        };
        Self {
            agent: Agent::new(settings, now).unwrap(),
            credentials,
            implementation: made.implementation,
            locals,
            valid: Default::default(),
            heard: Default::default(),
            selected: Default::default(),
            selections: Vec::new(),
            failed: None,
            lost: None,
            sent: Vec::new(),
            due: None,
        }
    }

    pub(crate) fn parameters(&self) -> RemoteParameters {
        let implementation = self.implementation;
        RemoteParameters { credentials: self.credentials.clone(), implementation }
    }

    /// Polls until there is no more, and checks what must hold of every output.
    pub(crate) fn drain(&mut self, network: &mut Network, now: Instant) {
        for _ in 0..10_000 {
            match self.agent.poll() {
                Output::Transmit(sent) => {
                    assert!(self.locals.iter().any(|local| local.address == sent.from));
                    assert!(sent.bytes.len() < 700);
                    self.sent.push((now, sent.to, sent.bytes.len()));
                    let bytes = sent.bytes.into_vec();
                    network.send(Datagram { from: sent.from, to: sent.to, bytes }, now);
                }
                Output::Valid { component, sources, heard } => {
                    assert!(sources.len().max(heard.len()) <= webrtc::ice::MAX_VALID_SOURCES);
                    assert!(heard.iter().all(|source| !sources.contains(source)));
                    self.valid[component.index()] = sources;
                    self.heard[component.index()] = heard;
                }
                Output::Selected { component, local, remote } => {
                    self.selected[component.index()] = Some((local, remote));
                    self.selections.push((now, remote));
                }
                Output::Failed => assert!(self.failed.replace(now).is_none(), "failed twice"),
                Output::ConsentLost => self.lost = Some(now),
                Output::Timeout(due) => {
                    self.due = due;
                    return;
                }
            }
        }
        panic!("there is always more to poll");
    }

    fn owns(&self, address: SocketAddr) -> Option<Component> {
        self.locals.iter().find(|local| local.address == address).map(|local| local.component)
    }
}

pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) network: Network,
    pub(crate) ends: [End; 2],
}

pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;

impl World {
    pub(crate) fn new(seed: u64, a: Made<'_>, b: Made<'_>) -> Self {
        let start = Instant::now();
        let mut network = Network::new(seed);
        let ends = [a, b].map(|made| End::new(made, &mut network.chance, start));
        Self { start, now: start, network, ends }
    }

    /// The commonest call: A offers, B answers, one component, both full.
    pub(crate) fn plain(seed: u64) -> Self {
        let a = Made::full(Role::Controlling, &["192.0.2.1:4000"]);
        Self::new(seed, a, Made::full(Role::Controlled, &["192.0.2.2:5000"]))
    }

    /// Both learn all of the other.
    pub(crate) fn signal(&mut self) {
        self.tell(A);
        self.tell(B);
    }

    /// `to` learns credentials and candidates of the other.
    pub(crate) fn tell(&mut self, to: usize) {
        self.tell_credentials(to);
        self.tell_candidates(to);
    }

    pub(crate) fn tell_credentials(&mut self, to: usize) {
        let parameters = self.ends[1 - to].parameters();
        self.ends[to].agent.set_remote(parameters, self.now).unwrap();
        self.ends[to].drain(&mut self.network, self.now);
    }

    pub(crate) fn tell_candidates(&mut self, to: usize) {
        let candidates = self.ends[1 - to].locals.clone();
        for local in candidates {
            let candidate = local.to_sdp(local.address);
            self.ends[to].agent.add_candidate(&candidate, self.now).unwrap();
        }
        self.ends[to].agent.end_of_candidates(self.now);
        self.ends[to].drain(&mut self.network, self.now);
    }

    /// New credentials on one side.
    pub(crate) fn restart(&mut self, end: usize, role: Role) {
        let local = credentials(&self.network.chance.bytes());
        self.ends[end].credentials = local.clone();
        let implementation = self.ends[end].implementation;
        let restart = Restart { implementation, local, role };
        self.ends[end].agent.restart(restart, self.now).unwrap();
        self.ends[end].drain(&mut self.network, self.now);
    }

    pub(crate) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Runs until `done`, at most for `time`; says whether it was.
    pub(crate) fn run_until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + time;
        let mut turns_at_once = 0;
        while !done(self) {
            let due = self.ends.iter().filter_map(|end| end.due);
            let Some(next) = due.chain(self.network.next_arrival()).min().filter(|at| *at <= end)
            else {
                self.now = end;
                return done(self);
            };
            turns_at_once = if next > self.now { 0 } else { turns_at_once + 1 };
            assert!(turns_at_once < 1000, "time stands still");
            self.now = self.now.max(next);
            self.turn();
        }
        true
    }

    /// Whether both have a pair for each component they have.
    pub(crate) fn is_connected(&self) -> bool {
        self.ends.iter().all(|end| end.agent.state() == State::Connected)
    }

    /// The selected pairs of both ends are each other's.
    pub(crate) fn assert_agreed(&self, component: Component) {
        let [a, b] =
            [A, B].map(|end| self.ends[end].selected[component.index()].expect("selected"));
        assert_eq!((a.0, a.1), (b.1, b.0));
    }

    fn turn(&mut self) {
        while let Some(datagram) = self.network.arrived(self.now) {
            self.deliver(&datagram);
        }
        for end in &mut self.ends {
            if end.due.is_some_and(|due| due <= self.now) {
                end.agent.handle_timeout(self.now);
                end.drain(&mut self.network, self.now);
            }
        }
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let Datagram { from, to, bytes } = datagram;
        for end in &mut self.ends {
            if let Some(component) = end.owns(*to) {
                let _ = end.agent.receive(component, *to, *from, bytes, self.now);
                end.drain(&mut self.network, self.now);
            }
        }
    }
}
