//! What a process has cost so far, from /proc: CPU time, resident memory, kernel memory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Nanoseconds on a CPU of every thread of `pid` (io_uring's workers are threads of it too):
/// the first field of each `/proc/<pid>/task/*/schedstat`.
pub fn cpu_ns(pid: u32) -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the relay has gone")? {
        let Ok(stat) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let first = stat.split(' ').next().unwrap_or_default();
        total += first.parse::<u64>().with_context(|| format!("schedstat says {stat:?}"))?;
    }
    Ok(total)
}

/// CPU time of this process, threads that have ended included: user and system ticks of
/// `/proc/self/stat`, 10 ms each (USER_HZ is 100 on every architecture that Rust supports).
pub fn own_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").context("reading our own CPU time")?;
    // The name, field 2, may hold blanks; what follows its last parenthesis starts at field 3.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}

/// Resident memory of `pid` in KiB (`VmRSS`).
pub fn resident_kib(pid: u32) -> Result<u64> {
    field_kib(Path::new(&format!("/proc/{pid}/status")), "VmRSS:")
}

/// The kernel's slab memory in KiB, machine-wide: sockets and io_uring requests live there.
pub fn slab_kib() -> Result<u64> {
    field_kib(Path::new("/proc/meminfo"), "Slab:")
}

fn field_kib(file: &Path, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    let value = value.with_context(|| format!("{} has no {name}", file.display()))?;
    Ok(value.parse()?)
}

/// What a process keeps in memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Pages shared with others counted in part.
    pub pss_kib: u64,
    /// Pages shared with others counted whole.
    pub rss_kib: u64,
}

/// From `/proc/<pid>/smaps_rollup`, which is exact where `VmRSS` is batched per thread.
pub fn memory(pid: u32) -> Result<Memory> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let field = |name| field_kib(Path::new(&file), name);
    Ok(Memory { pss_kib: field("Pss:")?, rss_kib: field("Rss:")? })
}

/// What the queues of all TCP sockets hold, in KiB, machine-wide: the pages that
/// `/proc/net/sockstat` tells.
pub fn tcp_kib() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").context("reading /proc/net/sockstat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"));
    let pages = line.and_then(|line| line.rsplit(' ').next());
    let pages: u64 = pages.context("/proc/net/sockstat has no TCP line")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64 / 1024)
}
