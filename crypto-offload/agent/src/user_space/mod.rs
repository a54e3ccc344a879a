//! ESP in user space, over a TUN device: the engine for kernels without ESP of their own.
//!
//! ```text
//!  routes ─► TUN device ─► data thread: policy, SA, seal ─► ESP sockets ─► peer
//!            TUN device ◄─ data thread: SA, open, selector ◄─ ESP sockets ◄─ peer
//!  engine (the agent's thread) ── commands ──► data thread ── notices ──► keeper ──► disk, clock
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `engine` | the [`IpsecEngine`](crypto_offload::IpsecEngine): what is installed, and undoing |
//! | `running` | device, data thread and keeper, from the first SA on |
//! | `network` | sockets and routes, as the engine opens and counts them |
//! | `upkeep` | routes that somebody removes, a device that somebody deletes |
//! | `data_path`, `sa`, `policy_table`, `icmp` | the data thread: per packet |
//! | `keeper`, `reservation`, `event_queue` | what waits for disks and clocks |
//! | `account`, `statistics` | counters that any thread reads |
//!
//! It does tunnel mode only. Traffic that a policy is for and that has no SA is dropped and
//! counted, never sent in clear.

mod account;
mod data_path;
mod engine;
mod event_queue;
mod icmp;
mod keeper;
mod network;
mod policy_table;
pub mod reservation;
mod running;
mod sa;
mod statistics;
mod upkeep;

pub use engine::{Settings, UserSpaceEngine};

use crypto_offload::{EngineError, ErrorClass};

/// A refusal in the words of engines.
fn refusal(
    class: ErrorClass,
    operation: &str,
    object: impl ToString,
    reason: impl ToString,
    hint: Option<&str>,
) -> EngineError {
    EngineError {
        class,
        operation: operation.to_owned(),
        object: object.to_string(),
        reason: reason.to_string(),
        hint: hint.map(str::to_owned),
    }
}
