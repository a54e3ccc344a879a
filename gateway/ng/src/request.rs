//! A dictionary as a typed request: what each command needs and which options were given.
//!
//! Keys come with blanks, hyphens or underscores, flags as lists or single strings; all of that
//! ends here. Unknown keys and flags are collected for the caller to warn about, never an error.

mod draft;
mod flag;
mod key;
mod option;
mod parts;
mod read;
mod rtpp_flags;
#[cfg(test)]
mod tests;
mod unknown;

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use srtp::{Profile, SessionParameters};

use crate::sdp::{HashFunction, Protocol};
use crate::wire::Dict;

pub use unknown::{Ignored, Reason, Unknown};

/// One request, checked: what its command requires is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `ping`.
    Ping,
    /// `offer`.
    Offer(Box<Signal>),
    /// `answer`; `to_tag` is always there.
    Answer(Box<Signal>),
    /// `delete`.
    Delete(Delete),
    /// `query`.
    Query(Query),
    /// `list`, with the most calls to name (default 32).
    List {
        /// The most calls to name.
        limit: usize,
    },
    /// `statistics`.
    Statistics,
}

impl Request {
    /// Reads a request, and collects what it has that we do not use. Of a refused request that
    /// is collected too.
    pub fn parse(dict: &Dict) -> (Result<Self, Refused>, Unknown) {
        draft::Draft::read(dict).finish()
    }
}

/// Why a request is refused; its text is the incumbent's, for `error-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No `command`.
    #[error("Dictionary contains no key \"command\"")]
    NoCommand,
    /// A command that nobody knows.
    #[error("Unrecognized command")]
    Unrecognized,
    /// A command of the incumbent that we do not have. The words are those for an unknown one:
    /// controllers handle these as they would an older incumbent's.
    #[error("Unrecognized command")]
    NotImplemented,
    /// No `sdp`, or an empty one.
    #[error("No SDP body in message")]
    NoSdp,
    /// No `call-id`, or an empty one, which would make one call of many.
    #[error("No call-id in message")]
    NoCallId,
    /// No `from-tag`, or an empty one.
    #[error("No from-tag in message")]
    NoFromTag,
    /// An answer without `to-tag`.
    #[error("No to-tag in message")]
    NoToTag,
    /// A name that would cost us memory for the life of the call. Ours: the incumbent takes any.
    #[error("call-id, tag, via-branch or label too long: at most 1024 bytes")]
    NameTooLong,
}

/// The commands of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// `ping`.
    Ping,
    /// `offer`.
    Offer,
    /// `answer`.
    Answer,
    /// `delete`.
    Delete,
    /// `query`.
    Query,
    /// `list`.
    List,
    /// `statistics`.
    Statistics,
    /// One that the incumbent has and we have not.
    Other,
}

impl Command {
    /// The command of this name: case counts, and blanks are no hyphens, as in the incumbent.
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"ping" => Self::Ping,
            b"offer" => Self::Offer,
            b"answer" => Self::Answer,
            b"delete" => Self::Delete,
            b"query" => Self::Query,
            b"list" => Self::List,
            b"statistics" => Self::Statistics,
            _ if OTHER_COMMANDS.contains(&name) => Self::Other,
            _ => return None,
        })
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Delete => "delete",
            Self::Query => "query",
            Self::List => "list",
            Self::Statistics => "statistics",
            Self::Other => "other",
        }
    }
}

/// Commands of the incumbent that we do not have.
const OTHER_COMMANDS: &[&[u8]] = &[
    b"start recording",
    b"stop recording",
    b"pause recording",
    b"start forwarding",
    b"stop forwarding",
    b"block DTMF",
    b"unblock DTMF",
    b"block media",
    b"unblock media",
    b"silence media",
    b"unsilence media",
    b"play media",
    b"stop media",
    b"play DTMF",
    b"publish",
    b"subscribe request",
    b"subscribe answer",
    b"unsubscribe",
    b"inject start",
    b"inject stop",
    b"connect",
    b"cli",
    b"transform",
    b"create",
    b"create answer",
    b"mesh",
];

