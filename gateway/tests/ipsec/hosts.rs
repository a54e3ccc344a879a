//! Two hosts: network namespaces `left` and `right`, joined by a veth pair.
//!
//! What lies behind a host's gateway is a set of addresses on its loopback device.

use std::{
    fs::File,
    io::Write,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Left, Self::Right];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// Of the gateway, its certificate and its peer entry; the lower name wins.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }

    /// On the wire.
    pub(crate) fn outer(self) -> &'static str {
        match self {
            Self::Left => "192.0.2.1",
            Self::Right => "192.0.2.2",
        }
    }

    /// What pair `index` protects on this side, and an address of it.
    pub(crate) fn inner(self, index: usize) -> (String, String) {
        let (high, low) = (index / 250, index % 250);
        let net = match self {
            Self::Left => 100 + high,
            Self::Right => 200 + high,
        };
        (format!("10.{net}.{low}.0/24"), format!("10.{net}.{low}.1"))
    }
}

/// Both namespaces; gone when dropped.
pub(crate) struct Hosts {
    id: String,
}

impl Hosts {
    pub(crate) fn new(pairs: usize) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let hosts = Self { id: format!("{}-{count}", std::process::id()) };
        let [left, right] = Side::BOTH.map(|side| hosts.namespace(side));
        ip_all(&[], &format!("netns add {left}\nnetns add {right}\n"))?;
        hosts.ip(Side::Left, &format!("link add wire type veth peer name wire netns {right}"))?;
        for side in Side::BOTH {
            // One packet at a time on the wire, so that it can be counted there.
            let wire = "link set wire gso_max_segs 1 up";
            let mut lines = format!("address add {}/24 dev wire\n{wire}\n", side.outer());
            lines += "link set lo up\n";
            for index in 0..pairs {
                lines += &format!("address add {}/32 dev lo\n", side.inner(index).1);
            }
            hosts.ip_all(side, &lines)?;
        }
        Ok(hosts)
    }

    pub(crate) fn namespace(&self, side: Side) -> String {
        format!("postern-{}-{}", side.name(), self.id)
    }

    /// Runs `ip` with arguments separated by blanks.
    pub(crate) fn ip(&self, side: Side, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.namespace(side)))
    }

    /// Runs `ip` once for all of the lines.
    pub(crate) fn ip_all(&self, side: Side, lines: &str) -> Result<()> {
        ip_all(&["-n", &self.namespace(side)], lines)
    }

    /// A thread that runs on one host: the sockets that it makes are there.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        side: Side,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let path = format!("/run/netns/{}", self.namespace(side));
        let namespace = File::open(&path).with_context(|| path)?;
        Ok(thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        }))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for side in Side::BOTH {
            // One that was never made needs no removal.
            let _ = Command::new("ip")
                .args(["netns", "delete", &self.namespace(side)])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status()?;
    ensure!(status.success(), "ip {arguments} failed");
    Ok(())
}

fn ip_all(options: &[&str], lines: &str) -> Result<()> {
    let mut ip =
        Command::new("ip").args(options).args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    ip.stdin.take().context("no pipe")?.write_all(lines.as_bytes())?;
    ensure!(ip.wait()?.success(), "ip {options:?} failed: {lines}");
    Ok(())
}
