//! `offload-agent`: command line and wiring. What it does is the library's.

mod alone;
mod cli;
mod log;
mod notify;
mod opening;
mod privileges;
mod probe;
mod run;
mod supervise;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    let result = cli::parse().and_then(cli::execute);
    result.unwrap_or_else(|failure| {
        eprintln!("offload-agent: {:#}", failure.error);
        ExitCode::from(failure.code)
    })
}
