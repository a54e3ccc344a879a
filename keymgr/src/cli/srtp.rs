//! `keymgr srtp` on the command line.

use clap::{Args, Subcommand};

/// `keymgr srtp`.
#[derive(Debug, Subcommand)]
pub(crate) enum Srtp {
    /// SRTP legs: keyed by SDES or DTLS, profile, which of our keys is in use where the party knows
    /// several, age, packets under the key, ICE and DTLS, and why those failed.
    List(Legs),
    /// New keys for legs: at once where their parties know others of ours by MKI, else by the next offer
    /// to them.
    ///
    /// A relay cannot make offers: other legs are marked, each with the event srtp.rekey_due, which
    /// names the call to whoever drives the gateway. The old keys go on until the new ones are in use, so
    /// that no packet is lost. Exit code 5 where that is not possible for some leg.
    Rekey(Rekey),
}

/// `keymgr srtp list`.
#[derive(Debug, Args)]
pub(crate) struct Legs {
    /// Only this call's.
    #[arg(long, value_name = "CALL-ID")]
    pub(crate) call: Option<String>,
    /// Only those that are marked for new keys.
    #[arg(long)]
    pub(crate) due: bool,
}

/// `keymgr srtp rekey`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
pub(crate) struct Rekey {
    /// Every leg of this call.
    #[arg(long, group = "whose", value_name = "CALL-ID")]
    pub(crate) call: Option<String>,
    /// Only the leg of the party of this tag.
    #[arg(long, requires = "call", conflicts_with = "all", value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Every leg of every call.
    #[arg(long, group = "whose")]
    pub(crate) all: bool,
    /// Only legs whose keys are at least so old.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) older_than: u64,
    /// Tell which legs it would be, and how; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
