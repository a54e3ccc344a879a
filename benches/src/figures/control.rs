//! CPU per offer and answer (RTP to SDES-SRTP), and how many pairs a second.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use loadgen::body;
use loadgen::control::{Control, Dialogue};
use ring::rand::SystemRandom;
use serde::Serialize;

use super::{LOAD_CORE, Plan, RELAY_CORE};
use crate::accounting::{cpu_ns, own_cpu};
use crate::calls::PROFILE;
use crate::mmsg::pin_to_core;
use crate::relay_process::{NG, Relay, RelayProcess};
use crate::report::{Samples, Verdict, finish};
use crate::sockets::Sockets;

const PORTS: (u16, u16) = (10_000, 29_999);
/// Concurrent SBC processes, so that the relay always has a request waiting.
const CLIENTS: usize = 8;
const PAIRS_PER_CLIENT: usize = 400;

#[derive(Serialize)]
struct Figures {
    cpu_us_per_pair: f64,
    pairs_per_second: f64,
    /// Of the core that the clients run on: below 1, they were not the bottleneck.
    client_core_use: f64,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    let samples = Samples::take(plan.rounds, figures, show)?;
    let cpu = |figures: &Figures| figures.cpu_us_per_pair;
    let rate = |figures: &Figures| figures.pairs_per_second;
    let of_each = [(Relay::Uring, "io_uring"), (Relay::Epoll, "epoll")];
    let verdicts: Vec<Verdict> = of_each
        .into_iter()
        .flat_map(|(relay, name)| {
            let cpu_name = format!("CPU per offer+answer, {name} / rtpengine");
            let rate_name = format!("offer+answer pairs per second, {name} / rtpengine");
            [
                Verdict::at_most(cpu_name, samples.ratio(relay, cpu), 0.40),
                Verdict::at_least(rate_name, samples.ratio(relay, rate), 2.0),
            ]
        })
        .collect();
    finish("control", &plan.results, &verdicts, &samples)
}

fn show(figures: &Figures) -> String {
    format!(
        "{:6.1} µs CPU/pair  {:7.0} pairs/s  (client core {:.0} % busy)",
        figures.cpu_us_per_pair,
        figures.pairs_per_second,
        100.0 * figures.client_core_use
    )
}

fn figures(relay: Relay) -> Result<Figures> {
    let process = RelayProcess::start(relay, RELAY_CORE, PORTS)?;
    // A first call pays for what is done once.
    drop(crate::calls::set_up(&Sockets::bind()?, 1)?);
    let (before, own_before) = (cpu_ns(process.pid())?, own_cpu()?);
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS).map(|client| thread::spawn(move || pairs(client))).collect();
    for client in clients {
        client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    let elapsed = start.elapsed();
    // Work that the relay put off is part of the price.
    thread::sleep(Duration::from_millis(200));
    let count = (CLIENTS * PAIRS_PER_CLIENT) as f64;
    let spent = (cpu_ns(process.pid())? - before) as f64;
    let own = own_cpu()? - own_before;
    Ok(Figures {
        cpu_us_per_pair: spent / 1e3 / count,
        pairs_per_second: count / elapsed.as_secs_f64(),
        client_core_use: own.as_secs_f64() / elapsed.as_secs_f64(),
    })
}

fn pairs(client: usize) -> Result<()> {
    pin_to_core(LOAD_CORE)?;
    let mut control = Control::connect(SocketAddr::V4(NG))?;
    let random = SystemRandom::new();
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    for number in 0..PAIRS_PER_CLIENT {
        let dialogue = Dialogue::new(1 + client * PAIRS_PER_CLIENT + number);
        let offered = control.offer(&dialogue, body::plain_sdp(address))?;
        let (_, theirs) = body::chosen(&offered, PROFILE)?;
        let ours = body::fresh_key(&random, PROFILE, theirs.tag)?;
        control
            .answer(&dialogue, body::secure_sdp(address, &ours))
            .with_context(|| format!("client {client}, pair {number}"))?;
    }
    Ok(())
}
