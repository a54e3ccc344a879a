//! What one core carries through a tunnel: our user-space ESP beside boringtun, in the same
//! topology and run.
//!
//! Both ends of a tunnel run on one core and share it, so a packet is sealed and opened there; the
//! load comes from the other core. The figure is packets delivered per second of CPU that the two
//! ends used, at more load than they carry; beside it, the same at a rate that both carry.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{LOAD_CORE, Plan, RELAY_CORE};
use crate::{
    accounting::cpu_ns,
    report::{Spread, Verdict, finish},
    tunnel::{Contestant, delivered, send_through, topology::Topology},
};

/// Bytes of the inner IP packets.
const SIZES: [usize; 2] = [1400, 200];
/// Packets a second that both carry.
const CALM: f64 = 20_000.0;

#[derive(Serialize)]
struct Sample {
    round: usize,
    contestant: Contestant,
    bytes: usize,
    /// Packets offered a second; `None`: all that the other core can send.
    rate: Option<f64>,
    offered: u64,
    delivered: u64,
    /// Of both ends together.
    cpu_seconds: f64,
    delivered_per_cpu_second: f64,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    let mut samples = Vec::new();
    for round in 0..plan.rounds {
        for turn in 0..Contestant::ALL.len() {
            let contestant = Contestant::ALL[(round + turn) % Contestant::ALL.len()];
            samples.extend(one_round(plan, round, contestant)?);
        }
    }
    let mut verdicts = Vec::new();
    for bytes in SIZES {
        for (load, rate) in [("all load", None), ("20,000 packets/s", Some(CALM))] {
            let of = |contestant| {
                let fitting = samples.iter().filter(move |sample: &&Sample| {
                    (sample.contestant, sample.bytes, sample.rate) == (contestant, bytes, rate)
                });
                fitting.map(|sample| sample.delivered_per_cpu_second).collect::<Vec<_>>()
            };
            let ratio = Spread::ratio(&of(Contestant::Esp), &of(Contestant::Boringtun));
            let name = format!("ESP / boringtun, packets per CPU second, {bytes} bytes, {load}");
            verdicts.push(Verdict::at_least(name, ratio.median, 1.0));
        }
    }
    finish("esp", &plan.results, &verdicts, &samples)
}

fn one_round(plan: &Plan, round: usize, contestant: Contestant) -> Result<Vec<Sample>> {
    let topology = Topology::new()?;
    let tunnel = contestant.start(&topology)?;
    for process in tunnel.processes() {
        pin(process, RELAY_CORE)?;
    }
    let mut samples = Vec::new();
    for bytes in SIZES {
        for rate in [None, Some(CALM)] {
            let delivered = || delivered(&topology.right, tunnel.as_ref());
            let cpu = || -> Result<u64> {
                let [left, right] = tunnel.processes();
                Ok(cpu_ns(left)? + cpu_ns(right)?)
            };
            let before = (delivered()?, cpu()?);
            let offered = send_through(&topology, LOAD_CORE, bytes, plan.run, rate)?;
            let delivered = (delivered()? - before.0) / bytes as u64;
            let cpu = cpu()? - before.1;
            let cpu_seconds = cpu as f64 / 1e9;
            let delivered_per_cpu_second = delivered as f64 / cpu_seconds;
            println!(
                "round {round}: {:<16} {bytes:>5} bytes: {delivered:>8} of {offered:>8} packets, \
                 {delivered_per_cpu_second:>8.0} per CPU second",
                contestant.name()
            );
            samples.push(Sample {
                round,
                contestant,
                bytes,
                rate,
                offered,
                delivered,
                cpu_seconds,
                delivered_per_cpu_second,
            });
        }
    }
    Ok(samples)
}

/// Tried again where a thread ends meanwhile.
fn pin(process: u32, core: usize) -> Result<()> {
    let (core, process) = (core.to_string(), process.to_string());
    let mut pinned = false;
    for _ in 0..5 {
        let mut taskset = Command::new("taskset");
        taskset.args(["-a", "-c", "-p", &core, &process]).stdout(Stdio::null());
        pinned = taskset.stderr(Stdio::null()).status()?.success();
        if pinned {
            break;
        }
    }
    ensure!(pinned, "taskset failed");
    Ok(())
}
