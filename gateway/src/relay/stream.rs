//! One stream as its worker keeps it: what every packet needs in [`Stream`], the rest behind
//! one pointer in [`Cold`].
//!
//! Owned by the worker's [`super::table::Table`] and by nobody else. Plans change it between
//! batches, the packet path within them; both run on the worker's thread.

use std::net::SocketAddr;
use std::time::Instant;

use packet_io::Token;

use super::agents::Tap;
use super::bundle::Routes;
use super::command::{AgentCounts, CallKey, Counters, Keyed, StreamIndex, StreamReport};
use super::demultiplex::{Carriage, Component, Media};
use super::drop_reason::DropReason;
use super::keys::{Inbound, Outbound};
use super::learning::{Endpoint, Learner};
use super::limits::Notice;
use super::residence::Buckets;
use super::source::{Pace, Sources, Strangers};

/// A stream's place in the worker's slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u32);

impl Slot {
    /// The socket name that leads back to this stream.
    pub(super) fn token(self, component: Component) -> Token {
        Token(self.0 * 2 + component as u32)
    }

    /// The stream and component of a socket name.
    pub(super) fn of(token: Token) -> (Self, Component) {
        let component = if token.0 & 1 == 0 { Component::Rtp } else { Component::Rtcp };
        (Self(token.0 / 2), component)
    }

    /// The slab's key.
    pub(super) fn key(self) -> usize {
        self.0 as usize
    }
}

/// Whether signalling lets media pass one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It does.
    On,
    /// Inactive, one-way the other way, or blocked.
    Off,
}

/// Who gets what the party sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Towards {
    /// Nobody yet, or any more.
    Nobody,
    /// This stream.
    Peer(Slot),
    /// Each section of the bundle another: see [`Routes`].
    Sections,
    /// This stream, a bundle in which others meet.
    Bundle(Slot),
}

/// What one component moved, both ways.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) received: Counters,
    pub(super) sent: Counters,
}

/// The fields that packets touch, in the order in which they do.
pub(super) struct Stream {
    pub(super) carriage: Carriage,
    /// RTP from the party; RTCP flows even while media is off (RFC 3264 section 5.1).
    pub(super) receive: Flow,
    /// RTP to the party.
    pub(super) send: Flow,
    pub(super) towards: Towards,
    /// Opens what the party sends.
    pub(super) inbound: Inbound,
    /// Protects what the party is sent.
    pub(super) outbound: Outbound,
    /// Where the party receives, by [`Component`].
    pub(super) endpoints: [Endpoint; 2],
    /// Last SO_RXQ_OVFL reading, by [`Component`].
    pub(super) kernel_drops: [u32; 2],
    /// By [`Media`].
    pub(super) traffic: [Traffic; 2],
    pub(super) last_packet: Option<Instant>,
    pub(super) sources: Sources,
    pub(super) pace: Pace,
    pub(super) cold: Box<Cold>,
}

/// What packets touch rarely, or only to count what went wrong.
#[derive(Debug)]
pub(super) struct Cold {
    pub(super) call: CallKey,
    pub(super) index: StreamIndex,
    /// By [`Component`].
    pub(super) learners: [Learner; 2],
    /// Our open sockets' addresses, by [`Component`].
    pub(super) local: [Option<SocketAddr>; 2],
    /// By [`DropReason`]; 32 bits, for there are thousands of these.
    pub(super) drops: [u32; DropReason::COUNT],
    pub(super) residence: Buckets,
    /// Of the keys, by [`KeyOwner`](super::command::KeyOwner).
    pub(super) limits: [Notice; 2],
    /// Lets SSRCs in from sources nobody vouches for.
    pub(super) strangers: Strangers,
    /// Of streams whose packets go more than one way.
    pub(super) routes: Option<Box<Routes>>,
    /// Of streams that speak ICE or DTLS.
    pub(super) tap: Option<Box<Tap>>,
}

// Six cache lines for what packets touch: more and 8,000 streams no longer fit a 4 MiB cache.
const _: () = assert!(size_of::<Stream>() <= 448);
const _: () = assert!(size_of::<Cold>() <= 896);

impl Stream {
    /// A stream without sockets, keys or peer: it drops everything.
    pub(super) fn new(call: CallKey, index: StreamIndex) -> Self {
        Self {
            carriage: Carriage::Separate,
            receive: Flow::On,
            send: Flow::On,
            towards: Towards::Nobody,
            inbound: Inbound::Unset,
            outbound: Outbound::Unset,
            endpoints: [Endpoint::default(); 2],
            kernel_drops: [0; 2],
            traffic: [Traffic::default(); 2],
            last_packet: None,
            sources: Sources::default(),
            pace: Pace::default(),
            cold: Box::new(Cold {
                call,
                index,
                learners: [Learner::new(); 2],
                local: [None; 2],
                drops: [0; DropReason::COUNT],
                residence: Buckets::new(),
                limits: [Notice::Below; 2],
                strangers: Strangers::default(),
                routes: None,
                tap: None,
            }),
        }
    }

    /// The socket and, within learning, the endpoint that `media` uses.
    pub(super) fn component(&self, media: Media) -> Component {
        match (media, self.carriage) {
            (Media::Rtcp, Carriage::Separate) => Component::Rtcp,
            _ => Component::Rtp,
        }
    }

    /// What the stream did so far.
    pub(super) fn report(&self) -> StreamReport {
        let [rtp, rtcp] = self.traffic;
        let rtcp_component = self.component(Media::Rtcp) as usize;
        StreamReport {
            rtp_in: rtp.received,
            rtp_out: rtp.sent,
            rtcp_in: rtcp.received,
            rtcp_out: rtcp.sent,
            remote_rtp: self.endpoints[0].address,
            remote_rtcp: self.endpoints[rtcp_component].address,
            local_rtp: self.cold.local[0],
            local_rtcp: self.cold.local[rtcp_component],
            confirmed: self.endpoints[0].confirmed,
            last_packet: self.last_packet,
            sources: self.sources.report(),
            drops: self.cold.drops.map(u64::from),
            residence: self.cold.residence.report(),
            agent: self.cold.tap.as_ref().map_or_else(AgentCounts::default, |tap| tap.handed_up()),
            keyed: Keyed { opened: self.inbound.packets(), sealed: self.outbound.packets() },
        }
    }
}
