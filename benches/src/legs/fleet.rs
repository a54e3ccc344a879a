//! Slots, each of which has a call or none, driven from one thread through one socket.
//!
//! A call goes: offer, answer, (handshake), delete. Which slot does what and when is the owner's
//! to say, who has [`Event`]s from [`Fleet::turn`]. All legs receive on the same socket: each has a
//! port of the relay's to itself, and that tells them apart.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::process;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use loadgen::body;
use ng::client::{Party, Reply};
use ng::sdp::HashFunction;
use ring::rand::SystemRandom;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use webrtc::identity::Identity;

use super::description::{self, Kind, Remote};
use super::leg::{Leg, OwnIce, Progress};
use super::signalling::{Signalling, refusal};
use crate::relay_process::NG;

/// What became of a slot's call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Offered and answered.
    Ready,
    /// The handshake is done.
    Secured,
    /// It came to nothing, or was lost later: [`Fleet::end`] it.
    Failed(String),
    /// The relay has forgotten it.
    Ended,
}

/// What a call does when it is [`Event::Ready`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Waits for [`Fleet::shake`].
    Wait,
    /// Shakes hands.
    Shake,
}

/// The slots.
pub struct Fleet {
    kind: Kind,
    identity: Identity,
    random: SystemRandom,
    signalling: Signalling,
    media: UdpSocket,
    local: SocketAddr,
    /// Of the offering legs, which never speak.
    plain: UdpSocket,
    slots: Vec<Slot>,
    by_relay: HashMap<SocketAddr, usize>,
    /// Calls so far, for their names.
    calls: u64,
    replies: Vec<(usize, Reply)>,
    events: Vec<(usize, Event)>,
}

struct Slot {
    party: Party,
    stage: Stage,
}

enum Stage {
    Empty,
    Offering(Then),
    Answering(Remote, Option<OwnIce>, Then),
    Ready(Remote, Option<OwnIce>),
    /// With a handshake under way or done.
    Speaking(Box<Leg>),
    Failed,
    Ending,
}

