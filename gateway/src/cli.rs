//! The command line: parsed by clap, laid over the configuration file, checked, and handed on as
//! a [`Plan`] that needs no further thought. Nothing is opened or started here.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{
    self, AdminListen, Compat, Config, Interface, Io, Learning, Listen, PortRange,
};

/// Relays and encrypts media for an SBC, driven over rtpengine's ng protocol.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, max_term_width = 100, args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Relay calls until told to stop
    ///
    /// Without any option or file, media uses 127.0.0.1 and an SBC on this host reaches ng at
    /// 127.0.0.1:2223. SIGTERM takes no new calls and ends when the last one has; SIGINT ends
    /// at once; SIGHUP reads the configuration file again.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArguments),
    /// Validate a configuration and say what this machine would make of it
    ///
    /// Exit code 0: it would run (warnings may be printed); 1: it would not.
    Check(SettingArguments),
    /// Print what this machine can do, each line with its evidence
    Probe,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

const RUN_EXAMPLES: &str = "\
Examples:
  gateway run
  gateway run --interface pub/10.0.0.5!203.0.113.5 --interface priv/192.168.0.5
  gateway run --config /etc/postern/gateway.toml --log gateway=debug,info
  gateway run --print-config > gateway.toml";

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    settings: SettingArguments,
    /// Print the configuration in force, every default included, as TOML, and exit
    #[arg(long)]
    print_config: bool,
}

/// Each overrides the file's setting of the same meaning.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingArguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address for media; repeat for more. Several of one NAME are taken in turn; the first
    /// NAME serves calls whose signalling names none [default: 127.0.0.1]
    #[arg(long = "interface", value_name = "[NAME/]ADDR[!ADVERTISED]")]
    interfaces: Vec<Interface>,
    /// Where the SBC reaches the ng protocol, UDP and TCP [default: 127.0.0.1:2223]
    #[arg(long, value_name = "ADDR:PORT")]
    ng: Option<SocketAddr>,
    /// Media ports [default: 30000-39999]
    #[arg(long, value_name = "MIN-MAX")]
    ports: Option<PortRange>,
    /// Admin API's Unix socket, or "none" [default: gateway.sock in the runtime directory]
    #[arg(long, value_name = "PATH|none")]
    admin: Option<AdminListen>,
    /// Worker threads [default: one for each CPU]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Metrics and health over HTTP, read-only, or "none" [default: 127.0.0.1:9431]
    #[arg(long, value_name = "ADDR:PORT|none")]
    http: Option<Listen>,
    /// Whose ways the ng protocol follows; with rtpengine, SRTP keys may pass from leg to leg and
    /// strict source is off [default: postern]
    #[arg(long, value_enum, value_name = "WHOSE")]
    ng_compat: Option<Compat>,
    /// Driver for media sockets [default: auto]
    #[arg(long, value_enum)]
    io: Option<Io>,
    /// How peers behind NAT are found [default: heuristic]
    #[arg(long, value_enum, value_name = "HOW")]
    endpoint_learning: Option<Learning>,
    /// Where calls are kept over a restart; only "none" in this release
    #[arg(long, value_name = "DIR|none")]
    state_dir: Option<String>,
    /// What to log, as "info" or "gateway=debug,info" [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// What to do, settled.
#[derive(Debug)]
pub enum Plan {
    /// Relay calls.
    Run(Box<RunPlan>),
    /// Print this configuration.
    PrintConfig(Box<Config>),
    /// Say what this machine would make of the configuration.
    Check(Box<Config>),
    /// Say what this machine can do.
    Probe,
    /// Print completions.
    Completions(Shell),
}

