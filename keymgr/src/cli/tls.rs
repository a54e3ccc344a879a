//! `keymgr tls` on the command line.

use clap::{Args, Subcommand};

/// `keymgr tls`.
#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Listeners: whether they serve, their certificates and upstreams, where connections are and
    /// why.
    ///
    /// Exit code 5 with --check where a listener does not serve, goes by an older certificate than
    /// its files have, or shows one that expires within 14 days.
    List(List),
    /// Read certificates, keys, revocation lists and OCSP answers again. No connection is dropped;
    /// what is broken is refused, listener by listener, and the old stays.
    ///
    /// The configuration file itself is read again by SIGHUP (systemctl reload). Exit code 5 where
    /// a listener refused what it read.
    Reload(Reload),
    /// Seal session tickets with a new key. The old ones still open theirs for tls.ticket_lifetime,
    /// so that clients can resume.
    #[command(name = "rotate-tickets")]
    RotateTickets(RotateTickets),
    /// New keys for connections that are up, at both ends (TLS 1.3 KeyUpdate).
    #[command(name = "keyupdate")]
    KeyUpdate(KeyUpdate),
}

/// `keymgr tls list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Each connection, too.
    #[arg(long)]
    pub(crate) connections: bool,
    /// Only this listener.
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// Fail where something needs somebody, for monitoring.
    #[arg(long)]
    pub(crate) check: bool,
}

/// `keymgr tls reload`.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    /// Only this listener's.
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// Read and check them; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `keymgr tls rotate-tickets`.
#[derive(Debug, Args)]
pub(crate) struct RotateTickets {
    /// Tell which listeners have ticket keys; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `keymgr tls keyupdate`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
pub(crate) struct KeyUpdate {
    /// Every connection of this listener.
    #[arg(long, group = "whose", value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// This connection, by its number in `keymgr tls list --connections`.
    #[arg(long, group = "whose", value_name = "ID")]
    pub(crate) connection: Option<u64>,
    /// Every connection.
    #[arg(long, group = "whose")]
    pub(crate) all: bool,
    /// Tell how many it would be; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
