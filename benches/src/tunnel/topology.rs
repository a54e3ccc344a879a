//! The hosts: `left` and `right`, joined by a veth pair of 1,500 bytes.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

/// One end of a tunnel: a network namespace with an address on the wire and one inside.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its namespace.
    pub namespace: String,
    /// On the wire.
    pub outer: &'static str,
    /// Behind the tunnel; the prefix is /24.
    pub inner: &'static str,
    /// What lies behind it.
    pub network: &'static str,
}

impl Host {
    /// A command that runs in the namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// Runs `ip` with arguments separated by blanks, in the namespace.
    ///
    /// # Errors
    /// When it fails; it has said why.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.namespace))
    }

    /// A counter of one of its devices.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn counter(&self, device: &str, counter: &str) -> Result<u64> {
        let path = format!("/sys/class/net/{device}/statistics/{counter}");
        let output = self.command("cat").arg(&path).output()?;
        ensure!(output.status.success(), "{device} of {} has no {counter}", self.namespace);
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    }
}

/// Both hosts; gone when dropped.
pub struct Topology {
    /// Sends.
    pub left: Host,
    /// Receives.
    pub right: Host,
}

impl Topology {
    /// Makes both namespaces and joins them.
    ///
    /// # Errors
    /// Without root or iproute2.
    pub fn new() -> Result<Self> {
        let host = |side: &str, outer, inner, network| Host {
            namespace: format!("postern-{side}-{}", std::process::id()),
            outer,
            inner,
            network,
        };
        let topology = Self {
            left: host("left", "192.0.2.1", "10.71.1.1", "10.71.1.0/24"),
            right: host("right", "192.0.2.2", "10.71.2.1", "10.71.2.0/24"),
        };
        let (left, right) = (&topology.left, &topology.right);
        ip(&format!("netns add {}", left.namespace))?;
        ip(&format!("netns add {}", right.namespace))?;
        left.ip(&format!("link add wire type veth peer name wire netns {}", right.namespace))?;
        for host in [left, right] {
            host.ip(&format!("address add {}/24 dev wire", host.outer))?;
            host.ip("link set wire up")?;
            host.ip("link set lo up")?;
            host.ip(&format!("address add {}/32 dev lo", host.inner))?;
        }
        Ok(topology)
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for host in [&self.left, &self.right] {
            // One that was never made needs no removal.
            let _ = Command::new("ip")
                .args(["netns", "delete", &host.namespace])
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
