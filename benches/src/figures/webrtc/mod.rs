//! WebRTC beside rtpengine: media under a storm of handshakes, what a handshake costs, what an idle
//! leg weighs.
//!
//! Both relays are driven alike, over ng, by legs of ours (`src/legs`). The load is on core 1; where
//! the relay is, each figure says.

mod bootstrap;
mod handshakes;
mod memory;
mod storm;
mod verdicts;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

use super::LOAD_CORE;
use crate::legs::relay::Relay;
use crate::mmsg::pin_to_core;
use crate::report::finish;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Media under a storm of handshakes.
    Storm,
    /// CPU per handshake.
    Handshakes,
    /// Memory per idle leg.
    Memory,
}

/// How thoroughly to measure, and what.
pub struct Plan {
    /// Interleaved rounds of the storm.
    pub storm_rounds: usize,
    /// Interleaved rounds of the other parts.
    pub rounds: usize,
    /// Length of each run of the storm.
    pub run: Duration,
    /// Handshakes of a round; at most 2,000, for want of ports.
    pub handshakes: usize,
    /// Idle legs.
    pub legs: usize,
    /// Whom.
    pub relays: Vec<Relay>,
    /// What.
    pub parts: Vec<Part>,
    /// Where the JSON goes; only where everyone was measured at everything.
    pub results: PathBuf,
}

/// One relay in one round.
#[derive(Serialize)]
struct Sample<T> {
    round: usize,
    relay: Relay,
    #[serde(flatten)]
    figures: T,
}

/// Everything that is measured.
#[derive(Default, Serialize)]
struct Samples {
    storm: Vec<storm::Round>,
    handshakes: Vec<Sample<handshakes::Figures>>,
    memory: Vec<Sample<memory::Figures>>,
}

/// Everything that is kept.
#[derive(Serialize)]
struct Document {
    relays: Vec<Described>,
    storm: Vec<verdicts::Comparison>,
    samples: Samples,
}

#[derive(Serialize)]
struct Described {
    relay: Relay,
    version: String,
    arguments: Vec<String>,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    pin_to_core(LOAD_CORE)?;
    let relays = plan.relays.iter().map(|&relay| {
        Ok(Described { relay, version: relay.version()?, arguments: relay.arguments() })
    });
    let relays = relays.collect::<Result<_>>()?;
    let mut samples = Samples::default();
    for part in &plan.parts {
        match part {
            Part::Storm => plan.each_round(plan.storm_rounds, |round, relay| {
                storm::measure(relay, round, plan.run, &mut samples.storm)
            })?,
            Part::Handshakes => plan.each_round(plan.rounds, |round, relay| {
                let figures = handshakes::measure(relay, plan.handshakes)?;
                println!("round {round}: {:<9} {figures}", relay.name());
                samples.handshakes.push(Sample { round, relay, figures });
                Ok(())
            })?,
            Part::Memory => plan.each_round(plan.rounds, |round, relay| {
                let figures = memory::measure(relay, plan.legs)?;
                println!("round {round}: {:<9} {figures}", relay.name());
                samples.memory.push(Sample { round, relay, figures });
                Ok(())
            })?,
        }
    }
    let storm = verdicts::comparisons(&samples.storm);
    verdicts::print(&storm);
    let document = Document { relays, storm, samples };
    if plan.is_whole() {
        let verdicts = verdicts::of(&document.samples, &document.storm);
        finish("webrtc", &plan.results, &verdicts, &document)?;
    }
    Ok(())
}

impl Plan {
    /// Each round begins with another relay.
    fn each_round(
        &self,
        rounds: usize,
        mut measure: impl FnMut(usize, Relay) -> Result<()>,
    ) -> Result<()> {
        for round in 0..rounds {
            for turn in 0..self.relays.len() {
                let relay = self.relays[(round + turn) % self.relays.len()];
                measure(round, relay)
                    .with_context(|| format!("round {round}, {}", relay.name()))?;
            }
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        let all_parts = Part::value_variants().iter().all(|part| self.parts.contains(part));
        all_parts && Relay::ALL.iter().all(|relay| self.relays.contains(relay))
    }
}
