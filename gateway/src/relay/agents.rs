//! A stream's dealings with its ICE and DTLS agents, which live on threads of their own: what goes
//! up to them, and what they say to the worker of it: keys, paths, and the loan of sockets.
//!
//! Who may be heard:
//!
//! | | with ICE | without |
//! |---|---|---|
//! | STUN | anybody, within a rate; known addresses have one of their own | nobody |
//! | DTLS | addresses of the last [`IcePath`], within a rate | the signalled address, or one learned by SRTP, the same |
//! | media | addresses of the last [`IcePath`] | as [`learning`](super::learning) says |
//!
//! An address is known when ICE vouches for it, or signalling named it as a candidate's, each with
//! a rate of its own: so whoever floods a stream with spoofed checks delays no consent check of
//! the party nor a named candidate's first ones, nor starves them. Nothing that a packet says moves
//! a path: an agent authenticates it first. While ICE rules, learning does not; it begins again when
//! a plan takes ICE away.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use packet_io::Driver;

use super::bucket::{Bucket, Rate};
use super::command::{
    AgentCounts, AgentTap, CallKey, ComponentPath, Footing, IcePath, StreamIndex, VALID_SOURCES,
};
use super::demultiplex::{Component, Media, Protocol, is_worth_handing_up};
use super::drop_reason::DropReason;
use super::key_plan::{Handover, HandshakeKeys, ReceivePlan, SendPlan, SrtpKeys, Terms};
use super::keys::{Inbound, Outbound};
use super::learning::Endpoint;
use super::stream::{Slot, Stream};
use super::table::Table;
use super::uplink::{Addressee, Standing};
use crate::webrtc::plan::{Epoch, IceGeneration};

/// What a stream keeps for its agents.
#[derive(Debug)]
pub(super) struct Tap {
    plan: AgentTap,
    path: IcePath,
    /// The first association of those that plans spoke of without a pause. Keys that a plan has
    /// overtaken are in force until the next ones, as they would be had they come before it.
    awaited: Option<Epoch>,
    /// Whose keys the stream has. Each association gives keys once: under the same keys a second
    /// time, indexes would begin again.
    secured: Option<Epoch>,
    /// STUN from addresses of the path.
    consent: Bucket,
    /// STUN from candidates that signalling named.
    named: Bucket,
    /// STUN from all others.
    strangers: Bucket,
    handshake: Bucket,
    handed_up: AgentCounts,
}

impl Tap {
    /// A pair is checked every few seconds (RFC 7675), and while ICE runs some in 50 ms.
    const CONSENT: Rate = Rate { interval: Duration::from_millis(10), at_once: 100 };
    /// A full agent checks one pair in 50 ms and answers as many checks (RFC 8445 section 14.2),
    /// and all that with retransmissions, before any address is known.
    const CHECKS: Rate = Rate { interval: Duration::from_millis(5), at_once: 200 };
    /// A flight with a long chain is ten datagrams, and comes again after half a second at least.
    const HANDSHAKE: Rate = Rate { interval: Duration::from_millis(10), at_once: 64 };

    fn new(plan: AgentTap) -> Self {
        Self {
            plan,
            path: IcePath::default(),
            awaited: plan.dtls,
            secured: None,
            consent: Bucket::default(),
            named: Bucket::default(),
            strangers: Bucket::default(),
            handshake: Bucket::default(),
            handed_up: AgentCounts::default(),
        }
    }

    fn update(&mut self, plan: AgentTap) {
        if self.plan.dtls.is_none() || plan.dtls.is_none() {
            self.awaited = plan.dtls;
        }
        self.plan = plan;
    }

    /// Which uplink.
    pub(super) fn uplink(&self) -> usize {
        usize::from(self.plan.uplink)
    }

    /// What went up so far.
    pub(super) fn handed_up(&self) -> AgentCounts {
        self.handed_up
    }

    fn knows(&self, component: Component, source: SocketAddr) -> bool {
        let ComponentPath { sources, destination } = &self.path.components[component as usize];
        *destination == Some(source) || sources.contains(&source)
    }
}

impl AgentCounts {
    /// One more of `protocol`.
    pub(super) fn count(&mut self, protocol: Protocol) {
        match protocol {
            Protocol::Stun => self.stun += 1,
            Protocol::Dtls => self.dtls += 1,
        }
    }
}

