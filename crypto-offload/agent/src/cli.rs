//! The command line, and what a run's end means to whoever started it.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use offload_agent::{Allowed, KeySource, Places, StartError, StateError};

use crate::{probe, run, supervise};

/// Programs IPsec SAs for the gateway; the only process that needs CAP_NET_ADMIN.
#[derive(Debug, Parser)]
#[command(name = "offload-agent", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve until told to stop
    ///
    /// SIGTERM and SIGINT end it. SAs in the kernel stay and go on working, and the next start
    /// takes them over; those of the user-space engine end with it.
    Run(RunArguments),
    /// Print what the engines of this machine can do, each line with its evidence
    Probe {
        /// One JSON document
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        engines: EngineArguments,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// What `run` is asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArguments {
    /// Where the gateway finds us
    #[arg(long, value_name = "PATH", default_value = gateway_control::agent::DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// What outlives our process: pairs, SAs, their keys (sealed)
    #[arg(long, value_name = "DIR", default_value = "/run/postern/agent")]
    pub(crate) state_dir: PathBuf,
    /// In tmpfs: the key that seals the state, and the witness of its last change
    #[arg(long, value_name = "DIR", default_value = "/run/postern")]
    pub(crate) runtime_dir: PathBuf,
    /// File with at least 32 random bytes to seal the state with [default:
    /// $CREDENTIALS_DIRECTORY/state-key, or one made in the runtime directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) state_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) engines: EngineArguments,
    /// User who may connect, besides root and our own; repeat for more
    #[arg(long = "allow-uid", value_name = "UID|NAME", value_parser = user)]
    pub(crate) allow_users: Vec<u32>,
    /// Group whose members may connect; repeat for more
    #[arg(long = "allow-gid", value_name = "GID|NAME", value_parser = group)]
    pub(crate) allow_groups: Vec<u32>,
    /// Keep a parent process that restarts a killed agent within milliseconds
    #[arg(long)]
    pub(crate) supervise: bool,
    /// Remove all our SAs and policies at the end: traffic goes out in clear from then on
    #[arg(long)]
    pub(crate) flush_on_exit: bool,
    /// What to log, as a level or target=level, as "offload_agent=debug,info"
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
    /// Set by a supervisor for its child: end when it does
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
}

/// Which engines, best first.
#[derive(Clone, Debug, Args)]
pub(crate) struct EngineArguments {
    /// Engines to use, best first
    #[arg(
        long = "engine",
        value_name = "ENGINE",
        value_delimiter = ',',
        default_value = "xfrm,user-space"
    )]
    pub(crate) engines: Vec<EngineName>,
    /// Name of the user-space engine's TUN device
    #[arg(long, value_name = "NAME", default_value = "postern0")]
    pub(crate) tun: String,
}

/// An engine, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// The kernel's, in software or in a device
    Xfrm,
    /// Our own, over a TUN device
    UserSpace,
}

/// Why we end, and with what code.
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) error: anyhow::Error,
}

impl RunArguments {
    pub(crate) fn places(&self) -> Places {
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
            .map(|directory| PathBuf::from(directory).join("state-key"))
            .filter(|path| path.exists());
        let key = self.state_key.clone().or(credential);
        Places {
            directory: self.state_dir.clone(),
            runtime: self.runtime_dir.clone(),
            key: key.map_or(KeySource::Runtime, KeySource::File),
        }
    }

    pub(crate) fn allowed(&self) -> Allowed {
        Allowed { users: self.allow_users.clone(), groups: self.allow_groups.clone() }
    }
}

impl Failure {
    pub(crate) fn unavailable(error: anyhow::Error) -> Self {
        Self { code: UNAVAILABLE, error }
    }

    pub(crate) fn in_use(error: anyhow::Error) -> Self {
        Self { code: IN_USE, error }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: 1, error }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let code = if matches!(error, StateError::InUse(_)) { IN_USE } else { NO_PLACE };
        Self { code, error: alone(&error) }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::State(error) => error.into(),
            StartError::Engine(error) => Self::unavailable(error.into()),
        }
    }
}

impl From<offload_agent::ServeError> for Failure {
    fn from(error: offload_agent::ServeError) -> Self {
        Self { code: NO_PLACE, error: alone(&error) }
    }
}

/// Its message has its source's in it: told once.
fn alone(error: &impl std::error::Error) -> anyhow::Error {
    anyhow::Error::msg(error.to_string())
}

pub(crate) struct Command(Verb);

/// Reads the command line; clap answers for what it refuses, with code 2.
pub(crate) fn parse() -> Result<Command, Failure> {
    Ok(Command(Cli::parse().verb))
}

pub(crate) fn execute(Command(verb): Command) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Completions { shell } => completions(shell),
        Verb::Probe { json, engines } => probe::print(&engines, json),
        Verb::Run(arguments) if arguments.supervise => supervise::run(&arguments),
        Verb::Run(arguments) => run::run(&arguments),
    }
}

fn user(text: &str) -> Result<u32, String> {
    number_or_name(text, "/etc/passwd")
}

fn group(text: &str) -> Result<u32, String> {
    number_or_name(text, "/etc/group")
}

/// Both files have the name first and the number third.
fn number_or_name(text: &str, file: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let lines = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let entry = lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(text)).then(|| fields.nth(1))?
    });
    entry
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("{file} has no {text}: make it, or give a number"))
}

/// Made whole first: whoever reads only its beginning ends us with an error, not with a panic.
fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "offload-agent", &mut script);
    std::io::stdout().write_all(&script).context("print completions")?;
    Ok(ExitCode::SUCCESS)
}

/// sysexits.h: EX_UNAVAILABLE, EX_CANTCREAT, EX_TEMPFAIL.
const UNAVAILABLE: u8 = 69;
const NO_PLACE: u8 = 73;
const IN_USE: u8 = 75;

const EXIT_CODES: &str = "\
Exit codes:
  0   ended as told
  1   the machine refused something that we need
  2   the command line makes no sense
  69  no engine can be used here; the message says why and what would mend it
  73  the socket or the state directory cannot be made or read
  75  another agent has the state directory, or serves this network namespace";
