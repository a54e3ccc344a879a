//! ICE between two agents in virtual time: each test is a seed, a network and what should come of
//! it. The far end is our own agent, or the `is` crate's, which shares no code with ours.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod another_agent;
mod consent;
mod hostile;
mod network;
mod paths;
mod properties;
mod restart;
mod world;
