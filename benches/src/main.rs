//! `figures`: measures the figures against rtpengine in one run and keeps them as JSON.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use benches::figures::{Plan, ceiling, control, idle, memory, relay};
use clap::{Parser, ValueEnum};

/// Compares the gateway with rtpengine-daemon on this machine. Needs root (socket buffers) and
/// two cores: the relay on core 0, the load on core 1.
#[derive(Parser)]
#[command(name = "figures", version)]
struct Cli {
    /// Which figures [default: all].
    #[arg(value_enum)]
    figures: Vec<Figure>,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measured relay run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where the JSON results go.
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Figure {
    /// CPU per packet and latency at 100,000 packets per second.
    Relay,
    /// The highest lossless rate.
    Ceiling,
    /// Memory per call with 4,000 calls.
    Memory,
    /// CPU of 1,000 idle calls.
    Idle,
    /// CPU and rate of offer+answer.
    Control,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let plan =
        Plan { rounds: cli.rounds, run: Duration::from_secs(cli.seconds), results: cli.results };
    let figures = if cli.figures.is_empty() { Figure::value_variants() } else { &cli.figures };
    for figure in figures {
        // A thread each: pinning is a thread's, and one figure's must not reach the next.
        std::thread::scope(|scope| scope.spawn(|| measure(*figure, &plan)).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    Ok(())
}

fn measure(figure: Figure, plan: &Plan) -> Result<()> {
    match figure {
        Figure::Relay => relay::measure(plan),
        Figure::Ceiling => ceiling::measure(plan),
        Figure::Memory => memory::measure(plan),
        Figure::Idle => idle::measure(plan),
        Figure::Control => control::measure(plan),
    }
}