/// An offer or an answer. Its strings are slices of the datagram: copy what outlives the request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signal {
    /// `call-id`.
    pub call_id: Bytes,
    /// `from-tag`: in an answer still as sent, that is, the offerer's tag.
    pub from_tag: Bytes,
    /// `to-tag`.
    pub to_tag: Option<Bytes>,
    /// `via-branch`.
    pub via_branch: Option<Bytes>,
    /// `sdp`.
    pub sdp: Bytes,
    /// `received-from`: where the SBC got the SIP message from.
    pub received_from: Option<IpAddr>,
    /// `media-address`: the address that the rewritten body shows instead of ours.
    pub media_address: Option<IpAddr>,
    /// `address-family`.
    pub address_family: Option<AddressFamily>,
    /// `direction` (or from-interface/to-interface): logical interface names, from and to. One
    /// that was not given is empty: the default interface.
    pub direction: Option<(Bytes, Bytes)>,
    /// `transport-protocol`.
    pub transport: Option<Transport>,
    /// `replace`.
    pub replace: Replace,
    /// `rtcp-mux`.
    pub rtcp_mux: RtcpMux,
    /// `SDES`.
    pub sdes: Sdes,
    /// `ICE`, `ICE-lite` and `trickle ICE`.
    pub ice: Ice,
    /// `DTLS` and `DTLS-fingerprint`.
    pub dtls: Dtls,
    /// `OSRTP`.
    pub osrtp: Osrtp,
    /// `TOS`: 0 to 255; negative keeps what the call has.
    pub tos: Option<i16>,
    /// `delete-delay`.
    pub delete_delay: Option<Duration>,
    /// `label`.
    pub label: Option<Bytes>,
    /// `endpoint-learning`, where given.
    pub endpoint_learning: Option<EndpointLearning>,
    /// `sip-message-type`: false for a reply, `None` where not given.
    pub sip_request: Option<bool>,
    /// `supports` names "load limit".
    pub supports_load_limit: bool,
    /// Simple flags.
    pub flags: Flags,
}

/// `delete`.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// `call-id`.
    pub call_id: Bytes,
    /// `from-tag`; OpenSIPS leaves it out, which means the whole call.
    pub from_tag: Option<Bytes>,
    /// `to-tag`, honoured only with the flag `to-tag` (already applied here).
    pub to_tag: Option<Bytes>,
    /// `via-branch`.
    pub via_branch: Option<Bytes>,
    /// `delete-delay`.
    pub delete_delay: Option<Duration>,
    /// Flag `fatal`: an unknown call is an error, not a warning.
    pub fatal: bool,
    /// Flag `fast`: no statistics in the reply.
    pub fast: bool,
}

/// `query`.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// `call-id`.
    pub call_id: Bytes,
    /// `from-tag`.
    pub from_tag: Option<Bytes>,
    /// `to-tag`.
    pub to_tag: Option<Bytes>,
}

/// `address-family`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// `IP4`.
    V4,
    /// `IP6`.
    V6,
}

/// `transport-protocol`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Bridge to this profile.
    To(Protocol),
    /// `accept` (answers only): pass a changed profile back.
    Accept,
}

/// `replace` and its `replace-*` flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the ng keyword of the same name")]
pub struct Replace {
    pub origin: bool,
    pub origin_full: bool,
    pub username: bool,
    pub session_name: bool,
    pub sdp_version: bool,
    pub zero_address: bool,
    pub force_increment_sdp_version: bool,
}

/// `rtcp-mux`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the ng keyword of the same name")]
pub struct RtcpMux {
    pub offer: bool,
    pub require: bool,
    pub demux: bool,
    pub accept: bool,
    pub reject: bool,
}

