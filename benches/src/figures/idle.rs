//! What 1,000 calls without media cost.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::{PORTS, Plan, RELAY_CORE};
use crate::accounting::cpu_ns;
use crate::calls;
use crate::relay_process::{Relay, RelayProcess};
use crate::report::{Samples, Verdict, finish};
use crate::sockets::Sockets;

const CALLS: usize = 1_000;
const SETTLE: Duration = Duration::from_secs(2);
const WATCH: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Figures {
    cpu_percent: f64,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    let show = |figures: &Figures| format!("{:6.3} % CPU", figures.cpu_percent);
    let samples = Samples::take(plan.rounds, figures, show)?;
    let percent = |figures: &Figures| figures.cpu_percent;
    let verdicts = [
        ("CPU % with 1,000 idle calls, io_uring", Relay::Uring),
        ("CPU % with 1,000 idle calls, epoll", Relay::Epoll),
    ]
    .map(|(name, relay)| Verdict::at_most(name, samples.median(relay, percent), 1.0));
    finish("idle", &plan.results, &verdicts, &samples)
}

fn figures(relay: Relay) -> Result<Figures> {
    let process = RelayProcess::start(relay, RELAY_CORE, PORTS)?;
    let sockets = Sockets::bind()?;
    let _calls = calls::set_up(&sockets, CALLS)?;
    thread::sleep(SETTLE);
    let (before, start) = (cpu_ns(process.pid())?, Instant::now());
    thread::sleep(WATCH);
    let spent = cpu_ns(process.pid())? - before;
    Ok(Figures { cpu_percent: 100.0 * spent as f64 / start.elapsed().as_nanos() as f64 })
}
