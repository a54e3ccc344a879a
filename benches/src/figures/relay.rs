//! CPU per packet and one-way latency at 100,000 packets per second, RTP ↔ SRTP.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::{CALLS, LOAD_CORE, PORTS, Plan, RELAY_CORE};
use crate::accounting::cpu_ns;
use crate::blaster::{Blaster, Outcome, Sockets};
use crate::calls;
use crate::mmsg::pin_to_core;
use crate::relay_process::{Relay, RelayProcess};
use crate::report::{Spread, Verdict, finish};

const RATE: f64 = 100_000.0;
const WARM_UP: Duration = Duration::from_secs(1);
const RELAYS: [Relay; 3] = [Relay::Rtpengine, Relay::Uring, Relay::Epoll];

/// One relay in one round.
#[derive(Serialize)]
struct Sample {
    relay: Relay,
    cpu_us_per_packet: f64,
    outcome: Outcome,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    pin_to_core(LOAD_CORE)?;
    let mut samples = Vec::new();
    for round in 0..plan.rounds {
        for turn in 0..RELAYS.len() {
            // Each round starts with another relay, so that none always runs on a warm machine.
            let sample = sample(RELAYS[(round + turn) % RELAYS.len()], plan.run)?;
            print(round, &sample);
            samples.push(sample);
        }
    }
    finish("relay", &plan.results, &verdicts(&samples), &samples)
}

fn sample(relay: Relay, length: Duration) -> Result<Sample> {
    let process = RelayProcess::start(relay, RELAY_CORE, PORTS)?;
    let sockets = Sockets::bind()?;
    let mut calls = calls::set_up(&sockets, CALLS)?;
    Blaster::new(&sockets, &mut calls)?.run(RATE, WARM_UP)?;
    let before = cpu_ns(process.pid())?;
    let outcome = Blaster::new(&sockets, &mut calls)?.run(RATE, length)?;
    let spent = cpu_ns(process.pid())? - before;
    let cpu_us_per_packet = spent as f64 / 1e3 / outcome.sent as f64;
    Ok(Sample { relay, cpu_us_per_packet, outcome })
}

fn print(round: usize, sample: &Sample) {
    let outcome = &sample.outcome;
    println!(
        "round {round}: {:<16} {:5.2} µs CPU/packet  p50 {:8.0}  p99 {:8.0}  p99.9 {:8.0}  max {:8.0} µs  \
         lost {}  corrupt {}  (own lateness p99 {:.0} µs)",
        sample.relay.name(),
        sample.cpu_us_per_packet,
        outcome.latency_us.p50,
        outcome.latency_us.p99,
        outcome.latency_us.p999,
        outcome.latency_us.max,
        outcome.lost,
        outcome.corrupt,
        outcome.own_lateness_us.p99,
    );
}

fn verdicts(samples: &[Sample]) -> Vec<Verdict> {
    let of = |relay, figure: fn(&Sample) -> f64| -> Vec<f64> {
        samples.iter().filter(|sample| sample.relay == relay).map(figure).collect()
    };
    let ratio =
        |relay, figure| Spread::ratio(&of(relay, figure), &of(Relay::Rtpengine, figure)).median;
    let cpu: fn(&Sample) -> f64 = |sample| sample.cpu_us_per_packet;
    let p99: fn(&Sample) -> f64 = |sample| sample.outcome.latency_us.p99;
    let lost: fn(&Sample) -> f64 = |sample| (sample.outcome.lost + sample.outcome.corrupt) as f64;
    let total = |relay| of(relay, lost).iter().sum();
    vec![
        Verdict::at_most("CPU per packet, io_uring / rtpengine", ratio(Relay::Uring, cpu), 0.70),
        Verdict::at_most("CPU per packet, epoll / rtpengine", ratio(Relay::Epoll, cpu), 0.80),
        Verdict::at_most(
            "p99 one-way latency, io_uring / rtpengine",
            ratio(Relay::Uring, p99),
            0.10,
        ),
        Verdict::at_most("p99 one-way latency, epoll / rtpengine", ratio(Relay::Epoll, p99), 0.10),
        Verdict::at_most("packets lost or corrupt, io_uring", total(Relay::Uring), 0.0),
        Verdict::at_most("packets lost or corrupt, epoll", total(Relay::Epoll), 0.0),
    ]
}