/// `SDES` and its `SDES-*` flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sdes {
    /// `off`, `no`, `disable`: no SDES at all.
    pub off: bool,
    /// `no-SUITE`: suites to leave out.
    pub no: Vec<Profile>,
    /// `only-SUITE`: offer only these (wins over `no-`).
    pub only: Vec<Profile>,
    /// `nonew`: add no suites of our own (wins over both).
    pub no_new: bool,
    /// `order:A;B;`: our order of offered suites.
    pub order: Vec<Profile>,
    /// `offerer_pref:A;B;`: which of the offered suites to answer with first.
    pub offerer_preference: Vec<Profile>,
    /// `pad`: base64 padding in `inline:`.
    pub pad: bool,
    /// `prefer`, `priority`: answer with SDES where DTLS was offered too.
    pub prefer: bool,
    /// `lifetime`: print `|2^31`.
    pub lifetime: bool,
    /// `unencrypted_srtp`, `unencrypted_srtcp`, `unauthenticated_srtp`: leave these out too.
    pub weaken: SessionParameters,
    /// `encrypted_srtp`, `encrypted_srtcp`, `authenticated_srtp`: leave none of these out.
    pub strengthen: SessionParameters,
}

/// `ICE`, a word or several, with `ICE-lite` and the flag `trickle ICE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ice {
    /// What the other side is shown.
    pub mode: IceMode,
    /// `ICE-lite`, or `lite-*` among the words (`lite` alone is both); `None` keeps what the call
    /// has, at first the gateway's own way.
    pub lite: Option<IceLite>,
    /// `trickle`: offer to trickle (RFC 8838).
    pub trickle: bool,
    /// `ice2`: say that we go by RFC 8445.
    pub ice2: bool,
}

/// What the other side is shown of ICE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IceMode {
    /// `default`, or no word: ICE of our own where the sender of the body speaks ICE.
    #[default]
    Default,
    /// `remove`: none.
    Remove,
    /// `force`: ICE of our own, and only that.
    Force,
    /// `optional`: ICE of our own beside the sender's candidates, or alone where it has none.
    Optional,
    /// `force-relay`: our own as a relay beside the sender's candidates.
    ForceRelay,
}

/// `ICE-lite`: towards which side we only answer checks. In offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceLite {
    /// `off`: neither.
    Off,
    /// `forward`: the side that the offer goes to.
    Forward,
    /// `backward`: the side that the offer came from.
    Backward,
    /// `both`.
    Both,
}

/// `DTLS` with `DTLS-fingerprint`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dtls {
    /// `off`, `no`, `disable`: neither offered nor accepted.
    pub off: bool,
    /// Which role to take where both are open; `None`: the gateway's own way.
    pub role: Option<DtlsRole>,
    /// Under which hash function our certificate is shown; `None`: the peer's, else SHA-256.
    pub fingerprint: Option<HashFunction>,
}

/// `DTLS`: the role to take where the peer leaves the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// We send the ClientHello.
    Active,
    /// The peer does.
    Passive,
}

/// `OSRTP` and its `OSRTP-*` flags: SRTP where the other side can, plain RTP where not. The legacy
/// kind, which is each section twice, is not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Osrtp {
    /// `offer`, `offer-RFC`: make a plain offer one of RFC 8643.
    pub offer: bool,
    /// `accept-RFC`, `accept`: take such an offer up even where the other side does not.
    pub accept: bool,
}

/// How a stream finds out where its peer really sends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointLearning {
    /// Prefer the signalled address for a while, then the best match.
    Heuristic,
    /// Whatever sends after three seconds of the call.
    Delayed,
    /// The first packet's source.
    Immediate,
    /// Only the signalled address.
    Off,
}

/// Flags without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the ng keyword of the same name")]
pub struct Flags {
    pub trust_address: bool,
    pub sip_source_address: bool,
    pub asymmetric: bool,
    pub symmetric: bool,
    pub strict_source: bool,
    pub port_latching: bool,
    pub recrypt: bool,
    pub no_passthrough: bool,
    pub reset: bool,
    pub loop_protect: bool,
    pub original_sendrecv: bool,
    pub generate_mid: bool,
    pub no_rtcp_attribute: bool,
    pub full_rtcp_attribute: bool,
    pub new_branch: bool,
    pub no_tls_id: bool,
    pub reject_ice: bool,
    /// The body is a trickled fragment ([`crate::sdp::Fragment`]), no session description.
    pub fragment: bool,
}
