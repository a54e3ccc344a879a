//! The highest rate that a relay on one core carries without losing a packet.
//!
//! A rate counts as carried when nothing is lost and nothing is more than [`MAX_DELAY_US`] late:
//! sockets of 1,000 flows hold seconds of overload, so loss alone would show it too late.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::{CALLS, LOAD_CORE, PORTS, Plan, RELAY_CORE};
use crate::blaster::{Blaster, Outcome, Sockets};
use crate::calls;
use crate::mmsg::pin_to_core;
use crate::relay_process::{Relay, RelayProcess};
use crate::report::{Spread, Verdict, finish};

const LOWEST: f64 = 40_000.0;
const HIGHEST: f64 = 360_000.0;
/// Where bisection stops: 2 % of a typical ceiling.
const RESOLUTION: f64 = 3_000.0;
const MAX_DELAY_US: f64 = 250_000.0;
const TRIAL: Duration = Duration::from_secs(3);
/// A shared machine takes the core away now and then; a rate gets a second chance.
const ATTEMPTS: usize = 2;

/// One relay's ceiling in one round.
#[derive(Serialize)]
struct Sample {
    relay: Relay,
    ceiling_pps: f64,
    /// The blaster itself could not offer more: the true ceiling is higher.
    bounded_by_blaster: bool,
    trials: Vec<Trial>,
}

#[derive(Serialize)]
struct Trial {
    carried: bool,
    blaster_kept_up: bool,
    outcome: Outcome,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    pin_to_core(LOAD_CORE)?;
    let mut samples = Vec::new();
    for round in 0..plan.rounds {
        for relay in [Relay::Rtpengine, Relay::Uring, Relay::Epoll] {
            let sample = ceiling(relay)?;
            println!(
                "round {round}: {:<16} carries {:>7.0} packets/s{}",
                relay.name(),
                sample.ceiling_pps,
                if sample.bounded_by_blaster { " (all the blaster can offer)" } else { "" }
            );
            samples.push(sample);
        }
    }
    let of = |relay| -> Vec<f64> {
        samples.iter().filter(|s| s.relay == relay).map(|s| s.ceiling_pps).collect()
    };
    let ratio = |relay| Spread::ratio(&of(relay), &of(Relay::Rtpengine)).median;
    let verdicts = [
        Verdict::at_least("lossless ceiling, io_uring / rtpengine", ratio(Relay::Uring), 1.5),
        Verdict::at_least("lossless ceiling, epoll / rtpengine", ratio(Relay::Epoll), 1.25),
    ];
    finish("ceiling", &plan.results, &verdicts, &samples)
}

fn ceiling(relay: Relay) -> Result<Sample> {
    let (mut carried, mut refused) = (LOWEST, HIGHEST);
    let mut sample =
        Sample { relay, ceiling_pps: 0.0, bounded_by_blaster: false, trials: Vec::new() };
    while refused - carried > RESOLUTION {
        let rate = f64::midpoint(carried, refused);
        let mut good = false;
        for _ in 0..ATTEMPTS {
            let trial = trial(relay, rate)?;
            good = trial.carried;
            sample.bounded_by_blaster = !trial.carried && !trial.blaster_kept_up;
            sample.trials.push(trial);
            if good {
                break;
            }
        }
        if good {
            carried = rate;
        } else {
            refused = rate;
        }
    }
    sample.ceiling_pps = carried;
    Ok(sample)
}

fn trial(relay: Relay, rate: f64) -> Result<Trial> {
    let _process = RelayProcess::start(relay, RELAY_CORE, PORTS)?;
    let sockets = Sockets::bind()?;
    let mut calls = calls::set_up(&sockets, CALLS)?;
    let outcome = Blaster::new(&sockets, &mut calls)?.run(rate, TRIAL)?;
    let blaster_kept_up = outcome.own_lateness_us.p99 < 10_000.0;
    let carried = outcome.lost + outcome.corrupt == 0 && outcome.latency_us.max < MAX_DELAY_US;
    Ok(Trial { carried, blaster_kept_up, outcome })
}
