//! What TUN devices and ESP sockets promise, against this machine's kernel, in network namespaces.
//!
//! Each claim runs with the kernel's offloads and without: both ways bring the same packets.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod device;
mod namespace;
mod socket;
mod stream;
mod sys;
