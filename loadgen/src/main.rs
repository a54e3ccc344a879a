//! The `loadgen` binary: parses the command line and maps results to exit codes.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use loadgen::cli::{Cli, Command};
use loadgen::run::Verdict;
use loadgen::{demo, run};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(demo) => demo::demo(&demo),
        Command::Run(run) => run::run(&run),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "loadgen", &mut std::io::stdout());
            return ExitCode::SUCCESS;
        }
    };
    match result {
        Ok(Verdict::Lossless) => ExitCode::SUCCESS,
        Ok(Verdict::Lossy) => ExitCode::from(3),
        Ok(Verdict::Invalid) => ExitCode::from(4),
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
