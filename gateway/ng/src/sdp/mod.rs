//! SDP as a relay needs it: parse a body, write it again with our addresses, ports and keys.
//!
//! What we don't know passes through untouched. The line order of what we write is rtpengine
//! 26.3's, because peers' tooling compares it.

mod model;

pub use model::*;
