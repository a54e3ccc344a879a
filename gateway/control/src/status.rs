//! The gateway as a whole.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The gateway as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`API_VERSION`](crate::API_VERSION) of the gateway.
    pub api_version: u32,
    /// The gateway's release.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Since it started.
    pub uptime_seconds: f64,
    /// Whether it takes calls.
    pub lifecycle: Lifecycle,
    /// Calls up now.
    pub calls: usize,
    /// Where ng listens.
    pub ng: SocketAddr,
    /// Where HTTP listens, if it does.
    pub http: Option<SocketAddr>,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
    /// The addresses that media uses.
    pub interfaces: Vec<InterfaceStatus>,
    /// What needs somebody while everything else runs on: TLS listeners that do not serve, or not
    /// as their files say.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// Whether calls are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Yes.
    Running,
    /// No; those that are up go on.
    Draining,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number, from 0.
    pub worker: usize,
    /// The driver it runs on: `io_uring` or `epoll`.
    pub driver: String,
    /// Why that one.
    pub reason: String,
    /// It answers nothing; the figures below are the last known ones.
    pub stalled: bool,
    /// Calls it owns.
    pub calls: usize,
    /// Streams it owns.
    pub streams: usize,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Packets dropped, for whatever reason.
    pub dropped: u64,
}

/// One address that media uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// The logical interface.
    pub name: String,
    /// Where its sockets bind.
    pub address: IpAddr,
    /// What SDP says.
    pub advertised: IpAddr,
    /// Ports in its range, in whole pairs.
    pub ports: usize,
    /// Ports open now.
    pub ports_used: usize,
}
