//! Whether the machine was busy with others: the kernel's pressure stall information.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Since when, and how long somebody had waited for a CPU by then.
pub(crate) struct Pressure {
    since: Instant,
    waited: Option<Duration>,
}

impl Pressure {
    pub(crate) fn now() -> Self {
        Self { since: Instant::now(), waited: waited() }
    }

    /// Whether nearly all the time since somebody waited. A kernel that does not tell is taken to
    /// be idle.
    pub(crate) fn is_high_since(&self) -> bool {
        let (Some(before), Some(now)) = (self.waited, waited()) else { return false };
        let share = (now - before).as_secs_f64() / self.since.elapsed().as_secs_f64();
        println!("somebody waited for a CPU for {:.0} % of the time", share * 100.0);
        share > HIGH
    }
}

/// `some avg10=… avg60=… avg300=… total=MICROSECONDS`
fn waited() -> Option<Duration> {
    let text = fs::read_to_string("/proc/pressure/cpu").ok()?;
    let total = text.lines().next()?.rsplit_once("total=")?.1;
    total.parse().ok().map(Duration::from_micros)
}

/// The test's own processes do not wait for each other as much.
const HIGH: f64 = 0.9;
