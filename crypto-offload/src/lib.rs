//! The vocabulary of inline crypto: keys, algorithms, placement.
//!
//! An inline engine (a NIC, the kernel, or our own user-space code) is control plane: something
//! asks for a key to be installed, and learns where it really went and why. This crate names
//! those things. It does no I/O, knows no kernel and holds no `unsafe`.
#![forbid(unsafe_code)]

mod placement;
mod secret;

pub use placement::{Effective, Placement};
pub use secret::SecretKey;
