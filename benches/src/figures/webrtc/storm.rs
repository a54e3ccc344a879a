//! Media under a storm of handshakes: 200 calls of RTP ↔ SRTP (SDES) on the worker's core, and on the
//! other core all the handshakes that fit.
//!
//! A round is three runs of the same calls, each with a relay of its own, in turn: calm, storm,
//! calm again. Storm against calm is the figure, calm again against calm its control. The
//! load's thread has real-time priority, so that it sends on time whatever blows, and takes at least
//! 40 % of its core; a run in which it got less than 30 % says nothing, and its round is made again.

use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use loadgen::report::Percentiles;
use rustix::thread::gettid;
use serde::Serialize;

use crate::accounting::{CoreTime, thread_cpu_ns};
use crate::blaster::{Blaster, Pauses};
use crate::calls;
use crate::figures::LOAD_CORE;
use crate::legs::relay::{Placement, Process, Relay};
use crate::legs::storm::{Outcome, Storm};
use crate::sockets::Sockets;

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) weather: Weather,
    sent: u64,
    /// Lost or damaged.
    pub(super) bad: u64,
    /// The gateway's own.
    pub(super) residence_p999_us: Option<f64>,
    /// From when a packet was due until the kernel had it for the other leg.
    pub(super) latency_us: Percentiles,
    /// What of that is the load's.
    pub(super) own_lateness_us: Percentiles,
    /// The part of its core that the load got.
    pub(super) load_share: f64,
    /// How busy that core was.
    pub(super) load_core_use: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) storm: Option<Outcome>,
}

/// What a run had beside media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Weather {
    /// Nothing.
    Calm,
    /// Handshakes.
    Storm,
    /// Nothing, once more.
    CalmAgain,
}

/// Three runs of one relay.
#[derive(Debug, Serialize)]
pub(super) struct Round {
    pub(super) relay: Relay,
    round: usize,
    /// Why it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) invalid: Option<String>,
    pub(super) calm: Run,
    pub(super) storm: Run,
    pub(super) calm_again: Run,
}

impl Weather {
    const ALL: [Self; 3] = [Self::Calm, Self::Storm, Self::CalmAgain];
}

/// Makes a round until it is valid, and shows it; the invalid ones stand in `rounds` too.
pub(super) fn measure(
    relay: Relay,
    round: usize,
    length: Duration,
    rounds: &mut Vec<Round>,
) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let made = one_round(relay, round, length)?;
        let is_valid = made.invalid.is_none();
        if let Some(reason) = &made.invalid {
            println!("round {round}: {:<9} INVALID: {reason}", relay.name());
        }
        rounds.push(made);
        if is_valid {
            return Ok(());
        }
    }
    bail!("round {round} of {} was invalid {ATTEMPTS} times", relay.name())
}

fn one_round(relay: Relay, round: usize, length: Duration) -> Result<Round> {
    let mut runs = [const { None }; Weather::ALL.len()];
    for turn in 0..runs.len() {
        let index = (round + turn) % runs.len();
        let run = one_run(relay, Weather::ALL[index], length)?;
        println!("round {round}: {:<9} {run}", relay.name());
        runs[index] = Some(run);
    }
    let [Some(calm), Some(storm), Some(calm_again)] = runs else { bail!("a run is missing") };
    let invalid = [&calm, &storm, &calm_again].into_iter().find_map(Run::fault);
    Ok(Round { relay, round, invalid, calm, storm, calm_again })
}

