//! Sizes and modes of the drivers.

use std::fmt;
use std::time::Duration;

/// What a driver is opened with; the default is for one worker of a busy relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a busy thread lets packets gather between two turns; zero for not at all. It
    /// bounds what batching adds to a packet's residence, the system's timer slack (50 µs) aside.
    pub linger: Duration,
    /// io_uring: receive buffers of 1984 bytes; a power of two up to 32768. Packets beyond them
    /// wait in their sockets.
    pub buffers: u16,
    /// io_uring: submissions queued before the kernel is entered mid-turn.
    pub submissions: u32,
    /// io_uring: completions that fit their queue; more wait in the kernel.
    pub completions: u32,
    /// io_uring: when the kernel does its part of a receive.
    pub task_run: TaskRun,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            linger: Duration::from_micros(100),
            buffers: 1024,
            submissions: 512,
            completions: 4096,
            task_run: TaskRun::Deferred,
        }
    }
}

/// When the kernel runs the receive of a packet that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskRun {
    /// When the driver enters the ring (IORING_SETUP_DEFER_TASKRUN, Linux 6.1).
    Deferred,
    /// When the thread next returns from the kernel (IORING_SETUP_COOP_TASKRUN, Linux 5.19).
    Cooperative,
}

impl fmt::Display for TaskRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deferred => "DEFER_TASKRUN",
            Self::Cooperative => "COOP_TASKRUN",
        })
    }
}
