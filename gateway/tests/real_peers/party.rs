//! One party's media: its two sockets, its SRTP when it is the secure side, and its source.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, anyhow};
use srtp::Profile;

use crate::event::Described;
use crate::ledger::Ledger;
use crate::libsrtp::{Direction, Key, Packet, Session, Suite};
use crate::packet::Origin;
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

/// Media or control: each has its socket, key and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rtp,
    Rtcp,
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
            Some(key) => Some(session(suite, Direction::Outbound, key)?),
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
            let opening =
                session(self.suite, Direction::Inbound, &key).map_err(|error| error.to_string())?;
            self.opening = Some(opening);
        }
        self.relay = Some(media);
        Ok(())
    }

    /// Sends the next RTP packet and enters it.
    pub(crate) fn send_rtp(&mut self, ledger: &mut Ledger) {
        let packet = self.origin.rtp(ledger.send_rtp(), self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        self.send(Kind::Rtp, &packet, ledger);
    }

    /// Sends the next RTCP packet and enters it.
    pub(crate) fn send_rtcp(&mut self, ledger: &mut Ledger) {
        let packet = self.origin.rtcp(ledger.send_rtcp());
        self.send(Kind::Rtcp, &packet, ledger);
    }

    fn send(&mut self, kind: Kind, plain: &[u8], ledger: &mut Ledger) {
        let Some(relay) = &self.relay else {
            return ledger.fault("would send, but no SDP came from the relay".to_owned());
        };
        let mut packet = Packet::copy_from(plain);
        let sealed = match (&mut self.sealing, kind) {
            (None, _) => Ok(()),
            (Some(session), Kind::Rtp) => session.protect_rtp(&mut packet),
            (Some(session), Kind::Rtcp) => session.protect_rtcp(&mut packet),
        };
        if let Err(status) = sealed {
            return ledger.fault(format!("protecting {kind:?}: libsrtp says {status:?}"));
        }
        let to = kind.port_of(relay.address);
        let sent = kind.socket(&self.rtp, &self.rtcp).send_to(packet.as_bytes(), to);
        if let Err(error) = sent {
            ledger.fault(format!("sending {kind:?} to {to}: {error}"));
        }
    }

    /// Takes whatever has come, opens it, and enters it into the other party's ledger.
    pub(crate) fn receive(&mut self, ledger: &mut Ledger) {
        self.receive_kind(Kind::Rtp, ledger);
        self.receive_kind(Kind::Rtcp, ledger);
    }

    fn receive_kind(&mut self, kind: Kind, ledger: &mut Ledger) {
        let mut buffer = [0; LONGEST_PACKET];
        loop {
            let socket = kind.socket(&self.rtp, &self.rtcp);
            let (len, from) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return ledger.fault(format!("receiving {kind:?}: {error}")),
            };
            if self.relay.as_ref().map(|relay| kind.port_of(relay.address)) != Some(from) {
                ledger.fault(format!("{kind:?} came from {from}, not from the relay's port"));
                continue;
            }
            self.open(kind, &buffer[..len], ledger);
        }
    }

    fn open(&mut self, kind: Kind, received: &[u8], ledger: &mut Ledger) {
        let mut packet = Packet::copy_from(received);
        let opened = match (&mut self.opening, kind) {
            (None, _) => Ok(()),
            (Some(session), Kind::Rtp) => session.unprotect_rtp(&mut packet),
            (Some(session), Kind::Rtcp) => session.unprotect_rtcp(&mut packet),
        };
        match (opened, kind) {
            (Ok(()), Kind::Rtp) => ledger.receive_rtp(packet.as_bytes()),
            (Ok(()), Kind::Rtcp) => ledger.receive_rtcp(packet.as_bytes()),
            (Err(status), Kind::Rtp) => ledger.fault(format!(
                "RTP packet with sequence {:?} was refused: libsrtp says {status:?}",
                received.get(2..4).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
            )),
            (Err(status), Kind::Rtcp) => {
                ledger.fault(format!("RTCP packet was refused: libsrtp says {status:?}"));
            }
        }
    }

    /// The source starts its sequence anew, as a media server does that begins another file: far
    /// enough back that no jitter explains it (RFC 3550 A.1), with the same SSRC and key.
    pub(crate) fn restart_sequence(&mut self) {
        self.sequence = self.sequence.wrapping_sub(20_000);
    }
}

impl Kind {
    fn socket<'a>(self, rtp: &'a UdpSocket, rtcp: &'a UdpSocket) -> &'a UdpSocket {
        match self {
            Self::Rtp => rtp,
            Self::Rtcp => rtcp,
        }
    }

    /// RTCP is one port above RTP: nothing else was signalled.
    fn port_of(self, mut rtp: SocketAddr) -> SocketAddr {
        if self == Self::Rtcp {
            rtp.set_port(rtp.port() + 1);
        }
        rtp
    }
}

fn session(suite: Profile, direction: Direction, key: &InlineKey) -> Result<Session> {
    let key = Key { key: key.bytes().to_vec(), mki: Vec::new() };
    Session::new(direction, suite_of(suite)?, &[key])
        .map_err(|status| anyhow!("libsrtp takes no {suite} session: {status:?}"))
}

/// What libsrtp calls it.
pub(crate) fn suite_of(suite: Profile) -> Result<Suite> {
    Ok(match suite {
        Profile::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
        Profile::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        Profile::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        Profile::AeadAes128Gcm => Suite::AesGcm128,
        Profile::AeadAes256Gcm => Suite::AesGcm256,
        _ => return Err(anyhow!("the agents have no {suite}")),
    })
}

fn bind(port: u16) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("a media socket on port {port}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Far more than any agent sends, and what libsrtp's buffer takes.
const LONGEST_PACKET: usize = 1500;
