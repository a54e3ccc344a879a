//! One answering leg: ICE where it has it, then DTLS as the client.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ng::sdp::IceCredentials;
use ring::rand::{SecureRandom, SystemRandom};
use srtp::Profile;
use webrtc::dtls::{Association, DtlsSettings, Output as Dtls, Role};
use webrtc::ice::{
    Agent, CREDENTIAL_BYTES, Component, Implementation, LocalCandidate, Output as Ice, Seed,
    Settings, credentials,
};
use webrtc::identity::Identity;

use super::description::Remote;

/// A leg from its handshake on.
pub struct Leg {
    /// Where we receive: the one socket of all legs.
    local: SocketAddr,
    remote: Remote,
    identity: Identity,
    ice: Option<Agent>,
    /// From the moment on that the path is known.
    association: Option<Association>,
    /// The path.
    to: SocketAddr,
    deadline: Option<Instant>,
}

/// How far a leg has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing new.
    Waiting,
    /// Both sides have their keys.
    Secured,
    /// It came to nothing, or its end was heard of.
    Failed(String),
}

/// The ICE that an answer tells of: made before the relay's leg is heard of.
pub struct OwnIce {
    /// Ours.
    pub credentials: IceCredentials,
    /// Our one candidate.
    pub candidate: LocalCandidate,
}

impl OwnIce {
    /// Fresh ones for a leg at `local`.
    pub fn new(random: &SystemRandom, local: SocketAddr) -> Result<Self> {
        let credentials = credentials(&bytes::<CREDENTIAL_BYTES>(random)?);
        let candidate =
            LocalCandidate { component: Component::Rtp, address: local, preference: 65_535 };
        Ok(Self { credentials, candidate })
    }

    /// The relay offered, so it is controlling, unless it only answers checks.
    fn agent(self, random: &SystemRandom, remote: &Remote, now: Instant) -> Result<Agent> {
        let (parameters, candidates) = remote.ice.as_ref().context("the relay offers no ICE")?;
        let role = match parameters.implementation {
            Implementation::Full => webrtc::ice::Role::Controlled,
            Implementation::Lite => webrtc::ice::Role::Controlling,
        };
        let settings = Settings {
            implementation: Implementation::Full,
            role,
            local: self.credentials,
            candidates: vec![self.candidate],
            seed: Seed::new(&bytes(random)?),
        };
        let mut agent = Agent::new(settings, now)?;
        agent.set_remote(parameters.clone(), now)?;
        for candidate in candidates {
            agent.add_candidate(candidate, now)?;
        }
        agent.end_of_candidates(now);
        Ok(agent)
    }
}

impl Leg {
    /// Begins: with checks where there is ICE, else with the ClientHello.
    pub fn begin(
        random: &SystemRandom,
        identity: &Identity,
        local: SocketAddr,
        remote: Remote,
        own: Option<OwnIce>,
        now: Instant,
    ) -> Result<Self> {
        let ice = own.map(|own| own.agent(random, &remote, now)).transpose()?;
        let (identity, to) = (identity.clone(), remote.address);
        let mut leg =
            Self { local, remote, identity, ice, association: None, to, deadline: Some(now) };
        if leg.ice.is_none() {
            leg.say_hello(now)?;
        }
        Ok(leg)
    }

    /// Where the relay's leg receives.
    pub fn relay(&self) -> SocketAddr {
        self.remote.address
    }

    /// When [`Leg::advance`] is due without a datagram.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes a datagram, told apart by its first byte (RFC 7983).
    pub fn receive(&mut self, source: SocketAddr, datagram: &[u8], now: Instant) {
        match datagram.first() {
            Some(0..=3) => {
                if let Some(agent) = &mut self.ice {
                    // What it refuses it has counted.
                    let _ = agent.receive(Component::Rtp, self.local, source, datagram, now);
                }
            }
            Some(20..=63) => {
                if let Some(association) = &mut self.association {
                    association.receive(datagram, now);
                }
            }
            _ => {}
        }
    }

