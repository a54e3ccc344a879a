//! Linux XFRM over netlink: the kernel's IPsec, in software or in a device, as an
//! [`IpsecEngine`](crypto_offload::IpsecEngine).
//!
//! An engine belongs to the network namespace in which it was opened. It holds no SA state: what
//! there is, the kernel says. It never flushes, and never touches an SA or a policy that it was
//! not asked about.
//!
//! | module | holds |
//! |---|---|
//! | `wire` | messages as bytes, both ways |
//! | `sys`, `socket` | netlink sockets |
//! | `engine`, `install`, `policies` | the engine, and its two transactions |
//! | `events`, `probe`, `features` | what the kernel tells by itself, and what it can do |
//! | `encapsulation` | the sockets that receive ESP in UDP |
//! | `failure` | errno to error |
//! | [`reconcile`] | what should be against what is |

mod encapsulation;
mod engine;
mod events;
#[cfg(test)]
mod example;
mod failure;
mod features;
mod install;
mod policies;
mod probe;
pub mod reconcile;
mod socket;
mod sys;
mod wire;

pub use engine::XfrmEngine;

/// Reads a datagram in every way that the engine reads one, and says how much of it made sense.
/// The body of a fuzz target: it must return.
#[doc(hidden)]
pub fn read_any_datagram(datagram: &[u8]) -> usize {
    wire::read_in_every_way(datagram)
}
