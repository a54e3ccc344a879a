//! Memory per call with 4,000 calls on one worker: ours resident, the kernel's apart.

use anyhow::Result;
use serde::Serialize;

use super::{Plan, RELAY_CORE};
use crate::accounting::{resident_kib, slab_kib};
use crate::calls;
use crate::relay_process::{Relay, RelayProcess};
use crate::report::{Samples, Verdict, finish};
use crate::sockets::Sockets;

const CALLS: usize = 4_000;
/// 16,000 sockets: the build machines allow 20,000 descriptors a process.
const PORTS: (u16, u16) = (10_000, 29_999);

#[derive(Serialize)]
struct Figures {
    resident_kib_per_call: f64,
    /// Machine-wide slab growth: sockets, their queues, io_uring's requests.
    kernel_slab_kib_per_call: f64,
    resident_kib_total: u64,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    let samples = Samples::take(plan.rounds, figures, show)?;
    let resident = |figures: &Figures| figures.resident_kib_per_call;
    let verdicts = [
        ("resident KiB per call, io_uring", Relay::Uring),
        ("resident KiB per call, epoll", Relay::Epoll),
    ]
    .map(|(name, relay)| Verdict::at_most(name, samples.median(relay, resident), 12.0));
    finish("memory", &plan.results, &verdicts, &samples)
}

fn show(figures: &Figures) -> String {
    format!(
        "{:6.2} KiB resident, {:6.2} KiB kernel slab per call",
        figures.resident_kib_per_call, figures.kernel_slab_kib_per_call
    )
}

fn figures(relay: Relay) -> Result<Figures> {
    let process = RelayProcess::start(relay, RELAY_CORE, PORTS)?;
    let sockets = Sockets::bind()?;
    let before = (resident_kib(process.pid())?, slab_kib()?);
    let calls = calls::set_up(&sockets, CALLS)?;
    let after = (resident_kib(process.pid())?, slab_kib()?);
    drop(calls);
    let per_call = |before: u64, after: u64| after.saturating_sub(before) as f64 / CALLS as f64;
    Ok(Figures {
        resident_kib_per_call: per_call(before.0, after.0),
        kernel_slab_kib_per_call: per_call(before.1, after.1),
        resident_kib_total: after.0,
    })
}
