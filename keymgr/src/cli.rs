//! The command line.

mod srtp;
mod tls;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use crypto_offload::{Aead, Mode, PairEncapsulation, PairName, Placement};
use ipnet::IpNet;

pub(crate) use srtp::{Legs, Rekey, Srtp};
pub(crate) use tls::{KeyUpdate, List, Reload, Tls};

/// Adds, shows and rotates the keys of a gateway, over its admin API.
///
/// Keys never appear on the command line or in the environment: they come from the kernel's random
/// numbers, from a file that only its owner can read, or from standard input.
///
/// Exit codes: 0 done; 1 it could not be done (the message says what stands now); 2 wrong usage;
/// 3 the gateway refused it; 4 the gateway cannot be reached; 5 some rotations failed and were
/// undone, or some TLS listeners refused what they read.
#[derive(Debug, Parser)]
#[command(name = "keymgr", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Which gateway, and how to show what it says.
    #[command(flatten)]
    pub(crate) gateway: Gateway,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which gateway, and how to show what it says.
#[derive(Debug, Args)]
pub(crate) struct Gateway {
    /// The gateway's admin API: a Unix socket, or https://HOST:PORT for one elsewhere [default:
    /// gateway.sock in /run/postern or $XDG_RUNTIME_DIR].
    #[arg(long, global = true, value_name = "PATH|URL")]
    pub(crate) admin: Option<String>,
    /// With https: our certificate chain, in PEM.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// With https: its private key, in PEM, readable by its owner alone.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// With https: the authority that the gateway's certificate is from, in PEM.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Print JSON: the admin API's own documents, one a line where there are several.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// IPsec SAs: pairs of one SA each way, named by people, rotated without losing a packet.
    #[command(subcommand)]
    Sa(Sa),
    /// SRTP legs of calls: how they are keyed, and new keys, by MKI or by the next offer.
    #[command(subcommand)]
    Srtp(Srtp),
    /// TLS listeners: certificates, session tickets, keys of connections, and where those are.
    #[command(subcommand)]
    Tls(Tls),
    /// What the gateway's engines can do, each line with its evidence.
    Probe {
        /// Ask the engines again, with throwaway SAs, instead of showing what was last found out.
        #[arg(long)]
        again: bool,
    },
    /// Print a shell completion script.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// `keymgr sa`.
#[derive(Debug, Subcommand)]
pub(crate) enum Sa {
    /// Define a pair; with a peer or with keys, install its first SAs.
    Add(Box<Add>),
    /// All pairs: where their SAs are and why, age, use, time to the soft limit.
    List {
        /// SAs of the kernel that are not ours, too.
        #[arg(long)]
        foreign: bool,
        /// Only the pairs of this group.
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
    /// All that is known of one pair.
    Show {
        /// The pair.
        name: PairName,
    },
    /// New keys for a pair, a group or all, without losing a packet.
    Rotate(Rotate),
    /// Remove a pair with its SAs. Its traffic is no longer protected, nor sent.
    Remove {
        /// The pair.
        name: PairName,
        /// Show what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
    /// Print events as they happen, until interrupted.
    Watch {
        /// Begin with those that are kept.
        #[arg(long)]
        past: bool,
    },
    /// Where a pair's SAs would go, and why not elsewhere, without installing any.
    Plan(Plan),
    /// The last rotations: who, when, which SPIs, packets lost.
    Log {
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// This gateway's public key for exchange files.
    Identity,
    /// Prepare a rotation of a pair without a peer gateway, and seal our half to the peer.
    Export(Export),
    /// Take the peer's half, and go over to the new keys.
    Import {
        /// The pair.
        name: PairName,
        /// The peer's file; `-` is standard input.
        file: PathBuf,
        /// The peer's public key, from its `keymgr sa identity`.
        #[arg(long, value_name = "PUBLIC-KEY")]
        from: String,
    },
}

/// `keymgr sa export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The pair.
    pub(crate) name: PairName,
    /// The peer's public key, from its `keymgr sa identity`.
    #[arg(long, value_name = "PUBLIC-KEY")]
    pub(crate) to: String,
    /// Where to write it [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// New keys also where nothing has come yet under the last ones, as in an idle pair.
    #[arg(long)]
    pub(crate) new: bool,
}

/// `keymgr sa rotate`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(crate) struct Rotate {
    /// This pair.
    #[arg(group = "which")]
    pub(crate) name: Option<PairName>,
    /// Every pair of this group.
    #[arg(long, group = "which", value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// Every pair.
    #[arg(long, group = "which")]
    pub(crate) all: bool,
    /// Print the steps, and how each is undone; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `keymgr sa plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// A pair that the gateway has.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub(crate) name: Option<PairName>,
    /// A pair that it has not, in JSON, as `keymgr sa show --json` has it under "pair"; `-` is
    /// standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// `keymgr sa add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The same at both gateways: letters, digits, '.', '_' and '-'.
    #[arg(required_unless_present = "file")]
    pub(crate) name: Option<PairName>,
    /// Read the pair from a file instead, in JSON, as `keymgr sa show --json` has it under "pair";
    /// `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["local", "remote", "local_net", "remote_net", "name"])]
    pub(crate) file: Option<PathBuf>,
    /// Our outer address.
    #[arg(long, value_name = "ADDR", required_unless_present = "file")]
    pub(crate) local: Option<IpAddr>,
    /// The peer's outer address.
    #[arg(long, value_name = "ADDR", required_unless_present = "file")]
    pub(crate) remote: Option<IpAddr>,
    /// Inner addresses on our side [default: the outer address].
    #[arg(long, value_name = "PREFIX")]
    pub(crate) local_net: Option<IpNet>,
    /// Inner addresses on the peer's side [default: the outer address].
    #[arg(long, value_name = "PREFIX")]
    pub(crate) remote_net: Option<IpNet>,
    /// The [[ipsec.peer]] that has the other end.
    #[arg(long, value_name = "NAME", conflicts_with = "keys")]
    pub(crate) peer: Option<String>,
    /// Without a peer: the first keys, from a file that only its owner can read, or `-`.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// Pairs of one group are rotated together.
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// What ESP wraps.
    #[arg(long, value_enum, default_value_t = ModeChoice::Tunnel)]
    pub(crate) mode: ModeChoice,
    /// aes-128-gcm, aes-256-gcm or chacha20-poly1305.
    #[arg(long, value_name = "AEAD", default_value = "aes-256-gcm", value_parser = aead)]
    pub(crate) aead: Aead,
    /// Where the SAs may be, best first: inline-packet, inline-crypto, kernel-software, user-space.
    #[arg(long, value_name = "PLACEMENT,…", value_delimiter = ',', value_parser = placement)]
    pub(crate) prefer: Vec<Placement>,
    /// This place or none.
    #[arg(long, value_name = "PLACEMENT", conflicts_with = "prefer", value_parser = placement)]
    pub(crate) require: Option<Placement>,
    /// The device that faces the peer, for inline placements.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Packets that may come late.
    #[arg(long, value_name = "PACKETS", default_value_t = 256)]
    pub(crate) replay_window: u32,
    /// 32-bit sequence numbers, for peers without ESN.
    #[arg(long)]
    pub(crate) no_esn: bool,
    /// ESP in UDP: our port and the peer's, 4500:4500 by custom.
    #[arg(long, value_name = "LOCAL:REMOTE", value_parser = encapsulation)]
    pub(crate) udp: Option<PairEncapsulation>,
    /// Rotate after this time.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) soft_seconds: Option<u64>,
    /// Refuse packets after this time.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) hard_seconds: Option<u64>,
    /// Keep old inbound SAs for so long.
    #[arg(long, value_name = "MILLISECONDS", value_parser = milliseconds)]
    pub(crate) overlap: Option<Duration>,
    /// Show where the SAs would go; add nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// [`Mode`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeChoice {
    /// The whole packet, in a new one between the gateways.
    Tunnel,
    /// The packet's payload.
    Transport,
}

impl From<ModeChoice> for Mode {
    fn from(choice: ModeChoice) -> Self {
        match choice {
            ModeChoice::Tunnel => Self::Tunnel,
            ModeChoice::Transport => Self::Transport,
        }
    }
}

fn aead(name: &str) -> Result<Aead, String> {
    let known = Aead::ALL.into_iter().find(|aead| aead.name() == name);
    known.ok_or_else(|| format!("use one of {}", Aead::ALL.map(Aead::name).join(", ")))
}

fn placement(name: &str) -> Result<Placement, String> {
    let known = Placement::ALL.into_iter().find(|placement| placement.name() == name);
    known.ok_or_else(|| format!("use one of {}", Placement::ALL.map(Placement::name).join(", ")))
}

fn encapsulation(text: &str) -> Result<PairEncapsulation, String> {
    let ports = text.split_once(':').and_then(|(local, remote)| {
        Some(PairEncapsulation {
            local_port: local.parse().ok()?,
            remote_port: remote.parse().ok()?,
        })
    });
    ports.ok_or_else(|| "use LOCAL:REMOTE, two port numbers, such as 4500:4500".to_owned())
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|_| "use a number of milliseconds".to_owned())
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
    fn a_key_cannot_be_given_on_the_command_line() {
        let parsed = Cli::try_parse_from(["keymgr", "sa", "add", "x", "--inbound-key", "00"]);
        assert!(parsed.is_err());
    }

    #[test]
    fn rotate_wants_to_know_what() {
        assert!(Cli::try_parse_from(["keymgr", "sa", "rotate"]).is_err());
        assert!(Cli::try_parse_from(["keymgr", "sa", "rotate", "a", "--all"]).is_err());
        assert!(Cli::try_parse_from(["keymgr", "sa", "rotate", "--group", "g"]).is_ok());
    }
}
