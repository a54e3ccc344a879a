//! `figures`: measures the figures against rtpengine in one run and keeps them as JSON.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use benches::figures::{Plan, Tables, ceiling, control, esp, idle, memory, relay, srtp};
use clap::{Parser, ValueEnum};

/// Compares the gateway with rtpengine-daemon, and SRTP with other implementations, on this
/// machine. Needs root (socket buffers; not for SRTP) and two cores: the relay on core 0, the load
/// and SRTP on core 1.
#[derive(Parser)]
#[command(name = "figures", version)]
struct Cli {
    /// Which figures [default: all].
    #[arg(value_enum)]
    figures: Vec<Figure>,
    /// Interleaved rounds [default: 5, of SRTP 25].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measured relay run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where the JSON results go.
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
    /// Print SRTP's table as docs/decisions.md has it.
    #[arg(long)]
    markdown: bool,
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
    /// Nanoseconds per SRTP packet, beside other implementations.
    Srtp,
    /// Packets per core through user-space ESP, beside boringtun.
    Esp,
}

impl Figure {
    /// A relay's round takes half a minute, SRTP's a few seconds.
    fn default_rounds(self) -> usize {
        match self {
            Self::Srtp => 25,
            _ => 5,
        }
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let figures = if cli.figures.is_empty() { Figure::value_variants() } else { &cli.figures };
    for figure in figures {
        // A thread each: pinning is a thread's, and one figure's must not reach the next.
        std::thread::scope(|scope| scope.spawn(|| measure(*figure, &cli)).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    Ok(())
}

fn measure(figure: Figure, cli: &Cli) -> Result<()> {
    let plan = &Plan {
        rounds: cli.rounds.unwrap_or(figure.default_rounds()).max(1),
        run: Duration::from_secs(cli.seconds),
        results: cli.results.clone(),
        tables: if cli.markdown { Tables::Markdown } else { Tables::Plain },
    };
    match figure {
        Figure::Relay => relay::measure(plan),
        Figure::Ceiling => ceiling::measure(plan),
        Figure::Memory => memory::measure(plan),
        Figure::Idle => idle::measure(plan),
        Figure::Control => control::measure(plan),
        Figure::Srtp => srtp::measure(plan),
        Figure::Esp => esp::measure(plan),
    }
}