/// A run: the configuration in force, and how to read it again.
#[derive(Debug)]
pub struct RunPlan {
    /// The file with the flags laid over it.
    pub config: Config,
    /// For SIGHUP.
    pub source: SettingArguments,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file.
    #[error(transparent)]
    File(#[from] config::file::FileError),
    /// A setting, or several together.
    #[error(transparent)]
    Setting(#[from] config::check::SettingError),
}

impl Cli {
    /// Reads the file, lays the flags over it and checks the whole.
    pub fn plan(self) -> Result<Plan, PlanError> {
        match self.command {
            Verb::Run(RunArguments { settings, print_config }) => {
                let config = settings.load()?;
                if print_config {
                    return Ok(Plan::PrintConfig(Box::new(config)));
                }
                Ok(Plan::Run(Box::new(RunPlan { config, source: settings })))
            }
            Verb::Check(settings) => Ok(Plan::Check(Box::new(settings.load()?))),
            Verb::Probe => Ok(Plan::Probe),
            Verb::Completions { shell } => Ok(Plan::Completions(shell)),
        }
    }
}

impl SettingArguments {
    /// The configuration that the file and these flags make, checked.
    pub fn load(&self) -> Result<Config, PlanError> {
        let mut config = match &self.config {
            Some(path) => config::file::load(path)?,
            None => Config::default(),
        };
        self.lay_over(&mut config);
        config.settle();
        config::check::check(&config)?;
        Ok(config)
    }

    /// The file that SIGHUP reads again.
    pub fn file(&self) -> Option<&PathBuf> {
        self.config.as_ref()
    }

    fn lay_over(&self, config: &mut Config) {
        if !self.interfaces.is_empty() {
            config.interface.clone_from(&self.interfaces);
        }
        overlay(&mut config.ng.listen, &self.ng);
        overlay(&mut config.relay.ports, &self.ports);
        overlay(&mut config.admin.listen, &self.admin);
        overlay(&mut config.relay.workers, &self.workers);
        overlay(&mut config.http.listen, &self.http);
        overlay(&mut config.ng.compat, &self.ng_compat);
        overlay(&mut config.relay.io, &self.io);
        overlay(&mut config.relay.endpoint_learning, &self.endpoint_learning);
        overlay(&mut config.state.dir, &self.state_dir);
        overlay(&mut config.log.filter, &self.log);
    }
}

fn overlay<T: Clone>(setting: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        setting.clone_from(value);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(arguments: &[&str]) -> Config {
        let cli = Cli::try_parse_from([&["gateway", "run"], arguments].concat()).unwrap();
        match cli.plan().unwrap() {
            Plan::Run(plan) => plan.config,
            other => panic!("not a run: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_without_flags_is_every_default() {
        assert_eq!(run(&[]), Config::default());
    }

    #[test]
    fn each_flag_reaches_its_setting() {
        let config = run(&[
            "--interface=pub/10.0.0.1!203.0.113.5",
            "--interface=pub/2001:db8::1",
            "--ng=127.0.0.2:2224",
            "--ports=40000-40099",
            "--admin=/tmp/a.sock",
            "--workers=3",
            "--http=none",
            "--ng-compat=rtpengine",
            "--io=epoll",
            "--endpoint-learning=off",
            "--state-dir=none",
            "--log=debug",
        ]);
        let interface =
            vec!["pub/10.0.0.1!203.0.113.5".parse().unwrap(), "pub/2001:db8::1".parse().unwrap()];
        let mut expected = Config { interface, ..Config::default() };
        expected.ng.listen = "127.0.0.2:2224".parse().unwrap();
        expected.relay.ports = PortRange { min: 40000, max: 40099 };
        expected.admin.listen = AdminListen::Path("/tmp/a.sock".into());
        expected.relay.workers = 3;
        expected.http.listen = Listen::Off;
        expected.ng.compat = Compat::Rtpengine;
        expected.settle();
        assert_eq!(expected.ng.suites.len(), 12);
        expected.relay.io = Io::Epoll;
        expected.relay.endpoint_learning = Learning::Off;
        expected.log.filter = "debug".to_owned();
        assert_eq!(config, expected);
    }

    #[test]
    fn a_flag_with_a_wrong_value_is_refused_by_name() {
        let error = Cli::try_parse_from(["gateway", "run", "--ports=9"]).unwrap_err().to_string();
        assert!(error.contains("--ports") && error.contains("MIN-MAX"), "{error}");
    }
}
