//! What a worker did since it started: plain integers that its own thread adds to, copied out
//! when control asks. The reader sums over workers; nothing is shared.

use hdrhistogram::Histogram;

use super::command::{AgentCounts, WorkerSnapshot};
use super::drop_reason::DropReason;
use super::residence;

/// A worker's counters.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) packets_in: u64,
    pub(super) bytes_in: u64,
    pub(super) packets_out: u64,
    pub(super) bytes_out: u64,
    pub(super) drops: [u64; DropReason::COUNT],
    pub(super) residence: Histogram<u64>,
    /// Packets whose residence a stepped clock hid.
    pub(super) clock_steps: u64,
    pub(super) wakeups: u64,
    pub(super) agent: AgentCounts,
}

/// Who is asked for a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// Which worker.
    pub(super) worker: usize,
    /// The driver's name.
    pub(super) driver: &'static str,
}

impl Tally {
    /// All zeros.
    pub(super) fn new() -> Self {
        Self {
            packets_in: 0,
            bytes_in: 0,
            packets_out: 0,
            bytes_out: 0,
            drops: [0; DropReason::COUNT],
            residence: residence::histogram(),
            clock_steps: 0,
            wakeups: 0,
            agent: AgentCounts::default(),
        }
    }

    /// A copy for control.
    pub(super) fn snapshot(&self, of: Identity, calls: usize, streams: usize) -> WorkerSnapshot {
        WorkerSnapshot {
            worker: of.worker,
            driver: of.driver,
            calls,
            streams,
            packets_in: self.packets_in,
            bytes_in: self.bytes_in,
            packets_out: self.packets_out,
            bytes_out: self.bytes_out,
            drops: self.drops,
            residence: self.residence.clone(),
            clock_steps: self.clock_steps,
            wakeups: self.wakeups,
            agent: self.agent,
        }
    }
}
