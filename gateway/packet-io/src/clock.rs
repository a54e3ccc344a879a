//! The clocks, read once per batch.
//!
//! Receive timestamps are CLOCK_REALTIME, so residence time is too; all else is monotonic.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds of CLOCK_REALTIME since 1970: the clock of [`Received::timestamp_ns`].
///
/// 0 for a clock set before 1970, which then reads as "unknown", as it does in a packet.
///
/// [`Received::timestamp_ns`]: crate::Received::timestamp_ns
pub fn realtime_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(since.subsec_nanos()))
}

/// CLOCK_MONOTONIC: for everything that is not compared with a receive timestamp.
pub fn monotonic() -> Instant {
    Instant::now()
}
