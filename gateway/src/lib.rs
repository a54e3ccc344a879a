//! The media-relay sidecar: [`session`] decides what a call is (sans-IO), [`relay`] moves its
//! packets (the hot path), and everything else wires the two to sockets, signals and listeners.

mod admin;
mod bounded;
mod check;
pub mod cli;
pub mod config;
mod control;
mod events;
mod http;
mod ipsec;
mod log;
mod machine;
mod metrics;
mod observer;
mod ports;
mod probe;
pub mod relay;
mod run;
pub mod session;
mod settings;
mod signals;
mod sys;
mod systemd;
mod throttle;
mod tls;
mod weakness;
pub mod webrtc;
mod workers;

use std::process::ExitCode;

use clap::CommandFactory;

use cli::{Cli, Plan};

/// Exit code for a command line or configuration that cannot work.
pub const USAGE: u8 = 2;

/// Does what was planned.
pub fn execute(plan: Plan) -> ExitCode {
    match plan {
        Plan::Run(plan) => match run::run(*plan) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error),
        },
        Plan::PrintConfig(config) => match config::file::print(&config) {
            Ok(text) => print(&text),
            Err(error) => fail(error),
        },
        Plan::Check(config) => match check::check(&config) {
            Ok(report) => print(&report.text()),
            Err(error) => fail(error),
        },
        Plan::Probe => print(&probe::report()),
        Plan::Completions(shell) => {
            clap_complete::generate(shell, &mut Cli::command(), "gateway", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    // A closed pipe (`gateway probe | head`) is the reader's choice, not a panic.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("gateway: {error}");
    ExitCode::FAILURE
}