impl Stream {
    /// ICE says where the party is, and who may speak for it.
    pub(super) fn ice_rules(&self) -> bool {
        self.ice().is_some()
    }

    fn ice(&self) -> Option<IceGeneration> {
        self.cold.tap.as_ref()?.plan.ice
    }

    /// Whether ICE, which rules, vouches for `source`.
    pub(super) fn ice_vouches_for(&self, component: Component, source: SocketAddr) -> bool {
        self.cold.tap.as_ref().is_some_and(|tap| tap.knows(component, source))
    }

    /// Whether `packet` may go up to an agent, and how well its sender is known.
    pub(super) fn admit_to_agent(
        &mut self,
        protocol: Protocol,
        component: Component,
        (packet, source): (&[u8], SocketAddr),
        now: Instant,
    ) -> Result<Standing, DropReason> {
        let ours = self.is_partys(component, source);
        let Some(tap) = &mut self.cold.tap else { return Err(DropReason::UnexpectedProtocol) };
        let ice = tap.plan.ice.is_some();
        let (speaks, bucket, rate, standing) = match protocol {
            Protocol::Stun if ours => (ice, &mut tap.consent, Tap::CONSENT, Standing::Known),
            Protocol::Stun if tap.plan.named.contains(source) => {
                (ice, &mut tap.named, Tap::CHECKS, Standing::Known)
            }
            Protocol::Stun => (ice, &mut tap.strangers, Tap::CHECKS, Standing::Stranger),
            Protocol::Dtls => {
                (tap.plan.dtls.is_some(), &mut tap.handshake, Tap::HANDSHAKE, Standing::Known)
            }
        };
        if !speaks {
            return Err(DropReason::UnexpectedProtocol);
        }
        if !is_worth_handing_up(protocol, packet) {
            return Err(DropReason::Malformed);
        }
        if protocol == Protocol::Dtls && !ours {
            return Err(DropReason::AgentSource);
        }
        if bucket.admit(rate, now) { Ok(standing) } else { Err(DropReason::AgentRate) }
    }

    /// A packet went up.
    pub(super) fn note_handed_up(&mut self, protocol: Protocol) {
        if let Some(tap) = &mut self.cold.tap {
            tap.handed_up.count(protocol);
        }
    }

    /// Whose agents, and where its packets come to; `None` once its sockets are closed.
    pub(super) fn addressee(&self, component: Component) -> Option<Addressee> {
        let local = self.cold.local[component as usize]?;
        Some(Addressee { call: self.cold.call, stream: self.cold.index, component, local })
    }

    /// Takes what a plan says of agents, before what it says of addresses and keys.
    pub(super) fn set_tap(&mut self, plan: Option<AgentTap>) {
        let before = self.ice();
        match (plan, &mut self.cold.tap) {
            (Some(plan), Some(tap)) => tap.update(plan),
            (Some(plan), none) => *none = Some(Box::new(Tap::new(plan))),
            (None, tap) => *tap = None,
        }
        if before == self.ice() {
            return;
        }
        if before.is_some() {
            self.hand_addresses_to_learning();
        }
        if self.ice_rules() {
            self.hand_addresses_to_ice();
        }
    }

    /// Where a party was confirmed it stays until ICE selects; what was merely signalled is a
    /// candidate like others.
    fn hand_addresses_to_ice(&mut self) {
        for endpoint in &mut self.endpoints {
            if !endpoint.confirmed {
                *endpoint = Endpoint::default();
            }
        }
    }

    fn hand_addresses_to_learning(&mut self) {
        if let Some(tap) = &mut self.cold.tap {
            tap.path = IcePath::default();
        }
        for (learner, endpoint) in self.cold.learners.iter_mut().zip(&mut self.endpoints) {
            learner.begin_again(endpoint);
        }
    }

    fn is_partys(&self, component: Component, source: SocketAddr) -> bool {
        let at = component as usize;
        if self.ice_rules() {
            return self.ice_vouches_for(component, source);
        }
        // What was learned in the clear may be anybody's.
        let learned = self.endpoints[at].address.filter(|_| self.inbound.authenticates(Media::Rtp));
        learned == Some(source) || self.cold.learners[at].signalled() == Some(source)
    }

