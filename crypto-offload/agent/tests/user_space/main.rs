//! What ESP in user space promises, between two engines in network namespaces of this machine: real
//! TUN devices, real veth, this kernel's stack at both ends.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod host;
mod limits;
mod pair;
mod refusals;
mod sys;
mod traffic;
mod upkeep;
mod wire;
