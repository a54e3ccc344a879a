//! Memory per idle connection: thousands of them, TLS 1.3, each with its TCP connection upstream,
//! after one message and its echo.
//!
//! Ours is what the process grew by, PSS and RSS. The kernel's is apart and of the whole
//! machine: the terminator's two sockets of a connection, and the load's two.

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::accounting::{Memory, memory, slab_kib, tcp_kib};
use crate::tls::client::{Suite, Tickets, configuration};
use crate::tls::load::Load;
use crate::tls::peer::Speech;
use crate::tls::terminator::Process;

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    connections: usize,
    pub(super) pss_kib: f64,
    pub(super) rss_kib: f64,
    /// Growth of the machine's slab memory, a connection.
    pub(super) kernel_slab_kib: f64,
    /// Growth of what TCP's queues hold, a connection.
    kernel_tcp_kib: f64,
    process_pss_kib: u64,
}

/// Makes the connections and weighs them; `look` may look at them while they are open.
pub(super) fn measure(
    mut load: Load,
    process: &Process,
    connections: usize,
    look: impl FnOnce() -> Result<()>,
) -> Result<Figures> {
    let speech = Speech::Tls(configuration(Suite::Aes128Gcm, &Tickets::counted())?);
    // What the first connection brings is not a connection's price.
    let first = load.establish(process.address(), &speech, 1)?;
    thread::sleep(SETTLE);
    let before = Weight::of(process)?;
    let peers = load.establish(process.address(), &speech, connections)?;
    thread::sleep(SETTLE);
    let after = Weight::of(process)?;
    ensure!(load.upstream.open() == connections + 1, "{} are open", load.upstream.open());
    look()?;
    drop((first, peers));
    let each = |part: fn(&Weight) -> u64| {
        part(&after).saturating_sub(part(&before)) as f64 / connections as f64
    };
    Ok(Figures {
        connections,
        pss_kib: each(|weight| weight.own.pss_kib),
        rss_kib: each(|weight| weight.own.rss_kib),
        kernel_slab_kib: each(|weight| weight.slab_kib),
        kernel_tcp_kib: each(|weight| weight.tcp_kib),
        process_pss_kib: after.own.pss_kib,
    })
}

struct Weight {
    own: Memory,
    slab_kib: u64,
    tcp_kib: u64,
}

impl Weight {
    fn of(process: &Process) -> Result<Self> {
        Ok(Self { own: memory(process.pid())?, slab_kib: slab_kib()?, tcp_kib: tcp_kib()? })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "idle    {:7.2} KiB PSS, {:.2} KiB RSS a connection; kernel, both ends: {:.2} KiB \
             slab, {:.2} KiB queues",
            self.pss_kib, self.rss_kib, self.kernel_slab_kib, self.kernel_tcp_kib,
        )
    }
}

/// On this machine, beside the peers.
pub(super) const CONNECTIONS: usize = 5_000;
/// For what is freed or trimmed later.
const SETTLE: Duration = Duration::from_secs(2);
