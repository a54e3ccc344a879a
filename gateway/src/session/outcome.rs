//! What a request comes to: the reply's SDP and the worker's plan, or the reason it is refused.

use std::fmt;

use bytes::Bytes;
use srtp::Weaknesses;

use crate::relay::command::{CallKey, CallPlan, StreamIndex};
use crate::webrtc::plan::LegUpdate;

/// An offer or answer done. The plan must reach the call's worker, whatever becomes of the
/// reply: it carries sockets and keys that are in no other place.
#[derive(Debug)]
pub struct Outcome {
    /// The rewritten body; empty after a fragment, which has none.
    pub sdp: Bytes,
    /// The call; the caller picks a worker when it has not seen the key before.
    pub call: CallKey,
    /// What the worker is to make of the call; `None` when nothing changes.
    pub plan: Option<CallPlan>,
    /// Legs whose ICE or DTLS changed, for the agents, after the plan has gone to the worker.
    pub legs: Vec<LegUpdate>,
    /// What was odd but not refused, for the reply's `warning` and the log.
    pub warnings: Warnings,
    /// Legs whose protection lacks something from now on.
    pub weakened: Vec<Weakened>,
}

/// A leg agreed under terms that do not protect all.
#[derive(Clone, Copy, Debug)]
pub struct Weakened {
    /// The leg.
    pub stream: StreamIndex,
    /// What it lacks.
    pub weaknesses: Weaknesses,
}

/// What was odd about a request but not refused.
pub type Warnings = Vec<&'static str>;

/// A `delete` done.
#[derive(Debug)]
pub struct Deleted {
    /// The call.
    pub call: CallKey,
    /// What follows from it.
    pub effect: DeleteEffect,
}

/// What a `delete` leads to.
#[derive(Debug)]
pub enum DeleteEffect {
    /// The whole call ends now: send [`Command::Close`], then hand its report to
    /// [`Calls::closed`].
    ///
    /// [`Command::Close`]: crate::relay::command::Command::Close
    /// [`Calls::closed`]: super::Calls::closed
    Close,
    /// A branch ends now, the call goes on.
    Branch(BranchEnd),
    /// Something ends after the delete delay, through [`Calls::expire`].
    ///
    /// [`Calls::expire`]: super::Calls::expire
    Later,
}

/// What [`Calls::expire`] found to be over.
///
/// [`Calls::expire`]: super::Calls::expire
#[derive(Debug)]
pub enum Expired {
    /// The whole call: close it at its worker as after [`DeleteEffect::Close`].
    Call {
        /// The call.
        call: CallKey,
        /// Why.
        reason: EndReason,
    },
    /// A branch: the call goes on.
    Branch(BranchEnd),
}

/// What is left of a call when a branch has ended.
#[derive(Debug)]
pub struct BranchEnd {
    /// What the worker is to make of the call.
    pub plan: CallPlan,
    /// Legs that the agents are to forget, after the plan has gone to the worker.
    pub legs: Vec<LegUpdate>,
}

/// Why a call ended, as the incumbent's `closed_sessions_total{reason}` counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// By `delete`.
    Terminated,
    /// No packet for the timeout.
    Timeout,
    /// No packet for the silent timeout while on hold.
    SilentTimeout,
    /// No answer for the offer timeout.
    OfferTimeout,
    /// By the operator, or at the end of a drain.
    Forced,
}

/// A request refused: the incumbent's words, which controllers match. The call is as it was
/// before the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused(pub &'static str);

impl Refused {
    /// No call of this id, or no party of this tag.
    pub const UNKNOWN_CALL: Self = Self("Unknown call-id");
    /// The session limit is reached. With `supports` "load limit" the reply is the result
    /// `load limit` with this message instead of an error.
    pub const SESSION_LIMIT: Self = Self("Parallel session limit reached");
    /// The port range is exhausted.
    pub const OUT_OF_PORTS: Self = Self("Ran out of ports");
    /// The body is not SDP.
    pub const BAD_SDP: Self = Self("Failed to parse SDP");
    /// The body has no media section we could relay.
    pub const INCOMPLETE_SDP: Self = Self("Incomplete SDP specification");
    /// Tags that do not belong together.
    pub const BAD_DIALOGUE: Self = Self("Invalid dialogue association");
    /// The body cannot be written with our addresses.
    pub const REWRITE: Self = Self("Error rewriting SDP");
    /// A section needs DTLS-SRTP, and there are no agents for it or the request has it off.
    pub const DTLS: Self = Self("DTLS-SRTP is not enabled: offer SDES or plain RTP");
    /// A section speaks DTLS-SRTP and does not say whose certificate to take.
    pub const NO_FINGERPRINT: Self = Self("DTLS-SRTP without an a=fingerprint");
    /// A section's certificate is only told under a hash function that can be forged.
    pub const SHA_1: Self =
        Self("a=fingerprint only under SHA-1, which webrtc.accept_sha1 does not allow");
    /// A section speaks SRTP without a key we could use.
    pub const NO_KEY: Self = Self("SRTP without a usable a=crypto attribute");
    /// A section has the transport of a bundle of more sections than are relayed in one.
    pub const BUNDLE_FULL: Self = Self("Too many sections in a bundle");
    /// A section is a data channel over ICE: its checks and its DTLS would have to go past us.
    pub const DATA_CHANNEL: Self = Self("Data channels are not relayed");
    /// No interface has an address of a usable family.
    pub const NO_ADDRESS: Self = Self("No address of this family on the interface");
    /// A `delete` that fits no call or none of its parties: with `fatal` an error, else a warning.
    pub const NOT_FOUND: Self = Self(ng::reply::NOT_FOUND);
    /// The system's random source failed.
    pub const NO_ENTROPY: Self = Self("No random numbers for keys");
    /// More media sections or parties than a call may have.
    pub const TOO_LARGE: Self = Self("Too many media sections or parties");
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
