//! `webrtc_figures`: WebRTC legs beside rtpengine's, in one run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use benches::figures::webrtc::{Part, Plan, measure};
use benches::legs::relay::Relay;
use clap::{Parser, ValueEnum};

/// Compares the gateway's DTLS and ICE with rtpengine-daemon's on this machine. Needs root (socket
/// buffers, real-time priority) and two cores.
#[derive(Parser)]
#[command(name = "webrtc_figures", version)]
struct Cli {
    /// What is measured [default: all of it, which is then kept].
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Who is measured [default: both].
    #[arg(long, value_enum)]
    only: Vec<Relay>,
    /// Interleaved rounds of the storm, three runs each.
    #[arg(long, default_value_t = 9)]
    storm_rounds: usize,
    /// Interleaved rounds of the others.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each run of the storm.
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// Handshakes of a round.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    handshakes: u16,
    /// Idle legs.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    legs: u16,
    /// Where the JSON result goes.
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    measure(&Plan {
        storm_rounds: cli.storm_rounds.max(1),
        rounds: cli.rounds.max(1),
        run: Duration::try_from_secs_f64(cli.seconds)?,
        handshakes: cli.handshakes.into(),
        legs: cli.legs.into(),
        relays: all_unless(cli.only, &Relay::ALL),
        parts: all_unless(cli.parts, Part::value_variants()),
        results: cli.results,
    })
}

fn all_unless<T: Clone>(chosen: Vec<T>, all: &[T]) -> Vec<T> {
    if chosen.is_empty() { all.to_vec() } else { chosen }
}
