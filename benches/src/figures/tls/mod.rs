//! TLS termination beside HAProxy and nginx: handshakes, bulk, idle connections, latency.
//!
//! The terminator is alone on core 0, with one thread. The load, clients and upstream in one
//! thread, is alone on core 1. Each round starts with another terminator, and ratios are taken
//! round by round. What a terminator costs is the CPU time of all its threads.

mod bulk;
mod doubts;
mod handshakes;
mod idle;
pub mod kernel_memory;
mod latency;
mod verdicts;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::Serialize;

use self::doubts::Watch;
use super::{LOAD_CORE, RELAY_CORE};
use crate::mmsg::pin_to_core;
use crate::report::finish;
use crate::tls::identity::Folder;
use crate::tls::load::Load;
use crate::tls::terminator::{Process, Terminator};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Handshakes, full and resumed.
    Handshakes,
    /// CPU per byte.
    Bulk,
    /// Memory per idle connection.
    Idle,
    /// Latency of messages.
    Latency,
}

/// How thoroughly to measure, and what.
pub struct Plan {
    /// Interleaved rounds.
    pub rounds: usize,
    /// Length of each measured run.
    pub run: Duration,
    /// Whom.
    pub terminators: Vec<Terminator>,
    /// What.
    pub parts: Vec<Part>,
    /// Where the JSON goes; only where everyone was measured at everything.
    pub results: PathBuf,
}

/// One terminator in one round.
#[derive(Serialize)]
struct Sample {
    round: usize,
    terminator: Terminator,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    handshakes: Vec<handshakes::Figures>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bulk: Vec<bulk::Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<idle::Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<latency::Figures>,
}

/// Everything that is kept.
#[derive(Serialize)]
struct Document {
    /// Reasons to trust the numbers less; none on a quiet machine.
    doubts: Vec<String>,
    /// Cores' worth of other programs' CPU time during the run, stolen time included.
    others_cores: f64,
    congestion_control: String,
    terminators: Vec<Described>,
    ratios: Vec<verdicts::Ratio>,
    samples: Vec<Sample>,
    /// The same messages without a terminator, once a round.
    direct: Vec<latency::Figures>,
}

#[derive(Serialize)]
struct Described {
    terminator: Terminator,
    version: String,
    configuration: String,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    pin_to_core(LOAD_CORE)?;
    allow_descriptors()?;
    let folder = Folder::create()?;
    let terminators = described(plan, &folder)?;
    let (mut samples, mut direct) = (Vec::new(), Vec::new());
    let watch = Watch::begin()?;
    for round in 0..plan.rounds {
        if plan.parts.contains(&Part::Latency) {
            let figures = latency::direct(plan.run)?;
            println!("round {round}: {:<8} {figures}", "direct");
            direct.push(figures);
        }
        for turn in 0..plan.terminators.len() {
            let terminator = plan.terminators[(round + turn) % plan.terminators.len()];
            samples.push(one_round(plan, &folder, round, terminator)?);
        }
    }
    let others_cores = watch.others()?;
    let doubts = doubts::of(&samples, others_cores);
    let ratios = verdicts::ratios(&samples);
    verdicts::print(&ratios);
    doubts.iter().for_each(|doubt| println!("DOUBTFUL: {doubt}"));
    let document = Document {
        doubts,
        others_cores,
        congestion_control: congestion_control(),
        terminators,
        ratios,
        samples,
        direct,
    };
    if plan.is_whole() {
        let verdicts = verdicts::of(&document.samples, &document.ratios);
        finish("tls", &plan.results, &verdicts, &document)?;
    }
    Ok(())
}

impl Plan {
    fn is_whole(&self) -> bool {
        let all_parts = Part::value_variants().iter().all(|part| self.parts.contains(part));
        all_parts && Terminator::ALL.iter().all(|one| self.terminators.contains(one))
    }
}

fn one_round(plan: &Plan, folder: &Folder, round: usize, terminator: Terminator) -> Result<Sample> {
    let wants = |part| plan.parts.contains(&part);
    let name = terminator.name();
    let mut sample =
        Sample { round, terminator, handshakes: vec![], bulk: vec![], idle: None, latency: None };
    // A fresh process each: what one figure left in it must not show in another.
    let fresh = || -> Result<(Load, Process)> {
        let load = Load::new()?;
        let process = Process::start(terminator, folder, RELAY_CORE, load.upstream.address()?)?;
        Ok((load, process))
    };
    let failed = |what| move || format!("{name}, {what}");
    if wants(Part::Idle) {
        let (load, process) = fresh()?;
        let figures = idle::measure(load, &process, idle::CONNECTIONS, || Ok(()))
            .with_context(failed("idle connections"))?;
        println!("round {round}: {name:<8} {figures}");
        sample.idle = Some(figures);
    }
    if wants(Part::Handshakes) {
        let (load, process) = fresh()?;
        let figures =
            handshakes::measure(load, &process, plan.run).with_context(failed("handshakes"))?;
        figures.iter().for_each(|figures| println!("round {round}: {name:<8} {figures}"));
        sample.handshakes = figures;
    }
    if wants(Part::Bulk) {
        for case in bulk::Case::all() {
            let (load, process) = fresh()?;
            let figures =
                bulk::measure(load, &process, case, plan.run / 4).with_context(failed("bulk"))?;
            println!("round {round}: {name:<8} {figures}");
            sample.bulk.push(figures);
        }
    }
    if wants(Part::Latency) {
        let (load, process) = fresh()?;
        let figures = latency::measure(load, &process, plan.run).with_context(failed("latency"))?;
        println!("round {round}: {name:<8} {figures}");
        sample.latency = Some(figures);
    }
    Ok(sample)
}

fn described(plan: &Plan, folder: &Folder) -> Result<Vec<Described>> {
    let upstream = ([127, 0, 0, 1], 5060).into();
    let described = plan.terminators.iter().map(|&terminator| {
        let configuration = terminator.configuration(folder, 5061, upstream);
        Ok(Described { terminator, version: terminator.version()?, configuration })
    });
    described.collect()
}

/// The machine's: it decides how much goes out at once.
fn congestion_control() -> String {
    let file = "/proc/sys/net/ipv4/tcp_congestion_control";
    std::fs::read_to_string(file).map_or_else(|_| "unknown".into(), |name| name.trim().into())
}

/// Each idle connection takes two descriptors of the load and two of the terminator, which
/// inherits the limit.
fn allow_descriptors() -> Result<()> {
    let limit = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    setrlimit(Resource::Nofile, limit)
        .with_context(|| format!("allowing {DESCRIPTORS} open files needs root"))
}

const DESCRIPTORS: u64 = 20_000;
