//! Numbers that may have been used, told to a disk before they are.
//!
//! Sequence numbers are IVs: under one key none may come twice, not even over a crash. So an
//! outbound SA uses numbers only up to its reserved one, and after a restart begins above it. An
//! inbound SA accepts numbers only up to its reserved one, and after a restart refuses all up to
//! it: that is its replay floor.
//!
//! The engine extends a reservation when half of it is used, on a thread of its own; if the disk
//! takes longer than the other half lasts, packets are dropped and counted as `unreserved`.
//!
//! Whoever keeps the reservations owes them two things. The **first block** is not asked for: an
//! SA that is installed with `resume_after` counts as reserved up to [`first`], so that its record
//! on disk, which is older than the SA, is its first reservation. And the calls here come from
//! another thread, also while the owner waits in a call to the engine: they must not need what the
//! owner holds there.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, PoisonError},
};

use crypto_offload::{Direction, SaId};

/// Where reservations are kept.
pub trait Reservations: Send + Sync {
    /// Writes all of `wanted` durably. It waits for the disk; afterwards each of the numbers may
    /// be used at any time.
    ///
    /// # Errors
    /// Then none of the numbers above the ones reserved before is used; it is asked again.
    fn reserve(&self, wanted: &[Reservation]) -> io::Result<()>;
}

/// Numbers of one SA up to and with `sequence` may have been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Which SA.
    pub id: SaId,
    /// Outbound: sent. Inbound: accepted.
    pub direction: Direction,
    /// Up to and with.
    pub sequence: u64,
}

/// Up to which number an SA installed with `resume_after` is reserved without asking.
pub const fn first(direction: Direction, resume_after: u64) -> u64 {
    resume_after.saturating_add(block(direction))
}

/// How many numbers are reserved ahead at least. Sending skips what is left of a block at a
/// restart, which costs nothing. Receiving refuses what is left, so the block is small (and larger
/// only where `AHEAD` of traffic needs it), but not smaller: half of it has to last for one
/// durable write, at the rate at which a new SA's traffic begins. That is 2.5 ms at 100,000
/// packets a second: enough for memory, where state is kept by default, and not for every disk.
pub const fn block(direction: Direction) -> u64 {
    match direction {
        Direction::Outbound => 65_536,
        Direction::Inbound => 512,
    }
}

/// How much traffic a reservation has to last for.
pub(super) const AHEAD: std::time::Duration = std::time::Duration::from_millis(500);

/// Reservations that end with the process: for tests, and for SAs that no restart resumes.
#[derive(Debug, Default)]
pub struct InMemory(Mutex<HashMap<(SaId, Direction), u64>>);

impl InMemory {
    /// Up to which number an SA is reserved beyond its first block.
    pub fn reserved(&self, id: SaId, direction: Direction) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(id, direction)).copied()
    }
}

impl Reservations for InMemory {
    fn reserve(&self, wanted: &[Reservation]) -> io::Result<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in wanted {
            let known = all.entry((one.id, one.direction)).or_default();
            *known = one.sequence.max(*known);
        }
        Ok(())
    }
}