fn one_run(relay: Relay, weather: Weather, length: Duration) -> Result<Run> {
    // A fresh relay: its residence times are then those of this run alone.
    let process = Process::start(relay, Placement::MediaApart)?;
    let sockets = Sockets::bind()?;
    let mut calls = calls::set_up(&sockets, CALLS)?;
    let storm = (weather == Weather::Storm).then(Storm::begin).transpose()?;
    ahead_of_others()?;
    let thread = gettid().as_raw_nonzero().get() as u32;
    let before = (Instant::now(), thread_cpu_ns(thread)?, CoreTime::now(LOAD_CORE)?);
    let blaster = Blaster::new(&sockets, &mut calls)?.pausing(Pauses::Beyond(SHARE));
    let outcome = blaster.run(RATE, length)?;
    let elapsed = before.0.elapsed().as_nanos() as f64;
    let own = thread_cpu_ns(thread)? - before.1;
    let load_core_use = CoreTime::now(LOAD_CORE)?.busy_since(before.2);
    let storm = storm.map(Storm::end).transpose()?;
    Ok(Run {
        weather,
        sent: outcome.sent,
        bad: outcome.lost + outcome.corrupt,
        residence_p999_us: process.residence_p999_us()?,
        latency_us: outcome.latency_us,
        own_lateness_us: outcome.own_lateness_us,
        load_share: own as f64 / elapsed,
        load_core_use,
        storm,
    })
}

impl Run {
    fn fault(&self) -> Option<String> {
        (self.load_share < LEAST_SHARE).then(|| {
            format!(
                "the load had {:.0} % of its core ({:?}), at least {:.0} % is its due",
                100.0 * self.load_share,
                self.weather,
                100.0 * LEAST_SHARE,
            )
        })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let residence = self.residence_p999_us.map_or("-".into(), |value| format!("{value:.0}"));
        write!(
            formatter,
            "{:<10} residence p99.9 {residence:>6}  latency p99.9 {:7.0} µs (own lateness {:5.0})  \
             bad {}  load {:3.0} % of its core, all of it {:3.0} % busy",
            format!("{:?}", self.weather),
            self.latency_us.p999,
            self.own_lateness_us.p999,
            self.bad,
            100.0 * self.load_share,
            100.0 * self.load_core_use,
        )?;
        let Some(storm) = &self.storm else { return Ok(()) };
        write!(formatter, "  {:.0} handshakes/s, {} failed", storm.per_second, storm.failed)?;
        match &storm.last_failure {
            Some(reason) => write!(formatter, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// Real-time priority for this thread, and for none that it starts: whoever wakes is then no
/// later because of the storm. Done by `chrt`, as placement is by `taskset`.
fn ahead_of_others() -> Result<()> {
    let thread = gettid().as_raw_nonzero().to_string();
    let mut chrt = Command::new("chrt");
    let output = chrt.args(["--reset-on-fork", "--fifo", "--pid", "10", &thread]).output();
    let output = output.context("running chrt")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "real-time priority needs root: {said}");
    Ok(())
}

/// Two flows each.
const CALLS: usize = 200;
/// A packet every 20 ms on each flow.
const RATE: f64 = 2.0 * CALLS as f64 * 50.0;
/// Of its core's time, that the load takes at least.
const SHARE: f64 = 0.4;
/// Below, a round is invalid.
const LEAST_SHARE: f64 = 0.3;
/// To make one valid round.
const ATTEMPTS: usize = 3;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn run(weather: Weather, p999_us: f64, load_share: f64) -> Run {
        let mut histogram = hdrhistogram::Histogram::new(3).unwrap();
        histogram.record((1e3 * p999_us) as u64).unwrap();
        let latency = Percentiles::of(&histogram);
        Run {
            weather,
            sent: 1,
            bad: 0,
            residence_p999_us: Some(p999_us),
            latency_us: latency,
            own_lateness_us: latency,
            load_share,
            load_core_use: 1.0,
            storm: None,
        }
    }

    /// A valid one with these p99.9, calm, storm and calm again.
    pub(in super::super) fn round(relay: Relay, p999_us: [f64; 3]) -> Round {
        let [calm, storm, calm_again] = [0, 1, 2].map(|at| run(Weather::ALL[at], p999_us[at], 0.4));
        Round { relay, round: 0, invalid: None, calm, storm, calm_again }
    }

    #[test]
    fn a_run_in_which_the_load_was_starved_is_at_fault() {
        assert_eq!(run(Weather::Storm, 20.0, 0.31).fault(), None);
        let fault = run(Weather::Storm, 20.0, 0.29).fault().unwrap();
        assert!(fault.contains("29 %"), "{fault}");
    }
}
