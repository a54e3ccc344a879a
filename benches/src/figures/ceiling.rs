//! The highest rate that a relay on one core carries without losing a packet.
//!
//! A rate counts as carried when nothing is lost and nothing is more than [`MAX_DELAY_US`] late:
//! sockets of 1,000 flows hold seconds of overload, so loss alone would show it too late.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::{CALLS, LOAD_CORE, PORTS, Plan, RELAY_CORE};
use crate::blaster::{Blaster, Outcome};
use crate::calls;
use crate::mmsg::pin_to_core;
use crate::relay_process::{Relay, RelayProcess};
use crate::report::{Samples, Verdict, finish};
use crate::sockets::Sockets;

const LOWEST: f64 = 40_000.0;
const HIGHEST: f64 = 360_000.0;
/// Where bisection stops: 2 % of a typical ceiling.
const RESOLUTION: f64 = 3_000.0;
const MAX_DELAY_US: f64 = 250_000.0;
const TRIAL: Duration = Duration::from_secs(3);
/// A shared machine takes the core away now and then; a rate gets a second chance.
const ATTEMPTS: usize = 2;

#[derive(Serialize)]
struct Figures {
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
    let samples = Samples::take(plan.rounds, ceiling, show)?;
    let pps = |figures: &Figures| figures.ceiling_pps;
    let verdicts = [
        ("lossless ceiling, io_uring / rtpengine", Relay::Uring),
        ("lossless ceiling, epoll / rtpengine", Relay::Epoll),
    ]
    .map(|(name, relay)| Verdict::at_least(name, samples.ratio(relay, pps), 1.5));
    finish("ceiling", &plan.results, &verdicts, &samples)
}

fn show(figures: &Figures) -> String {
    let bound = if figures.bounded_by_blaster { " (all the blaster can offer)" } else { "" };
    format!("carries {:7.0} packets/s{bound}", figures.ceiling_pps)
}

fn ceiling(relay: Relay) -> Result<Figures> {
    let (mut carried, mut refused) = (LOWEST, HIGHEST);
    let mut figures = Figures { ceiling_pps: 0.0, bounded_by_blaster: false, trials: Vec::new() };
    while refused - carried > RESOLUTION {
        let rate = f64::midpoint(carried, refused);
        let mut good = false;
        for _ in 0..ATTEMPTS {
            let trial = trial(relay, rate)?;
            good = trial.carried;
            figures.bounded_by_blaster = !trial.carried && !trial.blaster_kept_up;
            figures.trials.push(trial);
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
    figures.ceiling_pps = carried;
    Ok(figures)
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
