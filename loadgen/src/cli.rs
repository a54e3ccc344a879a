//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use srtp::Profile;

/// Sets up calls over ng, sends paced media both ways, and shows the tail of what came through.
///
/// Exit codes: 0 all media arrived; 1 the run could not be made; 2 wrong usage; 3 media was lost
/// or damaged; 4 (`run` only) loadgen itself was the bottleneck, so the result says nothing about
/// the relay.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a gateway with its defaults, run 100 calls for 10 s through it, fail on any loss.
    Demo(Demo),
    /// Run calls through any relay that speaks ng (gateway or rtpengine).
    Run(Run),
    /// Print a shell completion script.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// `loadgen demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// The gateway binary [default: `gateway` beside this one].
    #[arg(long, value_name = "FILE")]
    pub gateway: Option<PathBuf>,
    /// The load.
    #[command(flatten)]
    pub load: Load,
    /// Where results go.
    #[command(flatten)]
    pub output: Output,
}

/// `loadgen run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The relay's ng address.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2223")]
    pub ng: SocketAddr,
    /// The load.
    #[command(flatten)]
    pub load: Load,
    /// Where results go.
    #[command(flatten)]
    pub output: Output,
}

/// The load.
#[derive(Debug, Args)]
pub struct Load {
    /// Concurrent calls; each has a plain leg and an SRTP leg, media both ways.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub calls: u32,
    /// Seconds of media.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub duration: Duration,
    /// SRTP suite of the answering leg.
    #[arg(long, value_name = "SUITE", default_value = "AES_CM_128_HMAC_SHA1_80", value_parser = profile)]
    pub profile: Profile,
    /// Our own address, which the SDP names.
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub listen: IpAddr,
}

/// Where results go.
#[derive(Debug, Args)]
pub struct Output {
    /// Write the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write latency distributions as PREFIX-rtp-to-srtp.hgrm and PREFIX-srtp-to-rtp.hgrm.
    #[arg(long, value_name = "PREFIX")]
    pub hgrm: Option<PathBuf>,
    /// No progress bar and no table.
    #[arg(long, short)]
    pub quiet: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected seconds between 0.1 and 86400, as in 10 or 0.5s".into()),
    }
}

fn profile(text: &str) -> Result<Profile, String> {
    let common = |suite: &Profile| Profile::COMMON.contains(suite);
    Profile::from_name(text).filter(common).ok_or_else(|| {
        let known: Vec<&str> = Profile::COMMON.iter().map(|profile| profile.name()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_unknown_suite_names_the_known_ones() {
        let error = profile("AES_CM_128").unwrap_err();
        assert!(error.contains("AES_CM_128_HMAC_SHA1_80"), "{error}");
    }

    #[test]
    fn durations_take_seconds_with_or_without_unit_and_nothing_else() {
        assert_eq!(seconds("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("10"), Ok(Duration::from_secs(10)));
        for wrong in ["0", "-1", "ten", "NaN", "inf", "1e9"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
