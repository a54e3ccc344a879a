//! `tls_figures`: TLS termination beside HAProxy and nginx, in one run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use benches::figures::tls::{Part, Plan, measure};
use benches::tls::terminator::Terminator;
use clap::{Parser, ValueEnum};

/// Compares the gateway's TLS listeners with HAProxy and nginx's stream module on this machine.
/// Needs root (open files) and two cores: the terminator on core 0, the load on core 1.
#[derive(Parser)]
#[command(name = "tls_figures", version)]
struct Cli {
    /// What is measured [default: all of it, which is then kept].
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Who is measured [default: everyone].
    #[arg(long, value_enum)]
    only: Vec<Terminator>,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measured run.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Where the JSON result goes.
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    measure(&Plan {
        rounds: cli.rounds.max(1),
        run: Duration::try_from_secs_f64(cli.seconds)?,
        terminators: all_unless(cli.only, &Terminator::ALL),
        parts: all_unless(cli.parts, Part::value_variants()),
        results: cli.results,
    })
}

fn all_unless<T: Clone>(chosen: Vec<T>, all: &[T]) -> Vec<T> {
    if chosen.is_empty() { all.to_vec() } else { chosen }
}
