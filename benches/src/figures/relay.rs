//! CPU per packet and one-way latency at 100,000 packets per second, RTP ↔ SRTP.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::{CALLS, LOAD_CORE, PORTS, Plan, RELAY_CORE};
use crate::accounting::cpu_ns;
use crate::blaster::{Blaster, Outcome};
use crate::calls;
use crate::mmsg::pin_to_core;
use crate::relay_process::{Relay, RelayProcess};
use crate::report::{Samples, Verdict, finish};
use crate::sockets::Sockets;

const RATE: f64 = 100_000.0;
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Figures {
    cpu_us_per_packet: f64,
    outcome: Outcome,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    pin_to_core(LOAD_CORE)?;
    let samples = Samples::take(plan.rounds, |relay| figures(relay, plan.run), show)?;
    finish("relay", &plan.results, &verdicts(&samples), &samples)
}

fn figures(relay: Relay, length: Duration) -> Result<Figures> {
    let process = RelayProcess::start(relay, RELAY_CORE, PORTS)?;
    let sockets = Sockets::bind()?;
    let mut calls = calls::set_up(&sockets, CALLS)?;
    Blaster::new(&sockets, &mut calls)?.run(RATE, WARM_UP)?;
    let before = cpu_ns(process.pid())?;
    let outcome = Blaster::new(&sockets, &mut calls)?.run(RATE, length)?;
    let spent = cpu_ns(process.pid())? - before;
    Ok(Figures { cpu_us_per_packet: spent as f64 / 1e3 / outcome.sent as f64, outcome })
}

fn show(figures: &Figures) -> String {
    let Outcome { latency_us, own_lateness_us, lost, corrupt, .. } = &figures.outcome;
    format!(
        "{:5.2} µs CPU/packet  p50 {:7.0}  p99 {:7.0}  p99.9 {:7.0}  max {:7.0} µs  lost {lost}  \
         corrupt {corrupt}  (own lateness p99 {:.0} µs)",
        figures.cpu_us_per_packet,
        latency_us.p50,
        latency_us.p99,
        latency_us.p999,
        latency_us.max,
        own_lateness_us.p99,
    )
}

fn verdicts(samples: &Samples<Figures>) -> Vec<Verdict> {
    let cpu = |figures: &Figures| figures.cpu_us_per_packet;
    let p99 = |figures: &Figures| figures.outcome.latency_us.p99;
    let bad = |figures: &Figures| (figures.outcome.lost + figures.outcome.corrupt) as f64;
    let of_each = [(Relay::Uring, "io_uring", 0.70), (Relay::Epoll, "epoll", 0.80)];
    of_each
        .into_iter()
        .flat_map(|(relay, name, cpu_target)| {
            let total_bad = samples.of(relay, bad).iter().sum();
            [
                Verdict::at_most(
                    format!("CPU per packet, {name} / rtpengine"),
                    samples.ratio(relay, cpu),
                    cpu_target,
                ),
                Verdict::at_most(
                    format!("p99 one-way latency, {name} / rtpengine"),
                    samples.ratio(relay, p99),
                    0.10,
                ),
                Verdict::at_most(format!("packets lost or corrupt, {name}"), total_bad, 0.0),
            ]
        })
        .collect()
}
