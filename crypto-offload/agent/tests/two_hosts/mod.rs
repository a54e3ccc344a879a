//! Two hosts with a wire between them, agents on them as they are shipped, and pairs between those:
//! what the contract and the test VM's targets stand on.
//!
//! The hosts are network namespaces, so all of it needs root. Nothing here knows which engine an
//! agent has; a kernel with ESP or netdevsim is the targets' own affair.
#![allow(dead_code, reason = "each target uses its part")]

pub(crate) mod agent;
#[path = "../support/client.rs"]
#[allow(unreachable_pub, clippy::expect_used, reason = "shared with targets of another style")]
mod client;
pub(crate) mod ground;
#[path = "../../../../gateway/tests/ipsec/hosts.rs"]
pub(crate) mod hosts;
pub(crate) mod simulated;
pub(crate) mod world;
