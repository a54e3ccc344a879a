//! Waiting on a driver without an async runtime: for generators, benches and tests.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::sys;

/// Sleeps until `fd` is readable or `patience` is over; false says the latter. Counts in
/// milliseconds, rounded up.
///
/// # Errors
/// `Interrupted` when a signal came first, and what else poll(2) says.
pub fn wait_readable(fd: impl AsFd, patience: Duration) -> io::Result<bool> {
    let milliseconds = patience.as_nanos().div_ceil(1_000_000);
    sys::poll_readable(fd.as_fd(), milliseconds.try_into().unwrap_or(i32::MAX))
}
