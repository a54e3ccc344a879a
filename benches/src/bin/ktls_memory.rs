//! `ktls_memory`: memory per idle TLS connection with records in the kernel; for the test VM.

use std::path::PathBuf;

use anyhow::Result;
use benches::figures::tls::kernel_memory::{Plan, measure};
use clap::Parser;

/// Weighs the gateway's idle TLS connections, records in the kernel and in user space in turn.
/// The result's JSON is printed last. Run by `make bench-ktls-memory` in a test VM.
#[derive(Parser)]
#[command(name = "ktls_memory", version)]
struct Cli {
    /// Idle connections of each run.
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Rounds; each has both.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Where the JSON is written before it is printed.
    #[arg(long, default_value = "/tmp")]
    results: PathBuf,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    measure(&Plan { connections: cli.connections, rounds: cli.rounds, results: cli.results })
}
