//! What this machine and process allow: port ranges, descriptors, CPU. Read once, judged by
//! [`crate::check`] and shown by [`crate::probe`]; what cannot be read is `None`, not an error.

use std::fs;
use std::io;

use crate::config::PortRange;
use crate::sys::{self, Resource, ResourceLimit};

/// Facts that a configuration is held against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Ports that the kernel gives to sockets which ask for none (ip_local_port_range).
    pub(crate) ephemeral: Option<PortRange>,
    /// Ports of that range that it leaves alone (ip_local_reserved_ports).
    pub(crate) reserved: Vec<PortRange>,
    /// Most descriptors of this process, once raised to the hard limit.
    pub(crate) files: Option<u64>,
    /// Most bytes that SO_RCVBUF takes (net.core.rmem_max).
    pub(crate) receive_buffer: Option<u64>,
    /// Its network devices.
    pub(crate) devices: Option<Vec<String>>,
}

impl Machine {
    pub(crate) fn read() -> Self {
        Self {
            ephemeral: sysctl("net/ipv4/ip_local_port_range").and_then(|text| ephemeral(&text)),
            reserved: sysctl("net/ipv4/ip_local_reserved_ports")
                .map(|text| reserved(&text))
                .unwrap_or_default(),
            files: sys::resource_limit(Resource::Files).ok().map(|limit| limit.hard),
            receive_buffer: sysctl("net/core/rmem_max").and_then(|text| text.parse().ok()),
            // Of our network namespace, which /sys need not be of.
            devices: fs::read_to_string("/proc/self/net/dev").ok().map(|text| devices(&text)),
        }
    }
}

/// Raises the descriptor limit as far as an unprivileged process may: every call holds four.
pub(crate) fn raise_file_limit() -> io::Result<u64> {
    let ResourceLimit { soft, hard } = sys::resource_limit(Resource::Files)?;
    if soft < hard {
        sys::set_resource_limit(Resource::Files, ResourceLimit { soft: hard, hard })?;
    }
    Ok(hard)
}

/// No core file and no ptrace by our own user: both would show keys.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    let hard = sys::resource_limit(Resource::Core)?.hard;
    sys::set_resource_limit(Resource::Core, ResourceLimit { soft: 0, hard })?;
    sys::forbid_dumps()
}

/// A value below `/proc/sys`, trimmed.
pub(crate) fn sysctl(name: &str) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().to_owned())
}

fn ephemeral(text: &str) -> Option<PortRange> {
    let (min, max) = text.split_once(char::is_whitespace)?;
    Some(PortRange { min: min.parse().ok()?, max: max.trim().parse().ok()? })
}

/// `  eth0: 1 2 …` below two lines of headings.
fn devices(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
    text.lines().skip(2).filter_map(name).collect()
}

/// `8080,30000-39999`
fn reserved(text: &str) -> Vec<PortRange> {
    let range = |part: &str| {
        let (min, max) = part.split_once('-').unwrap_or((part, part));
        Some(PortRange { min: min.trim().parse().ok()?, max: max.trim().parse().ok()? })
    };
    text.split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_range_and_reservations() {
        assert_eq!(ephemeral("32768\t60999"), Some(PortRange { min: 32768, max: 60999 }));
        assert_eq!(ephemeral(""), None);
        let expected = [PortRange { min: 8080, max: 8080 }, PortRange { min: 30000, max: 39999 }];
        assert_eq!(reserved("8080,30000-39999"), expected);
        assert_eq!(reserved(""), []);
    }
}
