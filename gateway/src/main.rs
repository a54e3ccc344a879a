//! The `gateway` binary: the command line in, an exit code out.

use std::process::ExitCode;

use clap::Parser;
use gateway::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().plan() {
        Ok(plan) => gateway::execute(plan),
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::from(gateway::USAGE)
        }
    }
}
