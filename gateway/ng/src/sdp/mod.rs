//! SDP as a relay needs it: parse a body, write it again with our addresses, ports and keys.
//!
//! [`Sdp::parse`] keeps every line as a slice of the body it was given; [`Sdp::rewrite`] writes
//! them in rtpengine 26.3's order, because peers' tooling compares it, and what we don't know
//! passes through untouched. What to write is the caller's decision ([`SessionRewrite`],
//! [`MediaRewrite`]): nothing here knows calls, ports or policy.

mod bundle;
mod candidate;
mod codec;
mod crypto;
mod dtls;
mod error;
mod fragment;
mod ice;
mod line;
mod mki;
mod model;
mod parse;
mod protocol;
#[cfg(test)]
mod tests;
mod write;

pub use bundle::{Bundle, HeaderExtension};
pub use crypto::KeyPadding;
pub use dtls::{DtlsDescription, Fingerprint, HashFunction, Setup};
pub use error::SdpError;
pub use fragment::{Fragment, FragmentSection};
pub use ice::{
    Candidate, CandidateKind, IceCredentials, IceDescription, IceOptions, RemoteCandidate,
};
pub use line::Line;
pub use model::*;