    /// Does what is due and sends what there is to send.
    pub fn advance(&mut self, socket: &UdpSocket, now: Instant) -> Result<Progress> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            if let Some(agent) = &mut self.ice {
                agent.handle_timeout(now);
            }
            if let Some(association) = &mut self.association {
                association.handle_timeout(now);
            }
        }
        self.deadline = None;
        let of_ice = self.advance_ice(socket, now)?;
        match self.advance_dtls(socket)? {
            Progress::Waiting => Ok(of_ice),
            of_dtls => Ok(of_dtls),
        }
    }

    fn advance_ice(&mut self, socket: &UdpSocket, now: Instant) -> Result<Progress> {
        let mut progress = Progress::Waiting;
        loop {
            let Some(agent) = &mut self.ice else { return Ok(progress) };
            match agent.poll() {
                Ice::Transmit(packet) => send(socket, &packet.bytes, packet.to)?,
                Ice::Selected { remote, .. } => {
                    self.to = remote;
                    if self.association.is_none() {
                        self.say_hello(now)?;
                    }
                }
                Ice::Valid { .. } => {}
                Ice::Failed => progress = Progress::Failed("ICE found no way".into()),
                Ice::ConsentLost => progress = Progress::Failed("consent was lost".into()),
                Ice::Timeout(at) => {
                    self.note(at);
                    return Ok(progress);
                }
            }
        }
    }

    fn advance_dtls(&mut self, socket: &UdpSocket) -> Result<Progress> {
        let mut progress = Progress::Waiting;
        loop {
            let Some(association) = &mut self.association else { return Ok(progress) };
            match association.poll() {
                Dtls::Transmit(datagram) => send(socket, datagram, self.to)?,
                Dtls::Secured { .. } => progress = Progress::Secured,
                Dtls::Failed(failure) => progress = Progress::Failed(failure.to_string()),
                Dtls::Closed => progress = Progress::Failed("the relay closed DTLS".into()),
                Dtls::Sign(_) => association.signed(None, Instant::now()),
                Dtls::Timeout(at) => {
                    self.note(at);
                    return Ok(progress);
                }
            }
        }
    }

    fn say_hello(&mut self, now: Instant) -> Result<()> {
        let settings = DtlsSettings {
            retransmit_after: RETRANSMIT_AFTER,
            handshake_timeout: PATIENCE,
            ..DtlsSettings::default()
        };
        let fingerprints = &self.remote.fingerprints;
        let role = Role::Client;
        let mut association =
            Association::new(&self.identity, &settings, role, fingerprints, &PROFILES, now)?;
        association.address_proven();
        self.association = Some(association);
        Ok(())
    }

    fn note(&mut self, at: Option<Instant>) {
        self.deadline = self.deadline.into_iter().chain(at).min();
    }
}

fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) -> Result<()> {
    match socket.send_to(datagram, to) {
        // A full buffer, or a port that is closed already, is as good as a loss.
        Err(error)
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) =>
        {
            Ok(())
        }
        sent => sent.map(drop).with_context(|| format!("sending to {to}")),
    }
}

fn bytes<const N: usize>(random: &SystemRandom) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).ok().context("the system's random source failed")?;
    Ok(bytes)
}

/// What browsers and the relays speak.
const PROFILES: [Profile; 1] = [Profile::AesCm128HmacSha1_80];

/// Without ICE a gateway that sends an unproven address at most three times what it sent answers
/// only the second ClientHello: with the usual 400 ms, a storm would be one of waiting.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(100);

/// Of a handshake; a relay under a storm lets some wait.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::SystemTime;

    use ng::sdp::HashFunction;

    use super::*;

    /// The relay's part: a server's association at a socket of its own.
    #[test]
    fn a_leg_without_ice_shakes_hands_at_once() {
        let day = Duration::from_secs(86_400);
        let [own, theirs] = [(); 2].map(|()| Identity::generate(SystemTime::now(), day).unwrap());
        let [near, far] = [(); 2].map(|()| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        });
        let (local, address) = (near.local_addr().unwrap(), far.local_addr().unwrap());
        let fingerprints = |identity: &Identity| vec![identity.fingerprint(HashFunction::Sha256)];
        let now = Instant::now();
        let remote = Remote { address, fingerprints: fingerprints(&theirs), ice: None };
        let mut leg = Leg::begin(&SystemRandom::new(), &own, local, remote, None, now).unwrap();
        let mut server = Association::new(
            &theirs,
            &DtlsSettings::default(),
            Role::Server,
            &fingerprints(&own),
            &PROFILES,
            now,
        )
        .unwrap();
        server.address_proven();
        let mut buffer = [0; 1500];
        let mut progress = leg.advance(&near, now).unwrap();
        while progress == Progress::Waiting {
            let (length, _) = far.recv_from(&mut buffer).unwrap();
            server.receive(&buffer[..length], now);
            loop {
                match server.poll() {
                    Dtls::Transmit(datagram) => assert!(far.send_to(datagram, local).is_ok()),
                    Dtls::Timeout(_) => break,
                    _ => {}
                }
            }
            near.set_nonblocking(true).unwrap();
            while let Ok((length, source)) = near.recv_from(&mut buffer) {
                leg.receive(source, &buffer[..length], now);
            }
            progress = leg.advance(&near, now).unwrap();
        }
        assert_eq!(progress, Progress::Secured);
    }
}
