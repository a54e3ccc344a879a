//! One party's media: its two sockets, its SRTP when it is the secure side, and its source.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use srtp::Profile;

use crate::event::Described;
use crate::ledger::Ledger;
use crate::libsrtp::{Kind, Role, Session, TRAILER};
use crate::packet::{Origin, RTCP_PACKET, RTP_PACKET};
use crate::plan::{InlineKey, PartyPlan};

/// A party that sends and receives.
pub(crate) struct Party {
    origin: Origin,
    plan: PartyPlan,
    suite: Profile,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    relay: Option<Described>,
    sealing: Option<Session>,
    opening: Option<Session>,
    sequence: u16,
    /// What it sends now.
    pub(crate) sends: Sends,
}

/// What a party sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sends {
    /// Nothing: the call is not up, or about to end.
    Nothing,
    /// RTCP only: it is on hold.
    Reports,
    /// RTP and RTCP.
    Media,
}

impl Party {
    /// Binds the party's sockets in this thread's network namespace.
    pub(crate) fn new(origin: Origin, plan: &PartyPlan, suite: Profile) -> Result<Self> {
        let sealing = match &plan.key {
            Some(key) => Some(session(suite, Role::Sender, key)?),
            None => None,
        };
        Ok(Self {
            origin,
            plan: plan.clone(),
            suite,
            rtp: bind(plan.port)?,
            rtcp: bind(plan.port + 1)?,
            relay: None,
            sealing,
            opening: None,
            // Every call of 30 s then passes 65535, which costs a rollover on the secure side.
            sequence: 65_000 + origin.call,
            sends: Sends::Nothing,
        })
    }

    /// Whether this is the plain side.
    pub(crate) fn is_plain(&self) -> bool {
        self.plan.key.is_none()
    }

    /// Takes what the relay's SDP says, or says how it is not what it must be. The address and the
    /// key must stay the same through every re-INVITE.
    pub(crate) fn meet_relay(&mut self, media: Described, direction: &str) -> Result<(), String> {
        if media.profile != self.plan.profile() {
            return Err(format!("got {}, expected {}", media.profile, self.plan.profile()));
        }
        if media.direction != direction {
            return Err(format!("got a={}, expected a={direction}", media.direction));
        }
        if let Some(before) = &self.relay {
            if media.address != before.address || media.key != before.key {
                return Err(format!("a re-INVITE changed {before:?} to {media:?}"));
            }
            return Ok(());
        }
        if !self.is_plain() {
            let key = InlineKey::from_base64(&media.key, self.suite)
                .ok_or_else(|| format!("got no key of {} (`{}`)", self.suite, media.key))?;
            let opening = session(self.suite, Role::Receiver, &key).map_err(|e| e.to_string())?;
            self.opening = Some(opening);
        }
        self.relay = Some(media);
        Ok(())
    }

    /// Sends the next RTP packet and enters it.
    pub(crate) fn send_rtp(&mut self, ledger: &mut Ledger) {
        let Some(to) = self.relay.as_ref().map(|relay| relay.address) else {
            return ledger.fault("would send, but no SDP came from the relay".to_owned());
        };
        let mut buffer = [0; RTP_PACKET + TRAILER];
        buffer[..RTP_PACKET].copy_from_slice(&self.origin.rtp(ledger.send_rtp(), self.sequence));
        self.sequence = self.sequence.wrapping_add(1);
        let sealed = seal(self.sealing.as_mut(), Kind::Rtp, &mut buffer, RTP_PACKET);
        let sent = sealed.and_then(|packet| Ok(self.rtp.send_to(packet, to)?));
        if let Err(error) = sent {
            ledger.fault(format!("sending RTP to {to}: {error}"));
        }
    }

    /// Sends the next RTCP packet and enters it.
    pub(crate) fn send_rtcp(&mut self, ledger: &mut Ledger) {
        let Some(mut to) = self.relay.as_ref().map(|relay| relay.address) else { return };
        to.set_port(to.port() + 1);
        let mut buffer = [0; RTCP_PACKET + TRAILER];
        buffer[..RTCP_PACKET].copy_from_slice(&self.origin.rtcp(ledger.send_rtcp()));
        let sealed = seal(self.sealing.as_mut(), Kind::Rtcp, &mut buffer, RTCP_PACKET);
        let sent = sealed.and_then(|packet| Ok(self.rtcp.send_to(packet, to)?));
        if let Err(error) = sent {
            ledger.fault(format!("sending RTCP to {to}: {error}"));
        }
    }

    /// Takes whatever has come, opens it, and enters it into the other party's ledger.
    pub(crate) fn receive(&mut self, ledger: &mut Ledger) {
        self.receive_kind(Kind::Rtp, ledger);
        self.receive_kind(Kind::Rtcp, ledger);
    }

    fn receive_kind(&mut self, kind: Kind, ledger: &mut Ledger) {
        let socket = match kind {
            Kind::Rtp => &self.rtp,
            Kind::Rtcp => &self.rtcp,
        };
        let mut buffer = [0; 2048];
        loop {
            let (len, from) = match socket.recv_from(&mut buffer[..2048 - TRAILER]) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return ledger.fault(format!("receiving {kind:?}: {error}")),
            };
            if !self.relay.as_ref().is_some_and(|relay| is_of(relay.address, kind, from)) {
                ledger.fault(format!("{kind:?} came from {from}, not from the relay's port"));
                continue;
            }
            match (open(self.opening.as_mut(), kind, &mut buffer, len), kind) {
                (Ok(packet), Kind::Rtp) => ledger.receive_rtp(packet),
                (Ok(packet), Kind::Rtcp) => ledger.receive_rtcp(packet),
                (Err(refused), _) => ledger.fault(refused),
            }
        }
    }

    /// The source starts its sequence anew, as a media server does that begins another file: far
    /// enough back that no jitter explains it (RFC 3550 A.1), with the same SSRC and key.
    pub(crate) fn restart_sequence(&mut self) {
        self.sequence = self.sequence.wrapping_sub(20_000);
    }
}

fn session(suite: Profile, role: Role, key: &InlineKey) -> Result<Session> {
    Session::new(suite, role, key.bytes()).map_err(|refused| anyhow::anyhow!("{suite}: {refused}"))
}

fn seal<'a>(
    session: Option<&mut Session>,
    kind: Kind,
    buffer: &'a mut [u8],
    len: usize,
) -> Result<&'a [u8]> {
    let len = match session {
        Some(session) => session
            .protect(kind, buffer, len)
            .map_err(|refused| anyhow::anyhow!("protecting {kind:?}: {refused}"))?,
        None => len,
    };
    Ok(&buffer[..len])
}

fn open<'a>(
    session: Option<&mut Session>,
    kind: Kind,
    buffer: &'a mut [u8],
    len: usize,
) -> Result<&'a [u8], String> {
    let opened = session.map_or(Ok(len), |session| session.unprotect(kind, buffer, len));
    match (opened, kind) {
        (Ok(len), _) => Ok(&buffer[..len]),
        (Err(refused), Kind::Rtp) => Err(format!(
            "RTP with sequence {} was refused: {refused}",
            u16::from_be_bytes([buffer[2], buffer[3]])
        )),
        (Err(refused), Kind::Rtcp) => Err(format!("RTCP was refused: {refused}")),
    }
}

fn is_of(relay: SocketAddr, kind: Kind, from: SocketAddr) -> bool {
    let port = match kind {
        Kind::Rtp => relay.port(),
        Kind::Rtcp => relay.port() + 1,
    };
    from == SocketAddr::new(relay.ip(), port)
}

fn bind(port: u16) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("a media socket on port {port}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
