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

/// Nanoseconds on a CPU of one thread of this process.
pub fn thread_cpu_ns(thread: u32) -> Result<u64> {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    let first = stat.split(' ').next().unwrap_or_default();
    first.parse().with_context(|| format!("schedstat says {stat:?}"))
}

/// What a core did since the machine started, in ticks of 10 ms (USER_HZ).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreTime {
    busy: u64,
    all: u64,
}

impl CoreTime {
    /// Of `core`, by its line of `/proc/stat`.
    pub fn now(core: usize) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        Self::parse(&stat, core).with_context(|| format!("/proc/stat tells nothing of core {core}"))
    }

    /// The part of the time since `before` in which the core was not idle; time that a hypervisor
    /// took counts as busy.
    pub fn busy_since(self, before: Self) -> f64 {
        let (busy, all) = (self.busy - before.busy, self.all - before.all);
        busy as f64 / all.max(1) as f64
    }

    fn parse(stat: &str, core: usize) -> Option<Self> {
        let name = format!("cpu{core} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(name.as_str()))?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user.
        let ticks: Vec<u64> =
            line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let all = ticks.iter().sum();
        let idle: u64 = ticks.get(3..5)?.iter().sum();
        Some(Self { busy: all - idle, all })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 10 0 10 80 0 0 0 0 0 0\n";
    const AFTER: &str = "cpu1 30 10 20 85 5 5 5 20 7 0\ncpu10 1 1 1 1 1 1 1 1 0 0\n";

    #[test]
    fn a_core_is_busy_when_it_is_neither_idle_nor_waiting_for_a_disk() {
        let [before, after] = [BEFORE, AFTER].map(|stat| CoreTime::parse(stat, 1).unwrap());
        assert_eq!((before.busy, before.all), (20, 100));
        assert_eq!((after.busy, after.all), (90, 180));
        assert_eq!(after.busy_since(before), 70.0 / 80.0);
        assert_eq!(CoreTime::parse(BEFORE, 10), None);
    }
}
