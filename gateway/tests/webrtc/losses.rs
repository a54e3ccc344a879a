//! Where the kernel lost datagrams: a packet that is missed was not always the relay's to lose.

use std::fs;

use anyhow::{Context, Result};

use crate::abroad::Abroad;

/// Datagrams that the kernel dropped so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Between the ends of the wire: all CPUs' backlog queues, of the whole machine.
    wire: u64,
    /// Sockets' receive queues here: the relay's and the far ends'.
    here: u64,
    /// The same of the peers.
    there: u64,
}

impl Losses {
    /// So far.
    pub(crate) fn of(abroad: &Abroad) -> Result<Self> {
        Ok(Self { wire: backlog()?, here: full_sockets()?, there: abroad.run(full_sockets)? })
    }

    /// Since then.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            wire: self.wire - before.wire,
            here: self.here - before.here,
            there: self.there - before.there,
        }
    }
}

/// The second column, in hexadecimal: packets that found the queue full.
fn backlog() -> Result<u64> {
    let table = fs::read_to_string("/proc/net/softnet_stat")?;
    let columns = table.lines().map(|line| line.split_whitespace().nth(1).context("a column"));
    columns.map(|column| Ok(u64::from_str_radix(column?, 16)?)).sum()
}

/// `RcvbufErrors` of this thread's namespace: a line of names, a line of values.
fn full_sockets() -> Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(name, _)| *name == "RcvbufErrors").context("no RcvbufErrors")?;
    Ok(value.parse()?)
}
