//! The ng control protocol (what SBCs drive rtpengine with) and the SDP it carries, sans-IO.
//!
//! Datagrams in, values out: [`wire`] knows cookies, bencode and JSON; [`cookies`] tells a
//! retransmission from a request; [`request`] turns a dictionary into a typed
//! [`request::Request`]; [`sdp`] parses a body and writes it again with our addresses; [`reply`]
//! builds what goes back; [`once`] keeps warnings from repeating. [`client`] is the other side.
//! Who the parties of a call are is the gateway's business, not this crate's.
#![forbid(unsafe_code)]

pub mod client;
pub mod cookies;
pub mod once;
pub mod reply;
pub mod request;
pub mod sdp;
pub mod wire;
