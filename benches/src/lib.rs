//! Comparisons with peers, measured in one run and printed as ratios.
//!
//! [`relay_process`] starts a relay pinned to one core, [`calls`] sets calls up over ng,
//! [`blaster`] offers load from the other core, [`accounting`] reads what the relay cost;
//! [`contest`] has SRTP done by us and by others, [`tls`] has TLS terminated, [`legs`] are WebRTC's; and
//! [`report`] turns rounds into medians, ratios and a committed JSON file.

pub mod accounting;
pub mod blaster;
pub mod calls;
pub mod contest;
pub mod figures;
pub mod legs;
pub mod mmsg;
pub mod relay_process;
pub mod report;
pub mod sockets;
pub mod tls;
pub mod tunnel;
