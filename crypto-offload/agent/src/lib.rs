//! `offload-agent`: the one process that holds CAP_NET_ADMIN, and the single source of truth about
//! SAs.
//!
//! It owns the engines (the kernel's XFRM, and our own ESP in user space), does what the gateway
//! asks over a Unix socket, and keeps what it did in a state directory, so that after a kill it
//! knows again what it has. It decides nothing about when keys change: that is the gateway's.
//!
//! | module | holds |
//! |---|---|
//! | `server` | the socket: who may connect, messages in and out, one thread for each connection |
//! | `pairs` | pairs, epochs and SAs: each request, restarts, what engines tell |
//! | `engines` | the engines there are, and walking an SA down a plan |
//! | `state` | the log of changes, its key, its witness |
//! | `user_space` | ESP over a TUN device, for kernels without ESP of their own |
//! | `events` | the ring that connections wait on |
//!
//! The program around it (command line, privileges, supervisor) is in `main.rs` and its modules.

mod engines;
mod events;
mod pairs;
mod refusal;
mod server;
mod state;
pub mod user_space;

pub use engines::Engines;
pub use events::EventLog;
pub use pairs::{Pairs, StartError};
pub use server::{Allowed, ServeError, Server};
pub use state::{KeySource, Places, State, StateError};
