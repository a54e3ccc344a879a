//! What control says to a worker and what a worker says back: the seam between `session`
//! (which decides) and `relay` (which moves packets).
//!
//! A plan is declarative: after each offer or answer the session sends the whole call as it
//! should now be, and `Keep` where nothing changed, so keys and learned addresses survive.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use hdrhistogram::Histogram;
use ng::request::EndpointLearning;
use srtp::Mki;
use tokio::sync::oneshot;

use super::drop_reason::DropReason;
use super::key_plan::{HandshakeKeys, ReceivePlan, SendPlan};
use crate::webrtc::plan::{Epoch, IceGeneration};

/// A call's name between control and worker; never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey(pub u64);

/// A stream (one party's one media section) within its call: an index that stays for life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StreamIndex(pub u16);

/// Control to worker.
#[derive(Debug)]
pub enum Command {
    /// Make the call be this.
    Apply(CallPlan),
    /// End the call, close its sockets, report what it did.
    Close {
        /// The call.
        call: CallKey,
        /// Where the final numbers go.
        reply: oneshot::Sender<Option<CallReport>>,
    },
    /// Report what the call has done so far.
    Report {
        /// The call.
        call: CallKey,
        /// Where the numbers go.
        reply: oneshot::Sender<Option<CallReport>>,
    },
    /// Report what the worker has done so far.
    Snapshot(oneshot::Sender<WorkerSnapshot>),
    /// Keys of a finished DTLS handshake. Ignored unless `epoch` is that of the stream's plan, or of
    /// one before it that newer keys have not followed; old receive keys stay beside the new ones
    /// for a while.
    Secure {
        /// The call.
        call: CallKey,
        /// The stream.
        stream: StreamIndex,
        /// Which association.
        epoch: Epoch,
        /// The keys.
        keys: Box<HandshakeKeys>,
    },
    /// Protect towards a stream's party under another of the keys that it was given, from the next
    /// packet on and in the same indexes. Ignored where there are none.
    SwitchKey {
        /// The call.
        call: CallKey,
        /// The stream.
        stream: StreamIndex,
        /// Which key.
        mki: Mki,
    },
    /// ICE found, or lost, where a stream's party is. Ignored unless `generation` is that of the
    /// stream's plan.
    Path {
        /// The call.
        call: CallKey,
        /// The stream.
        stream: StreamIndex,
        /// Of which ICE.
        generation: IceGeneration,
        /// The whole of it.
        path: IcePath,
    },
    /// Duplicates of a stream's sockets (RTP, RTCP), for agents to send from; `None` where the
    /// stream has none, and both while it has not had the plan that gives this footing. Agents
    /// act on a plan only then: what they say of it later cannot come before it.
    Lend {
        /// The call.
        call: CallKey,
        /// The stream.
        stream: StreamIndex,
        /// What the agents' plan builds on.
        footing: Footing,
        /// Where they go.
        reply: std::sync::mpsc::SyncSender<io::Result<[Option<UdpSocket>; 2]>>,
    },
    /// Stop: close every socket and leave.
    Stop,
}

/// A call as it should be.
#[derive(Debug)]
pub struct CallPlan {
    /// The call.
    pub call: CallKey,
    /// All of its streams, in [`StreamIndex`] order. Never shorter than in the last plan.
    pub streams: Vec<StreamPlan>,
}

/// One party's one media section: our sockets that face it, and how to treat it.
#[derive(Debug)]
pub struct StreamPlan {
    /// New sockets: RTP (even port) and RTCP (odd); `None` keeps what the stream has.
    pub sockets: Option<PortPair>,
    /// The stream its packets are relayed to; `None` until there is an answer.
    pub peer: Option<StreamIndex>,
    /// Of a bundle: where the packets of each of its sections go instead. Empty: all to `peer`. At
    /// most [`MAX_ROUTES`]; what is beyond goes nowhere.
    pub routes: Vec<Route>,
    /// Where the peer said it receives; `None` keeps (also what was learned since).
    pub remote: Option<Remote>,
    /// How the real address is found.
    pub learning: EndpointLearning,
    /// After learning, drop packets from elsewhere.
    pub strict_source: bool,
    /// The keys the party protects with (what we open with).
    pub receive_key: ReceivePlan,
    /// The keys we protect with towards the party.
    pub send_key: SendPlan,
    /// RTCP arrives and leaves on the RTP socket.
    pub rtcp_mux: bool,
    /// Relay what the party sends (false: inactive, recvonly, blocked).
    pub receive: bool,
    /// Send to the party.
    pub send: bool,
    /// IP TOS / traffic class for what we send; `None` keeps.
    pub tos: Option<u8>,
    /// The stream has ended (media removed, branch gone): close its sockets, keep its index.
    pub closed: bool,
    /// The stream speaks ICE or DTLS: what goes up to the agents; `None`: neither is let in.
    pub agent: Option<AgentTap>,
}

