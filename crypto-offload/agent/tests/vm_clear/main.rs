//! That nothing of a pair's traffic is on the wire in clear, nor taken from it, at any moment from
//! its definition to its end: before its first keys, after its keys are gone, while its agent is
//! killed and starts again, and as its keys move from one engine to another.
//!
//! Somebody sends all the while, and the wire is watched where the host sends to it. Each test
//! sees clear text before the pair is defined and after it is removed, so that it would see some in
//! between. It runs here, where the kernel has policies and no ESP, and in the test VM, where it
//! has both.
#![allow(clippy::print_stdout, reason = "a test says what it skips")]

mod inward;
mod outward;
mod spy;
#[path = "../two_hosts/mod.rs"]
mod two_hosts;
mod world;

use crate::two_hosts::{agent, ground, hosts};
