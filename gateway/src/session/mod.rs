//! Call state, sans-IO: requests and the time come in; SDP, plans for a worker and deadlines come
//! out.
//!
//! [`Calls`] is the whole of it towards the shell. One request's way through the files:
//!
//! 1. `calls` finds the call by its call-id, or makes one.
//! 2. `dialogue` finds the two parties by tags and via-branch.
//! 3. `offer` or `answer` weighs each media section (`draft`, `agree`, `weigh`; `media`, `keying`,
//!    `crypto`, [`own_keys`], `dtls`, `ice`, `terms`, `mux`), finds which share a stream (`bundle`, `seat`), opens
//!    ports ([`ports`], `lease`), and only then changes anything: a request that is refused leaves
//!    the call as it was and its ports free.
//! 4. `call`, `party` and `stream` hold what came of it; the streams' news becomes the plan, and
//!    what changed of their `leg`s goes to the ICE and DTLS agents.
//!
//! Limits. A leg has ICE candidates of one address family, that of its ports. Sections are bundled
//! where DTLS keys them. `OSRTP` of the legacy kind, sections that come twice, is not understood.
//! Candidates trickled ahead of their party's words wait for these, a few of a call. Without agents
//! ([`Settings::webrtc`]) sections that only DTLS could key are rejected (an offer of nothing else
//! is refused), and ICE attributes are taken out, so that no peer waits for checks that nobody
//! answers. Keys pass from leg to leg only for `ng.compat = "rtpengine"` between two SRTP parties.
//! A call keeps its ports whatever changes (`port-latching` is how it always is), and an answer
//! under one more tag is an alias of the callee that answered before, `new-branch` or not: its
//! media comes to the ports of that callee's offer.

mod agree;
mod answer;
mod body;
mod bundle;
mod call;
mod calls;
mod crypto;
mod dialogue;
mod draft;
mod dtls;
mod fragment;
mod ice;
mod keying;
mod lease;
mod leg;
mod media;
mod mux;
mod offer;
mod origin;
mod outcome;
pub mod own_keys;
mod party;
mod place;
pub mod ports;
mod protection;
pub mod rekey;
mod seat;
pub mod settings;
mod stream;
mod terms;
#[cfg(test)]
mod tests;
mod timeouts;
mod token;
mod view;
mod weigh;

pub use calls::Calls;
pub use outcome::{
    BranchEnd, DeleteEffect, Deleted, EndReason, Expired, Outcome, Refused, Warnings, Weakened,
};
pub use settings::{Certificate, Compat, Interface, LocalAddress, Settings, WebRtc};
pub use view::{CallView, MediaView, PartyView};
