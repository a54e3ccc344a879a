//! The vocabulary of inline crypto: keys, SAs, placement, and what engines are asked to do.
//!
//! An inline engine (a NIC, the kernel, or our own user-space code) is control plane: something
//! asks for a key to be installed, and learns where it really went and why. This crate names
//! those things. It does no I/O, knows no kernel and holds no `unsafe`.
//!
//! | module | holds |
//! |---|---|
//! | `algorithm`, `secret` | AEADs, keying material that cannot be printed |
//! | `spi`, `sa`, `lifetime` | one SA and its policies, as an engine takes them |
//! | `pair` | an SA each way, as people name, configure and rotate it |
//! | `placement`, `capability` | where work is done, what could do it, and how we know |
//! | `engine` | the trait of IPsec engines, its events and errors |
//! | `middleware` | engines around engines, for tests |
//! | `rotation` | new keys for a pair without losing a packet |
//! | `schedule` | when that is due |
//! | `ledger` | which keys were ever used |
//! | `planner` | where SAs are tried, and what to do when one is refused |
//! | `esp` | ESP packets, sealed and opened in place |
#![forbid(unsafe_code)]

mod algorithm;
mod capability;
mod engine;
pub mod esp;
mod ledger;
mod lifetime;
pub mod middleware;
mod pair;
mod placement;
pub mod planner;
pub mod rotation;
mod sa;
pub mod schedule;
mod secret;
mod spi;

pub use algorithm::{Aead, KeyFingerprint, KeyingMaterial, WrongKeyLength};
pub use capability::{Answer, Capabilities, Capability, Evidence, Feature};
pub use engine::{
    EngineError, EngineEvent, ErrorClass, InstalledPolicy, InstalledSa, IpsecEngine, Precedence,
    SaUsage,
};
pub use ledger::{KeyLedger, KeyReused};
pub use lifetime::{BadLifetime, Lifetimes, Limits};
pub use pair::{BadPair, MAX_REPLAY_WINDOW, PairEncapsulation, PairName, RotationTiming, SaPair};
pub use placement::{Effective, Placement, PlacementPolicy};
pub use sa::{
    Direction, Mode, PolicyDirection, PolicySpec, SaSpec, Selector, SequenceNumbers,
    UdpEncapsulation,
};
pub use secret::SecretKey;
pub use spi::{Epoch, Reqid, ReservedSpi, SaId, Spi};
