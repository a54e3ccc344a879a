//! The figures, one file each: what is measured, how, and the bound it is held against.

pub mod ceiling;
pub mod control;
pub mod esp;
pub mod idle;
pub mod memory;
pub mod relay;
pub mod srtp;
pub mod tls;
pub mod webrtc;

use std::path::PathBuf;
use std::time::Duration;

/// The relay runs here, and nothing else of ours.
pub const RELAY_CORE: usize = 0;
/// The load runs here.
pub const LOAD_CORE: usize = 1;
/// Calls of the packet benches: 1,000 flows, half each way.
pub const CALLS: usize = 500;
/// Ports for them, four a call, with room to spare.
pub const PORTS: (u16, u16) = (30_000, 39_999);

/// How thoroughly to measure.
pub struct Plan {
    /// Interleaved rounds.
    pub rounds: usize,
    /// Length of each measured run.
    pub run: Duration,
    /// Where the JSON goes.
    pub results: PathBuf,
    /// How tables are printed.
    pub tables: Tables,
}

/// How tables are printed, where a figure has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// For a terminal.
    Plain,
    /// For a terminal, then for a document.
    Markdown,
}
