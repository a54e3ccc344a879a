//! The one packet path. A packet goes down [`Batch::forward`] line by line:
//!
//! 1. demultiplex: RTP, RTCP or a drop; STUN and DTLS go up to an agent, or nowhere;
//! 2. source check: may it come from there;
//! 3. open: key limit, replay check, authenticate and decrypt, replay mark;
//! 4. learn where the party is, bound its sources and its pace, and count;
//! 5. the peer: is there one, which one of a bundle, may media flow;
//! 6. number and protect for the peer, in place;
//! 7. send.
//!
//! Every early return is a [`DropReason`] with its own counter, of the stream and of the worker.
//! Nothing here allocates, locks, logs, hashes or reads a clock: `now` is the batch's.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use packet_io::{Received, Token, Verdict};
use slab::Slab;
use srtp::KeyState;

use super::command::KeyOwner;
use super::copies::Copies;
use super::demultiplex::{Carriage, Component, Content, Media, Protocol, classify};
use super::drop_reason::DropReason;
use super::feedback;
use super::keys::{Inbound, Outbound};
use super::learning::Proof;
use super::limits::Notice;
use super::source::Stamp;
use super::stats::Tally;
use super::stream::{Flow, Slot, Stream, Towards};
use super::uplink::{AgentPacket, Lane};

/// A packet handed to the kernel whose residence is told after the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// The stream it came in on.
    pub(super) from: Slot,
    /// Kernel receive time, nanoseconds of CLOCK_REALTIME.
    pub(super) received_ns: u64,
}

/// What the packets of one batch see of their worker.
pub(super) struct Batch<'a> {
    pub(super) streams: &'a mut Slab<Stream>,
    pub(super) tally: &'a mut Tally,
    /// Never grows: it holds as many as a batch has packets.
    pub(super) sent: &'a mut Vec<Sent>,
    /// The ways to agents.
    pub(super) lanes: &'a mut [Lane],
    /// What goes out beside a packet's own way.
    pub(super) copies: &'a mut Copies,
    /// The batch's time.
    pub(super) now: Instant,
}

/// Where a packet leaves.
pub(super) struct Onward {
    pub(super) from: Token,
    pub(super) to: SocketAddr,
    pub(super) range: Range<usize>,
}