impl Fleet {
    /// So many empty slots towards the relay at [`NG`]; the certificate is ECDSA P-256.
    pub fn new(kind: Kind, slots: usize) -> Result<Self> {
        let identity = Identity::generate(SystemTime::now(), Duration::from_secs(86_400))?;
        let media = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        media.set_nonblocking(true)?;
        let local = media.local_addr()?;
        let empty = || Slot { party: Party::default(), stage: Stage::Empty };
        Ok(Self {
            kind,
            identity,
            random: SystemRandom::new(),
            signalling: Signalling::connect(NG.into())?,
            media,
            local,
            plain: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
            slots: (0..slots).map(|_| empty()).collect(),
            by_relay: HashMap::new(),
            calls: 0,
            replies: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Begins a call in an empty slot.
    pub fn call(&mut self, slot: usize, then: Then) -> Result<()> {
        let number = self.calls;
        self.calls += 1;
        let port = self.local.port();
        let party = Party {
            call_id: format!("legs-{}-{port}-{number}", process::id()),
            from_tag: format!("from-{number}"),
            to_tag: Some(format!("to-{number}")),
            ..Party::default()
        };
        let offer = body::plain_sdp(self.plain.local_addr()?);
        self.signalling.offer(slot, &party, offer, self.kind)?;
        self.slots[slot] = Slot { party, stage: Stage::Offering(then) };
        Ok(())
    }

    /// Shakes hands on a call that is ready.
    pub fn shake(&mut self, slot: usize) -> Result<()> {
        let now = Instant::now();
        let stage = mem::replace(&mut self.slots[slot].stage, Stage::Failed);
        let Stage::Ready(remote, own) = stage else {
            self.slots[slot].stage = stage;
            return Ok(());
        };
        self.by_relay.insert(remote.address, slot);
        let leg = Leg::begin(&self.random, &self.identity, self.local, remote, own, now)?;
        self.slots[slot].stage = Stage::Speaking(Box::new(leg));
        self.advance(slot, now)
    }

    /// Has the relay forget a slot's call.
    pub fn end(&mut self, slot: usize) -> Result<()> {
        if let Stage::Speaking(leg) = mem::replace(&mut self.slots[slot].stage, Stage::Ending) {
            self.by_relay.remove(&leg.relay());
        }
        self.signalling.delete(slot, &self.slots[slot].party)
    }

    /// Waits at most `patience` for something to happen, and tells what did.
    pub fn turn(&mut self, patience: Duration) -> Result<Vec<(usize, Event)>> {
        let now = Instant::now();
        let deadlines = self.slots.iter().filter_map(|slot| match &slot.stage {
            Stage::Speaking(leg) => leg.deadline(),
            _ => None,
        });
        let next = deadlines.min().map_or(patience, |at| at.saturating_duration_since(now));
        self.wait(if self.events.is_empty() { next.min(patience) } else { Duration::ZERO })?;
        self.take_datagrams()?;
        self.take_replies()?;
        let now = Instant::now();
        for slot in 0..self.slots.len() {
            let Stage::Speaking(leg) = &self.slots[slot].stage else { continue };
            if leg.deadline().is_some_and(|deadline| deadline <= now) {
                self.advance(slot, now)?;
            }
        }
        Ok(mem::take(&mut self.events))
    }

    /// The slots of a range from where they are to `until`, `in_flight` at a time, each begun by
    /// `begin`.
    pub fn bring(
        &mut self,
        slots: Range<usize>,
        until: &Event,
        in_flight: usize,
        mut begin: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        let (count, mut begun, mut there) = (slots.len(), 0, 0);
        let mut last = Instant::now();
        while there < count {
            while begun < count.min(there + in_flight) {
                begin(self, slots.start + begun)?;
                begun += 1;
            }
            for (slot, event) in self.turn(Duration::from_millis(50))? {
                if let Event::Failed(reason) = &event {
                    bail!("call {slot}: {reason}");
                }
                if event == *until {
                    there += 1;
                    last = Instant::now();
                }
            }
            ensure!(last.elapsed() < PATIENCE, "{there} of {count} came to {until:?}, then none");
        }
        Ok(())
    }

    /// Goes on answering for `length`: nobody may lose consent.
    pub fn idle(&mut self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
            let events = self.turn(left)?;
            ensure!(events.is_empty(), "something happened while nothing should: {events:?}");
        }
        Ok(())
    }

    fn wait(&self, patience: Duration) -> Result<()> {
        let mut sockets = [
            PollFd::new(&self.media, PollFlags::IN),
            PollFd::new(self.signalling.socket(), PollFlags::IN),
        ];
        let patience = Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        match poll(&mut sockets, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("waiting for the relay"),
        }
    }

    fn take_datagrams(&mut self) -> Result<()> {
        let mut buffer = [0; 2048];
        // A bound, so that replies and deadlines have their turn.
        for _ in 0..256 {
            let (length, source) = match self.media.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // A port of the relay's that is closed already.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error).context("receiving from the relay"),
            };
            let Some(&slot) = self.by_relay.get(&source) else { continue };
            let now = Instant::now();
            if let Stage::Speaking(leg) = &mut self.slots[slot].stage {
                leg.receive(source, &buffer[..length], now);
                self.advance(slot, now)?;
            }
        }
        Ok(())
    }

    fn take_replies(&mut self) -> Result<()> {
        let mut replies = mem::take(&mut self.replies);
        self.signalling.replies(&mut replies)?;
        for (slot, reply) in replies.drain(..) {
            if let Err(error) = self.replied(slot, reply) {
                self.slots[slot].stage = Stage::Failed;
                self.events.push((slot, Event::Failed(format!("{error:#}"))));
            }
        }
        self.replies = replies;
        Ok(())
    }

    fn replied(&mut self, slot: usize, reply: Reply) -> Result<()> {
        match mem::replace(&mut self.slots[slot].stage, Stage::Failed) {
            Stage::Offering(then) => {
                let remote = Remote::read(&sdp(&reply)?)?;
                let own = match self.kind {
                    Kind::Dtls => None,
                    Kind::Ice => Some(OwnIce::new(&self.random, self.local)?),
                };
                let told = own.as_ref().map(|own| (&own.credentials, own.candidate));
                let fingerprint = self.identity.fingerprint(HashFunction::Sha256);
                let answer = description::answer(self.kind, self.local, &fingerprint, told)?;
                self.signalling.answer(slot, &self.slots[slot].party, answer)?;
                self.slots[slot].stage = Stage::Answering(remote, own, then);
            }
            Stage::Answering(remote, own, then) => {
                sdp(&reply)?;
                self.slots[slot].stage = Stage::Ready(remote, own);
                self.events.push((slot, Event::Ready));
                if then == Then::Shake {
                    self.shake(slot)?;
                }
            }
            Stage::Ending => {
                ensure!(matches!(reply, Reply::Ok { .. }), "delete: {}", refusal(&reply));
                self.slots[slot].stage = Stage::Empty;
                self.events.push((slot, Event::Ended));
            }
            // A reply that nothing waits for any more.
            other => self.slots[slot].stage = other,
        }
        Ok(())
    }

    fn advance(&mut self, slot: usize, now: Instant) -> Result<()> {
        let Stage::Speaking(leg) = &mut self.slots[slot].stage else { return Ok(()) };
        match leg.advance(&self.media, now)? {
            Progress::Waiting => {}
            Progress::Secured => self.events.push((slot, Event::Secured)),
            Progress::Failed(reason) => self.events.push((slot, Event::Failed(reason))),
        }
        Ok(())
    }
}

fn sdp(reply: &Reply) -> Result<Bytes> {
    match reply {
        Reply::Ok { sdp: Some(sdp), .. } => Ok(sdp.clone()),
        other => bail!("{}", refusal(other)),
    }
}

/// Without any progress; a handshake has ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);
