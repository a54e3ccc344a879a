//! `sa_figures`: how long a thousand SAs take to rotate under traffic, and ten thousand to list.
//!
//! Two gateways with an agent each, in two network namespaces on this machine: both sides' work,
//! the traffic and the counting share its cores. Needs root, and release builds of `gateway`,
//! `offload-agent` and `keymgr` beside this program.

#[path = "../../../../gateway/tests/ipsec/certificates.rs"]
mod certificates;
#[path = "../../../../gateway/tests/ipsec/hosts.rs"]
mod hosts;
#[path = "../../../../gateway/tests/ipsec/proxy.rs"]
#[expect(dead_code, reason = "nobody is struck down here")]
mod proxy;
#[path = "../../../../gateway/tests/ipsec/site.rs"]
#[expect(dead_code, reason = "nobody is struck down here")]
mod site;
#[path = "../../../../gateway/tests/ipsec/stream.rs"]
mod stream;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use benches::report::{Spread, Verdict, finish};
use clap::Parser;
use gateway_control::Operation;
use serde::Serialize;

use crate::{
    certificates::Authority,
    hosts::{Hosts, Side},
    site::{Programs, Site, Terms, within},
    stream::Traffic,
};

/// Measures the rotation of many SAs under traffic, and the listing of more.
#[derive(Parser)]
#[command(name = "sa_figures", version)]
struct Cli {
    /// Pairs that are rotated, each with an SA both ways.
    #[arg(long, default_value_t = 500)]
    rotated_pairs: usize,
    /// Pairs that are listed, each with an SA both ways.
    #[arg(long, default_value_t = 5_000)]
    listed_pairs: usize,
    /// Rotations and listings.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the JSON result goes.
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
}

#[derive(Serialize)]
struct Figures {
    rotated_sas: usize,
    rotation_seconds: Vec<f64>,
    packets_sent: u64,
    packets_lost: u64,
    packets_duplicated: u64,
    listed_sas: usize,
    list_seconds: Vec<f64>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let (rotation_seconds, account) = rotate(cli.rotated_pairs, cli.rounds)?;
    let list_seconds = list(cli.listed_pairs, cli.rounds)?;
    let sas = |pairs: usize| 2 * pairs;
    let verdicts = [
        Verdict::at_most(
            format!("seconds to rotate {} SAs under traffic", sas(cli.rotated_pairs)),
            Spread::of(rotation_seconds.iter().copied()).median,
            10.0,
        ),
        Verdict::at_most("packets lost meanwhile", account.lost as f64, 0.0),
        Verdict::at_most(
            format!("seconds of `keymgr sa list` with {} SAs", sas(cli.listed_pairs)),
            Spread::of(list_seconds.iter().copied()).median,
            1.0,
        ),
    ];
    let figures = Figures {
        rotated_sas: sas(cli.rotated_pairs),
        rotation_seconds,
        packets_sent: account.sent,
        packets_lost: account.lost,
        packets_duplicated: account.duplicated,
        listed_sas: sas(cli.listed_pairs),
        list_seconds,
    };
    finish("sas", &cli.results, &verdicts, &figures)
}

/// Seconds of each rotation, from the request to the last old SA's end, the overlap included.
fn rotate(pairs: usize, rounds: usize) -> Result<(Vec<f64>, stream::Account)> {
    let (hosts, sites, _directory) = network(pairs)?;
    let traffic = Traffic::start(&hosts, pairs, RATE)?;
    let mut seconds = Vec::new();
    for round in 0..rounds {
        let said = sites[0].ask(&["sa", "rotate", "--all", "--json"])?;
        let operation: Operation = serde_json::from_str(&said)?;
        println!("round {round}: {pairs} pairs in {:.2} s", operation.seconds);
        seconds.push(operation.seconds);
        wait_until_settled(&sites, pairs)?;
    }
    let account = traffic.finish(RATE / pairs as f64)?;
    println!("{account:?}");
    Ok((seconds, account))
}

fn list(pairs: usize, rounds: usize) -> Result<Vec<f64>> {
    let (_hosts, sites, _directory) = network(pairs)?;
    let mut seconds = Vec::new();
    for round in 0..rounds {
        let start = Instant::now();
        let said = sites[0].ask(&["sa", "list"])?;
        seconds.push(start.elapsed().as_secs_f64());
        let lines = said.lines().count();
        ensure!(lines == 2 * pairs + 1, "{lines} lines for {pairs} pairs");
        println!("round {round}: {} SAs in {:.3} s", 2 * pairs, seconds[round]);
    }
    Ok(seconds)
}

/// Both sites up, every pair with its first keys.
fn network(pairs: usize) -> Result<(Hosts, [Site; 2], Directory)> {
    let directory = std::env::temp_dir().join(format!("postern-sas-{}", std::process::id()));
    let directory = Directory(directory);
    fs::create_dir_all(&directory.0)?;
    let folder = std::env::current_exe()?.parent().context("no folder")?.to_owned();
    let programs = Programs {
        gateway: folder.join("gateway"),
        agent: folder.join("offload-agent"),
        keymgr: folder.join("keymgr"),
    };
    let terms = Terms {
        pairs,
        engines: ["user-space"; 2],
        aead: "aes-128-gcm",
        udp: true,
        overlap: OVERLAP,
        agent_socket: "agent.sock",
    };
    let hosts = Hosts::new(pairs)?;
    let authority = Authority::new()?;
    let start = |side| Site::start(&hosts, side, &programs, &terms, &authority, &directory.0);
    let sites = [start(Side::Left)?, start(Side::Right)?];
    wait_until_settled(&sites, pairs)?;
    Ok((hosts, sites, directory))
}

fn wait_until_settled(sites: &[Site; 2], pairs: usize) -> Result<()> {
    let settled = || {
        let [left, right] = [sites[0].settled()?, sites[1].settled()?];
        (left == right && left.len() == pairs).then_some(())
    };
    within(SETTLED_WITHIN, settled).context("the pairs do not get their keys")
}

/// Removed when dropped.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Packets a second each way, over all pairs.
const RATE: f64 = 5_000.0;
const OVERLAP: Duration = Duration::from_secs(1);
const SETTLED_WITHIN: Duration = Duration::from_secs(300);