impl Batch<'_> {
    /// Takes one packet and says what becomes of it.
    pub(super) fn relay(&mut self, packet: Received<'_>) -> Verdict {
        let (slot, component) = Slot::of(packet.token);
        // The driver delivers nothing for a token that was removed.
        let Some(stream) = self.streams.get_mut(slot.key()) else { return Verdict::Drop };
        self.tally.packets_in += 1;
        self.tally.bytes_in += packet.range.len() as u64;
        stream.note_kernel_drops(component, packet.kernel_drops, self.tally);
        let received_ns = packet.timestamp_ns;
        match self.forward(slot, component, packet) {
            Ok(Some(onward)) => {
                if received_ns != 0 && self.sent.len() < self.sent.capacity() {
                    self.sent.push(Sent { from: slot, received_ns });
                }
                Verdict::Send { from: onward.from, to: onward.to, range: onward.range }
            }
            Ok(None) => Verdict::Drop,
            Err(reason) => {
                self.tally.drops[reason as usize] += 1;
                self.streams[slot.key()].note_drop(component, reason, 1);
                Verdict::Drop
            }
        }
    }

    /// Where the packet goes; `None` when an agent has a copy of it.
    fn forward(
        &mut self,
        slot: Slot,
        component: Component,
        packet: Received<'_>,
    ) -> Result<Option<Onward>, DropReason> {
        let Received { buffer, range, source, truncated, .. } = packet;
        if truncated {
            return Err(DropReason::Oversize);
        }
        let (start, arrived) = (range.start, range.len());
        let stream = &mut self.streams[slot.key()];

        let media = match classify(component, stream.carriage, &buffer[range.clone()])? {
            Content::Media(media) => media,
            Content::Agent(protocol) => {
                let from = (slot, component, source);
                return self.hand_up(protocol, from, &buffer[range]).map(|()| None);
            }
        };
        let stamp = Stamp::parse(media, &buffer[range.clone()])?;
        stream.check_source(component, media, source, self.now)?;
        let length = stream.open(media, &mut buffer[range], self.now)?;

        stream.learn(component, media, source, self.now);
        stream.check_stranger(component, source, stamp, self.now)?;
        if !stream.pace.admit(self.now) {
            return Err(DropReason::Flood);
        }
        stream.count(media, stamp, arrived, self.now);

        let towards = stream.onward(media)?;
        if media == Media::Rtcp {
            stream.map_feedback(&mut buffer[start..start + length]);
        }
        let (peer, length) = match towards {
            Towards::Peer(peer) => (peer, length),
            Towards::Sections => self.route(slot, media, &mut buffer[start..start + length])?,
            Towards::Bundle(peer) => {
                self.enter((slot, peer), media, &buffer[start..start + length])?;
                (peer, length)
            }
            Towards::Nobody => return Err(DropReason::NoPeer),
        };
        self.depart(peer, media, &mut buffer[start..], length)
            .map(|onward| Some(Onward { range: start..start + onward.range.end, ..onward }))
    }

    /// Protects the first `length` bytes of `buffer` for `peer`, and says where they go.
    pub(super) fn depart(
        &mut self,
        peer: Slot,
        media: Media,
        buffer: &mut [u8],
        length: usize,
    ) -> Result<Onward, DropReason> {
        let stream = self.streams.get_mut(peer.key()).ok_or(DropReason::NoPeer)?;
        let component = stream.component(media);
        let to = stream.destination(media, component)?;
        let length = stream.protect(media, (buffer, length), self.now)?;
        stream.traffic[media as usize].sent.packets += 1;
        stream.traffic[media as usize].sent.bytes += length as u64;
        self.tally.bytes_out += length as u64;
        Ok(Onward { from: peer.token(component), to, range: 0..length })
    }

    /// An agent gets a copy of the packet, if it may.
    #[cold]
    fn hand_up(
        &mut self,
        protocol: Protocol,
        (slot, component, source): (Slot, Component, SocketAddr),
        packet: &[u8],
    ) -> Result<(), DropReason> {
        let stream = &mut self.streams[slot.key()];
        let standing = stream.admit_to_agent(protocol, component, (packet, source), self.now)?;
        let lane = stream.cold.tap.as_ref().and_then(|tap| self.lanes.get_mut(tap.uplink()));
        let (Some(lane), Some(to)) = (lane, stream.addressee(component)) else {
            return Err(DropReason::UnexpectedProtocol);
        };
        let copy = AgentPacket::new(to, source, packet).ok_or(DropReason::Oversize)?;
        lane.hand_up(protocol, standing, copy, self.now)?;
        stream.note_handed_up(protocol);
        self.tally.agent.count(protocol);
        Ok(())
    }
}

impl Stream {
    fn check_source(
        &self,
        component: Component,
        media: Media,
        source: SocketAddr,
        now: Instant,
    ) -> Result<(), DropReason> {
        let endpoint = &self.endpoints[component as usize];
        if endpoint.confirmed && endpoint.address == Some(source) {
            return Ok(());
        }
        let proof = match self.inbound.authenticates(media) {
            true => Proof::Pending,
            false => Proof::None,
        };
        let admitted = match self.ice_rules() {
            true => self.ice_vouches_for(component, source),
            false => self.cold.learners[component as usize].admits(source, proof, now),
        };
        if admitted { Ok(()) } else { Err(DropReason::WrongSource) }
    }

    fn open(&mut self, media: Media, packet: &mut [u8], now: Instant) -> Result<usize, DropReason> {
        match &mut self.inbound {
            Inbound::Clear => Ok(packet.len()),
            Inbound::Srtp(opener) => {
                let opened = opener.open(media, packet, now);
                self.note_key(KeyOwner::Party, &opened);
                Ok(opened?.0)
            }
            Inbound::Unset => Err(DropReason::NoKey),
        }
    }

    /// Counts a packet that is the party's: what keeps the call alive.
    fn count(&mut self, media: Media, stamp: Option<Stamp>, bytes: usize, now: Instant) {
        let received = &mut self.traffic[media as usize].received;
        received.packets += 1;
        received.bytes += bytes as u64;
        self.last_packet = Some(now);
        if let Some(stamp) = stamp {
            self.sources.count(stamp, bytes);
        }
    }