/// One section of a bundle (RFC 9143): how its packets are told, and whose they are. `receive` and
/// `send` of the bundled stream are of all its sections; a section's own are those of its peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The far side's stream of this section.
    pub peer: StreamIndex,
    /// The party's `a=mid`; empty: none.
    pub mid: Box<[u8]>,
    /// The number of the MID header extension (`a=extmap` with `urn:ietf:params:rtp-hdrext:sdes:mid`)
    /// in what the party sends, 1 to 255; 0: none was agreed.
    pub mid_extension: u8,
    /// The section's payload types: bit `n` for type `n`.
    pub payload_types: u128,
    /// SSRCs that the party announced for it (`a=ssrc`).
    pub ssrcs: Vec<u32>,
}

/// Most sections of a bundle.
pub const MAX_ROUTES: usize = 32;

/// What a stream hands up to its ICE and DTLS agents, and from whom it takes media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentTap {
    /// Which uplink: an agent thread of [`crate::webrtc`].
    pub uplink: u16,
    /// Hand up STUN, from anywhere: ICE authenticates each message. Media, and DTLS, are then taken
    /// from the addresses of this ICE's last [`IcePath`] alone.
    pub ice: Option<IceGeneration>,
    /// Hand up DTLS, and take keys of this association; without ICE only from the signalled
    /// address, or one learned by SRTP.
    pub dtls: Option<Epoch>,
    /// With ICE: whose STUN is not a stranger's, whatever the path.
    pub named: NamedSources,
}

/// What a leg's agents build on at its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footing {
    /// Where the stream's RTP socket is bound.
    pub socket: SocketAddr,
    /// The plan speaks of this ICE; `None`: of none.
    pub ice: Option<IceGeneration>,
    /// And of this association; `None`: of none.
    pub dtls: Option<Epoch>,
}

/// Addresses of the candidates that the party named: its checks and answers come from there before
/// ICE has found a path. Of no weight for DTLS and media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamedSources([Option<SocketAddr>; Self::MAX]);

impl NamedSources {
    /// Most that are kept; the party's first. Others' checks are strangers', no more.
    pub const MAX: usize = 16;

    /// Whether the party named it.
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.0.contains(&Some(address))
    }
}

impl FromIterator<SocketAddr> for NamedSources {
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(addresses: I) -> Self {
        let mut named = Self::default();
        let mut free = 0;
        for address in addresses {
            if free < Self::MAX && !named.contains(address) {
                named.0[free] = Some(address);
                free += 1;
            }
        }
        named
    }
}

/// Where ICE says that a stream's media come from and go to. Replaces the path before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IcePath {
    /// By component: RTP (all of it with rtcp-mux), RTCP.
    pub components: [ComponentPath; 2],
}

/// One component of an [`IcePath`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentPath {
    /// Remote addresses of valid pairs, and after them of those that the party has checked and we have
    /// not yet; at most [`VALID_SOURCES`].
    pub sources: Vec<SocketAddr>,
    /// The remote address of the selected pair.
    pub destination: Option<SocketAddr>,
}

/// Most remote addresses that ICE vouches for at a time, for one component.
pub const VALID_SOURCES: usize = 4;

/// An RTP socket and its RTCP neighbour, bound and non-blocking.
#[derive(Debug)]
pub struct PortPair {
    /// Even port.
    pub rtp: UdpSocket,
    /// The next port; `None` once rtcp-mux was agreed before it was needed.
    pub rtcp: Option<UdpSocket>,
}

/// Where a party receives, as signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// RTP; `None` for an old-style hold (zero address or port).
    pub rtp: Option<SocketAddr>,
    /// RTCP.
    pub rtcp: Option<SocketAddr>,
}

