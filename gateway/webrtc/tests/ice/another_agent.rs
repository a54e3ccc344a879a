//! Our agent and one of the `is` crate (str0m's), which shares no code with it: both roles, lite on
//! either side, over loss.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceCreds, Protocol};
use ng::sdp::IceCredentials;
use webrtc::ice::{Component, Implementation, Output, RemoteParameters, Role, State};

use crate::network::{Datagram, Network};
use crate::world::{End, Made};

const OURS: &str = "192.0.2.1:4000";
const THEIRS: &str = "192.0.2.2:5000";

struct Pairing {
    ours: End,
    theirs: IceAgent,
    their_path: Option<(SocketAddr, SocketAddr)>,
    network: Network,
    now: Instant,
}

impl Pairing {
    fn new(seed: u64, ours: Made<'_>, their_role: Role, their_kind: Implementation) -> Self {
        let now = Instant::now();
        let mut network = Network::new(seed);
        let mut ours = End::new(ours, &mut network.chance, now);
        let creds =
            IceCreds { ufrag: "theirufr".into(), pass: "theirpasswordtheirpassword".into() };
        let mut theirs = IceAgent::new(creds.clone());
        theirs.set_control_tie_breaker(network.chance.next());
        theirs.set_controlling(their_role == Role::Controlling);
        theirs.set_ice_lite(their_kind == Implementation::Lite);
        theirs.add_local_candidate(Candidate::host(THEIRS.parse().unwrap(), "udp").unwrap());
        theirs.set_remote_credentials(IceCreds {
            ufrag: ours.credentials.ufrag.to_string(),
            pass: ours.credentials.pwd.to_string(),
        });
        theirs.add_remote_candidate(Candidate::host(OURS.parse().unwrap(), "udp").unwrap());
        let credentials = IceCredentials { ufrag: creds.ufrag.into(), pwd: creds.pass.into() };
        let remote = RemoteParameters { credentials, implementation: their_kind };
        ours.agent.set_remote(remote, now).unwrap();
        let their_candidate = webrtc::ice::LocalCandidate {
            component: Component::Rtp,
            address: THEIRS.parse().unwrap(),
            preference: 65535,
        };
        let said = their_candidate.to_sdp(their_candidate.address);
        ours.agent.add_candidate(&said, now).unwrap();
        theirs.handle_timeout(now);
        let mut pairing = Self { ours, theirs, their_path: None, network, now };
        pairing.drain();
        pairing
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(5);
            while let Some(datagram) = self.network.arrived(self.now) {
                self.deliver(&datagram);
            }
            self.ours.agent.handle_timeout(self.now);
            if self.theirs.poll_timeout().is_some_and(|due| due <= self.now) {
                self.theirs.handle_timeout(self.now);
            }
            self.drain();
        }
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let Datagram { from, to, bytes } = datagram;
        if *to == OURS.parse().unwrap() {
            let _ = self.ours.agent.receive(Component::Rtp, *to, *from, bytes, self.now);
        } else {
            let message = StunMessage::parse(bytes).expect("they can read what we write");
            let (source, destination) = (*from, *to);
            let packet = StunPacket { proto: Protocol::Udp, source, destination, message };
            self.theirs.handle_packet(self.now, packet);
        }
    }

    fn drain(&mut self) {
        self.ours.drain(&mut self.network, self.now);
        while let Some(sent) = self.theirs.poll_transmit() {
            let (from, to, bytes) = (sent.source, sent.destination, sent.contents.to_vec());
            self.network.send(Datagram { from, to, bytes }, self.now);
        }
        while let Some(event) = self.theirs.poll_event() {
            if let IceAgentEvent::NominatedSend { source, destination, .. } = event {
                self.their_path = Some((source, destination));
            }
        }
    }

    fn assert_connected(&self, what: &str) {
        let path = (THEIRS.parse().unwrap(), OURS.parse().unwrap());
        assert_eq!(self.ours.agent.state(), State::Connected, "{what}");
        assert_eq!(self.ours.selected[0], Some((path.1, path.0)), "{what}");
        assert_eq!(self.their_path, Some(path), "{what}");
        assert!(self.theirs.state().is_connected(), "{what}");
    }
}

#[test]
fn we_connect_with_another_implementation_in_every_combination() {
    use Implementation::{Full, Lite};
    use Role::{Controlled, Controlling};
    let full = |role| Made::full(role, &[OURS]);
    let cases = [
        ("we control", full(Controlling), Controlled, Full),
        ("they control", full(Controlled), Controlling, Full),
        ("both controlling", full(Controlling), Controlling, Full),
        ("both controlled", full(Controlled), Controlled, Full),
        ("they are lite", full(Controlling), Controlled, Lite),
        ("we are lite", Made::lite(&[OURS]), Controlling, Full),
    ];
    for seed in 0..10 {
        for (what, ours, role, kind) in cases {
            let mut pairing = Pairing::new(seed, ours, role, kind);
            pairing.network.loss = seed * 20;
            pairing.run(Duration::from_secs(20));
            pairing.assert_connected(what);
        }
    }
}

#[test]
fn a_session_with_another_implementation_stays_up_and_ends_when_it_goes() {
    let mut pairing = Pairing::new(
        1,
        Made::full(Role::Controlled, &[OURS]),
        Role::Controlling,
        Implementation::Full,
    );
    pairing.run(Duration::from_secs(300));
    pairing.assert_connected("after five minutes");
    assert!(pairing.ours.lost.is_none());
    pairing.network.dead.insert(THEIRS.parse().unwrap());
    pairing.run(Duration::from_secs(36));
    assert!(pairing.ours.lost.is_some());
}

#[test]
fn they_take_our_outputs_for_what_they_are() {
    let mut pairing = Pairing::new(
        2,
        Made::full(Role::Controlling, &[OURS]),
        Role::Controlled,
        Implementation::Full,
    );
    pairing.run(Duration::from_secs(1));
    assert!(matches!(pairing.ours.agent.poll(), Output::Timeout(Some(_))));
    let counters = pairing.ours.agent.counters();
    assert_eq!(counters.refused, [0; webrtc::ice::Refusal::COUNT]);
}
