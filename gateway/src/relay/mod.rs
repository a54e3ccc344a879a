//! The hot path: what one worker does with each packet.
//!
//! A worker is one thread and owns its calls whole, so nothing here locks. Control reaches it as
//! [`command::Command`]s; its numbers leave as [`command::CallReport`]s and snapshots.

pub mod command;
pub mod drop_reason;
