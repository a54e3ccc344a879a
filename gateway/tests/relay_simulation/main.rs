//! The packet path on a virtual clock and a wire in memory: what gets through, what does not and
//! under which name, and who can't get a call's media by asking for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "../relay_support/mod.rs"]
mod relay_support;

mod accounts;
mod agents;
mod bundle;
mod call;
mod crossing;
mod floods;
mod numbers;
mod own_keys;
mod paths;
mod rotation;
mod signalling;
mod strangers;
mod terms;
mod untouched;
