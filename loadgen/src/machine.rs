//! The machine a run was made on.

use std::fs;

use serde::Serialize;

/// Facts without which a latency means little.
#[derive(Serialize)]
pub struct Machine {
    kernel: String,
    cpu: String,
    cores: usize,
    governor: String,
}

impl Machine {
    /// Reads the facts; what the machine does not tell is `unknown`.
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        Self {
            kernel: line_of("/proc/sys/kernel/osrelease"),
            cpu: model.map_or_else(unknown, |rest| rest.trim_matches([':', '\t', ' ']).into()),
            // Not available_parallelism(), which a pinned thread would have as one.
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            governor: line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        }
    }
}

fn line_of(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| unknown(), |text| text.trim().into())
}

fn unknown() -> String {
    "unknown".into()
}
