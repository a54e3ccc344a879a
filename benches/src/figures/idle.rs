//! What 1,000 calls without media cost.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::{PORTS, Plan, RELAY_CORE};
use crate::accounting::cpu_ns;
use crate::blaster::Sockets;
use crate::calls;
use crate::relay_process::{Relay, RelayProcess};
use crate::report::{Spread, Verdict, finish};

const CALLS: usize = 1_000;
const SETTLE: Duration = Duration::from_secs(2);
const WATCH: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Sample {
    relay: Relay,
    cpu_percent: f64,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    let mut samples = Vec::new();
    for round in 0..plan.rounds {
        for relay in [Relay::Rtpengine, Relay::Uring, Relay::Epoll] {
            let sample = sample(relay)?;
            println!("round {round}: {:<16} {:6.3} % CPU", relay.name(), sample.cpu_percent);
            samples.push(sample);
        }
    }
    let median = |relay| {
        let of_relay = samples.iter().filter(|sample| sample.relay == relay);
        Spread::of(of_relay.map(|sample| sample.cpu_percent)).median
    };
    let verdicts = [
        Verdict::at_most("CPU % with 1,000 idle calls, io_uring", median(Relay::Uring), 1.0),
        Verdict::at_most("CPU % with 1,000 idle calls, epoll", median(Relay::Epoll), 1.0),
    ];
    finish("idle", &plan.results, &verdicts, &samples)
}

fn sample(relay: Relay) -> Result<Sample> {
    let process = RelayProcess::start(relay, RELAY_CORE, PORTS)?;
    let sockets = Sockets::bind()?;
    let _calls = calls::set_up(&sockets, CALLS)?;
    thread::sleep(SETTLE);
    let (before, start) = (cpu_ns(process.pid())?, Instant::now());
    thread::sleep(WATCH);
    let spent = cpu_ns(process.pid())? - before;
    let cpu_percent = 100.0 * spent as f64 / start.elapsed().as_nanos() as f64;
    Ok(Sample { relay, cpu_percent })
}