/// Packets and bytes of one component in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Payload bytes of UDP.
    pub bytes: u64,
    /// Packets dropped.
    pub errors: u64,
}

/// What one stream did.
#[derive(Clone, Debug)]
pub struct StreamReport {
    /// RTP received from the party.
    pub rtp_in: Counters,
    /// RTP sent to the party.
    pub rtp_out: Counters,
    /// RTCP received from the party.
    pub rtcp_in: Counters,
    /// RTCP sent to the party.
    pub rtcp_out: Counters,
    /// Where RTP is sent now: learned or signalled.
    pub remote_rtp: Option<SocketAddr>,
    /// Where RTCP is sent now.
    pub remote_rtcp: Option<SocketAddr>,
    /// Our RTP socket's address.
    pub local_rtp: Option<SocketAddr>,
    /// Our RTCP socket's address.
    pub local_rtcp: Option<SocketAddr>,
    /// The address was confirmed by traffic.
    pub confirmed: bool,
    /// Last packet received.
    pub last_packet: Option<Instant>,
    /// Per-source numbers, newest sources first.
    pub sources: Vec<SourceReport>,
    /// Drops of what the party sent, by reason.
    pub drops: [u64; DropReason::COUNT],
    /// Residence time of what the party sent.
    pub residence: Residence,
    /// What went to its agents.
    pub agent: AgentCounts,
    /// SRTP packets under the keys in use.
    pub keyed: Keyed,
}

/// SRTP packets under the keys in use; zero where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keyed {
    /// Opened under the party's key last heard.
    pub opened: u64,
    /// Sealed under ours.
    pub sealed: u64,
}

/// What went up to agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentCounts {
    /// STUN messages.
    pub stun: u64,
    /// DTLS datagrams.
    pub dtls: u64,
}

/// What one SSRC of a stream did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// The SSRC.
    pub ssrc: u32,
    /// Packets received.
    pub packets: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Last RTP timestamp.
    pub last_timestamp: u32,
    /// Last sequence number.
    pub last_sequence: u16,
    /// Sequence numbers that never came (RFC 3550 A.3).
    pub lost: u64,
}

/// Residence time in nanoseconds: p50, p99, p99.9 and the maximum, from log buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residence {
    /// Packets measured.
    pub count: u64,
    /// Median.
    pub p50_ns: u64,
    /// 99 %.
    pub p99_ns: u64,
    /// 99.9 %.
    pub p999_ns: u64,
    /// Maximum.
    pub max_ns: u64,
}

/// What one call did.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// Streams in index order.
    pub streams: Vec<StreamReport>,
}

/// What one worker did since it started.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// Which worker.
    pub worker: usize,
    /// The driver in use, as `io_uring` or `epoll`.
    pub driver: &'static str,
    /// Calls it owns now.
    pub calls: usize,
    /// Streams it owns now.
    pub streams: usize,
    /// Packets received.
    pub packets_in: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Drops by reason.
    pub drops: [u64; DropReason::COUNT],
    /// Residence times, nanoseconds.
    pub residence: Histogram<u64>,
    /// Packets whose residence could not be told because the clock was stepped.
    pub clock_steps: u64,
    /// Wake-ups of the media ring.
    pub wakeups: u64,
    /// What went to the agents' threads.
    pub agent: AgentCounts,
}

/// Worker to control, unasked.
#[derive(Debug)]
pub enum WorkerEvent {
    /// No packet for this long: control decides whether that is a timeout.
    Idle {
        /// The call.
        call: CallKey,
        /// When its last packet came, or when it was made.
        since: Instant,
    },
    /// A key has protected nearly, or all of, what it may.
    KeyLimit {
        /// The call.
        call: CallKey,
        /// The stream.
        stream: StreamIndex,
        /// Whose key.
        owner: KeyOwner,
        /// Of ours the MKI that packets name it by; of a party's none.
        mki: Mki,
        /// Which limit.
        limit: KeyLimit,
    },
    /// A plan's socket was not taken: the stream stands without it.
    SocketRefused {
        /// The call.
        call: CallKey,
        /// The stream.
        stream: StreamIndex,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Which of a stream's two directions a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyOwner {
    /// The party protects with it.
    Party,
    /// We do.
    Ours,
}

/// How far a key has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLimit {
    /// It should be replaced soon: ask for a rekey.
    Soft,
    /// It has protected all that it may: its packets are refused.
    Hard,
}
