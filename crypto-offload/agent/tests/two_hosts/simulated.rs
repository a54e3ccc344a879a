//! A netdevsim device in one of the hosts, called `sim0`.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use super::{
    ground::ip_says,
    hosts::{Hosts, Side},
};

/// Gone when dropped.
pub(crate) struct Device(());

impl Device {
    /// `None`, said, on kernels without it.
    pub(crate) fn new(test: &str, hosts: &Hosts, side: Side) -> Result<Option<Self>> {
        if !Self::is_known(test) {
            return Ok(None);
        }
        // The device belongs to the namespace of the thread that asks for it.
        let made = hosts.spawn(side, move || Ok(fs::write(BUS, format!("{ID} 1"))?))?;
        made.join().map_err(|_| anyhow::anyhow!("panic"))?.context("a netdevsim device")?;
        let device = Self(());
        let links = ip_says(hosts, side, "-o link")?;
        let names = links.lines().filter_map(|line| line.split(": ").nth(1));
        let new = names.map(|name| name.split('@').next().unwrap_or(name));
        let new = new.filter(|name| !["lo", "wire"].contains(name)).collect::<Vec<_>>();
        ensure!(new.len() == 1, "which is the new device? {links}");
        hosts.ip(side, &format!("link set {} name sim0", new[0]))?;
        hosts.ip(side, "link set sim0 up")?;
        Ok(Some(device))
    }

    /// Whether the kernel has such devices; says where it has none.
    pub(crate) fn is_known(test: &str) -> bool {
        let is_known = fs::metadata(BUS).is_ok();
        if !is_known {
            println!("SKIPPED vm_netdevsim: {test}: this kernel has no such device");
        }
        is_known
    }

    /// SAs in its table.
    pub(crate) fn sas(&self) -> Result<usize> {
        let table = format!("/sys/kernel/debug/netdevsim/netdevsim{ID}/ports/0/ipsec");
        let table = fs::read_to_string(&table).context(table)?;
        let count = table.split("SA count=").nth(1).and_then(|rest| rest.split_whitespace().next());
        Ok(count.context("no count")?.parse()?)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let delete = format!("echo {ID} >/sys/bus/netdevsim/del_device");
        let _ = Command::new("sh").args(["-c", &delete]).status();
    }
}

const BUS: &str = "/sys/bus/netdevsim/new_device";
const ID: u32 = 21;