    fn secure(&mut self, epoch: Epoch, keys: HandshakeKeys, replay_window: usize) {
        let Some(tap) = &mut self.cold.tap else { return };
        let epochs = tap.awaited..=tap.plan.dtls;
        if !epochs.contains(&Some(epoch)) || tap.secured >= Some(epoch) {
            return;
        }
        tap.secured = Some(epoch);
        let HandshakeKeys { receive, send, handover } = keys;
        let terms = Terms::default();
        let receive = ReceivePlan::Set(Box::new(receive.into()), terms);
        let send = Box::new(SrtpKeys::from(send));
        let are_both_in_force =
            matches!(self.inbound, Inbound::Srtp(_)) && matches!(self.outbound, Outbound::Srtp(_));
        if are_both_in_force && handover == Handover::OnceHeard {
            self.set_keys(receive, SendPlan::Keep, replay_window);
            self.prepare_keys(&send, terms, replay_window);
        } else {
            self.set_keys(receive, SendPlan::Set(send, terms), replay_window);
        }
    }

    fn follow(&mut self, generation: IceGeneration, mut path: IcePath) {
        let is_its = |tap: &&mut Box<Tap>| tap.plan.ice == Some(generation);
        let Some(tap) = self.cold.tap.as_mut().filter(is_its) else { return };
        let before = &tap.path.components;
        let components = path.components.iter_mut().zip(before).zip(&mut self.endpoints);
        for ((component, before), endpoint) in components {
            component.sources.truncate(VALID_SOURCES);
            let address = component.destination;
            let is_found = address.is_some() || before.destination.is_some();
            // Between the first valid pair and the selected one a party stays where it was.
            if is_found || component.sources.is_empty() {
                *endpoint = Endpoint { address, confirmed: address.is_some() };
            }
        }
        tap.path = path;
    }

    /// Whether its plan is the one, or one with as much of a footing for agents.
    fn gives(&self, footing: &Footing) -> bool {
        let tap = self.cold.tap.as_ref().map(|tap| tap.plan);
        let (ice, dtls) = tap.map_or((None, None), |tap| (tap.ice, tap.dtls));
        let place = |at: SocketAddr| (at.ip(), at.port());
        self.cold.local[Component::Rtp as usize].map(place) == Some(place(footing.socket))
            && (footing.ice.is_none() || footing.ice == ice)
            && (footing.dtls.is_none() || footing.dtls == dtls)
    }
}

impl Table {
    /// Keys of a finished handshake. The old receive keys stay beside them for a while.
    pub fn secure(
        &mut self,
        call: CallKey,
        stream: StreamIndex,
        epoch: Epoch,
        keys: HandshakeKeys,
    ) {
        let replay_window = self.replay_window();
        if let Some(stream) = self.stream_mut(call, stream) {
            stream.secure(epoch, keys, replay_window);
        }
    }

    /// Where a stream's party is, by ICE.
    pub fn follow(
        &mut self,
        call: CallKey,
        stream: StreamIndex,
        generation: IceGeneration,
        path: IcePath,
    ) {
        if let Some(stream) = self.stream_mut(call, stream) {
            stream.follow(generation, path);
        }
    }

    /// Duplicates of a stream's sockets, once its plan gives that footing.
    pub(super) fn lend(
        &self,
        call: CallKey,
        stream: StreamIndex,
        footing: &Footing,
        driver: &impl Driver,
    ) -> io::Result<[Option<UdpSocket>; 2]> {
        let gives = |slot: &Slot| self.at(*slot).is_some_and(|stream| stream.gives(footing));
        let Some(slot) = self.slot_of(call, stream).filter(gives) else { return Ok([None, None]) };
        let duplicate = |component| driver.socket(slot.token(component)).map(UdpSocket::try_clone);
        Ok([duplicate(Component::Rtp).transpose()?, duplicate(Component::Rtcp).transpose()?])
    }

    fn slot_of(&self, call: CallKey, stream: StreamIndex) -> Option<Slot> {
        self.streams_of(call)?.get(usize::from(stream.0)).copied()
    }

    /// A stream of a call.
    pub(super) fn stream_mut(&mut self, call: CallKey, stream: StreamIndex) -> Option<&mut Stream> {
        let slot = self.slot_of(call, stream)?;
        self.at_mut(slot)
    }
}
