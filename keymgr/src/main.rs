//! `keymgr`, the CLI for keys and SAs: parses, asks a gateway's admin API, shows what it says.
//!
//! It holds no state and does no cryptography: whatever it starts goes on in the gateway when it
//! ends.

mod cli;
mod clock;
mod gateway;
mod input;
mod keys;
mod output;
mod probe;
mod sa;
mod srtp;
mod table;
mod tls;

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, Parser};
use serde::Serialize;

use crate::{
    cli::{Cli, Command},
    gateway::Gateway,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                // Nobody may be reading that either.
                let _ = writeln!(std::io::stderr(), "keymgr: {}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

async fn run(cli: &Cli) -> Result<(), Failure> {
    if let Command::Completions { shell } = &cli.command {
        // Made whole first, as the generator would panic where its reader goes.
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "keymgr", &mut script);
        return output::written(std::io::stdout().write_all(&script));
    }
    let gateway = Gateway::new(&cli.gateway)?;
    match &cli.command {
        Command::Sa(command) => sa::run(&gateway, command).await,
        Command::Srtp(command) => srtp::run(&gateway, command).await,
        Command::Tls(command) => tls::run(&gateway, command).await,
        Command::Probe { again } => probe::probe(&gateway, *again).await,
        Command::Completions { .. } => Ok(()),
    }
}

/// Why it was not done, and the exit code that says so.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It could not be done.
    fn other(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// Asked for in a way that makes no sense.
    fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// The gateway says no.
    fn refused(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into() }
    }

    /// There is no gateway to ask.
    fn unreachable(message: impl Into<String>) -> Self {
        Self { code: 4, message: message.into() }
    }

    /// The same, and what stands now.
    fn and(self, stands: &str) -> Self {
        Self { message: format!("{}; {stands}", self.message), ..self }
    }

    /// Rotations failed and were undone, or a listener did not take what it was to.
    fn undone(message: impl Into<String>) -> Self {
        Self { code: 5, message: message.into() }
    }
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::other(error.to_string()))?;
    output::line(text)
}

fn print_json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::other(error.to_string()))?;
    output::line(text)
}