    fn learn(&mut self, component: Component, media: Media, source: SocketAddr, now: Instant) {
        let endpoint = self.endpoints[component as usize];
        if (endpoint.confirmed && endpoint.address == Some(source)) || self.ice_rules() {
            return;
        }
        let endpoint = &mut self.endpoints[component as usize];
        let proof = match self.inbound.authenticates(media) {
            true => Proof::Authenticated,
            false => Proof::None,
        };
        self.cold.learners[component as usize].learn(endpoint, source, proof, now);
    }

    /// A new SSRC on a leg without authentication from where nobody vouches for the party: see
    /// [`Strangers`].
    ///
    /// [`Strangers`]: super::source::Strangers
    fn check_stranger(
        &mut self,
        component: Component,
        source: SocketAddr,
        stamp: Option<Stamp>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(stamp) = stamp.filter(|_| !self.inbound.authenticates(Media::Rtp)) else {
            return Ok(());
        };
        let learner = &self.cold.learners[component as usize];
        if self.sources.knows(stamp.ssrc)
            || self.ice_rules()
            || learner.vouches_for(source)
            || self.cold.strangers.admit(now)
        {
            return Ok(());
        }
        Err(DropReason::TooManySources)
    }

    fn onward(&self, media: Media) -> Result<Towards, DropReason> {
        if media == Media::Rtp && self.receive == Flow::Off {
            return Err(DropReason::DirectionOff);
        }
        Ok(self.towards)
    }

    /// What the party reports about what it was sent speaks of our numbers.
    fn map_feedback(&self, compound: &mut [u8]) {
        if let Outbound::Srtp(sealer) = &self.outbound
            && sealer.renumbers()
        {
            feedback::map_back(compound, |ssrc| sealer.offset_of(ssrc));
        }
    }

    fn destination(&self, media: Media, component: Component) -> Result<SocketAddr, DropReason> {
        if media == Media::Rtp && self.send == Flow::Off {
            return Err(DropReason::DirectionOff);
        }
        // The peer has ended, or it muxes and its RTCP socket is gone.
        if self.cold.local[component as usize].is_none() {
            return Err(DropReason::NoPeer);
        }
        self.endpoints[component as usize].address.ok_or(DropReason::NoDestination)
    }

    /// Protects the first `length` bytes of `buffer`, whose rest is tailroom. An SRTP leg
    /// without a key sends nothing: never in clear.
    fn protect(
        &mut self,
        media: Media,
        (buffer, length): (&mut [u8], usize),
        now: Instant,
    ) -> Result<usize, DropReason> {
        match &mut self.outbound {
            Outbound::Clear => Ok(length),
            Outbound::Srtp(sealer) => {
                if sealer.has_next() && sealer.hand_over(&self.inbound, now) {
                    self.cold.limits[KeyOwner::Ours as usize] = Notice::Below;
                }
                let sealed = sealer.seal(media, buffer, length);
                self.note_key(KeyOwner::Ours, &sealed);
                Ok(sealed?.0)
            }
            Outbound::Unset => Err(DropReason::NoKey),
        }
    }

    /// Nearly every key is fresh: what is cold stays untouched.
    fn note_key(&mut self, owner: KeyOwner, outcome: &Result<(usize, KeyState), DropReason>) {
        if !matches!(outcome, Ok((_, KeyState::Fresh))) {
            self.cold.limits[owner as usize].note(outcome);
        }
    }

    pub(super) fn note_drop(&mut self, component: Component, reason: DropReason, packets: u32) {
        let media = match (component, self.carriage) {
            (Component::Rtcp, Carriage::Separate) => Media::Rtcp,
            _ => Media::Rtp,
        };
        self.traffic[media as usize].received.errors += u64::from(packets);
        let drops = &mut self.cold.drops[reason as usize];
        *drops = drops.saturating_add(packets);
    }

    fn note_kernel_drops(&mut self, component: Component, reading: u32, tally: &mut Tally) {
        let last = &mut self.kernel_drops[component as usize];
        let fresh = reading.wrapping_sub(*last);
        // The kernel says nothing (0) before the first drop, and never counts backwards.
        if fresh == 0 || fresh > u32::MAX / 2 {
            return;
        }
        *last = reading;
        tally.drops[DropReason::KernelReceiveQueue as usize] += u64::from(fresh);
        self.note_drop(component, DropReason::KernelReceiveQueue, fresh);
    }
}
