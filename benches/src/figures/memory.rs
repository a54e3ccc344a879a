//! Memory per call with 4,000 calls on one worker: ours resident, the kernel's apart.

use anyhow::Result;
use serde::Serialize;

use super::{Plan, RELAY_CORE};
use crate::accounting::{resident_kib, slab_kib};
use crate::blaster::Sockets;
use crate::calls;
use crate::relay_process::{Relay, RelayProcess};
use crate::report::{Spread, Verdict, finish};

const CALLS: usize = 4_000;
/// 16,000 sockets: the build machines allow 20,000 descriptors a process.
const PORTS: (u16, u16) = (10_000, 29_999);

#[derive(Serialize)]
struct Sample {
    relay: Relay,
    resident_kib_per_call: f64,
    /// Machine-wide slab growth: sockets, their queues, io_uring's requests.
    kernel_slab_kib_per_call: f64,
    resident_kib_total: u64,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    let mut samples = Vec::new();
    for round in 0..plan.rounds {
        for relay in [Relay::Rtpengine, Relay::Uring, Relay::Epoll] {
            let sample = sample(relay)?;
            println!(
                "round {round}: {:<16} {:6.2} KiB resident, {:6.2} KiB kernel slab per call",
                relay.name(),
                sample.resident_kib_per_call,
                sample.kernel_slab_kib_per_call
            );
            samples.push(sample);
        }
    }
    let median = |relay| {
        let of_relay = samples.iter().filter(|sample| sample.relay == relay);
        Spread::of(of_relay.map(|sample| sample.resident_kib_per_call)).median
    };
    let verdicts = [
        Verdict::at_most("resident KiB per call, io_uring", median(Relay::Uring), 12.0),
        Verdict::at_most("resident KiB per call, epoll", median(Relay::Epoll), 12.0),
    ];
    finish("memory", &plan.results, &verdicts, &samples)
}

fn sample(relay: Relay) -> Result<Sample> {
    let process = RelayProcess::start(relay, RELAY_CORE, PORTS)?;
    let sockets = Sockets::bind()?;
    let before = (resident_kib(process.pid())?, slab_kib()?);
    let calls = calls::set_up(&sockets, CALLS)?;
    let after = (resident_kib(process.pid())?, slab_kib()?);
    drop(calls);
    let per_call = |before: u64, after: u64| after.saturating_sub(before) as f64 / CALLS as f64;
    Ok(Sample {
        relay,
        resident_kib_per_call: per_call(before.0, after.0),
        kernel_slab_kib_per_call: per_call(before.1, after.1),
        resident_kib_total: after.0,
    })
}
