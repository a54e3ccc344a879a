//! When each packet of each flow is due.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A fixed set of flows, each one packet every `ptime`, their phases spread evenly over it.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Start of the first period, nanoseconds of CLOCK_REALTIME.
    start_ns: u64,
    ptime_ns: u64,
    flows: u32,
    /// Packets per flow.
    pub packets: u32,
}

impl Schedule {
    /// `flows` flows for `length`, one packet every `ptime`, starting `lead` from now.
    pub fn starting_in(lead: Duration, flows: u32, ptime: Duration, length: Duration) -> Self {
        Self {
            start_ns: realtime_ns() + lead.as_nanos() as u64,
            ptime_ns: ptime.as_nanos() as u64,
            flows,
            packets: (length.as_nanos() / ptime.as_nanos()) as u32,
        }
    }

    /// When packet `number` of `flow` is due, nanoseconds of CLOCK_REALTIME.
    pub fn due_ns(&self, flow: u32, number: u32) -> u64 {
        let slot = u64::from(flow) * self.ptime_ns / u64::from(self.flows);
        self.start_ns + u64::from(number) * self.ptime_ns + slot
    }

    /// Packets of all flows together.
    pub fn total(&self) -> u64 {
        u64::from(self.packets) * u64::from(self.flows)
    }

    /// How far the clock has come, for a progress bar: 0.0 to 1.0.
    pub fn fraction(&self) -> f64 {
        let length = u64::from(self.packets) * self.ptime_ns;
        (realtime_ns().saturating_sub(self.start_ns) as f64 / length as f64).min(1.0)
    }
}

/// Now, nanoseconds of CLOCK_REALTIME: the clock of the kernel's receive timestamps.
pub(super) fn realtime_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_spread_over_one_period_and_repeat_every_period() {
        let ptime = Duration::from_millis(20);
        let schedule = Schedule::starting_in(Duration::ZERO, 200, ptime, Duration::from_secs(10));
        assert_eq!(schedule.packets, 500);
        assert_eq!(schedule.total(), 100_000);
        let first = schedule.due_ns(0, 0);
        assert_eq!(schedule.due_ns(199, 0) - first, 19_900_000);
        assert_eq!(schedule.due_ns(0, 3) - first, 60_000_000);
    }
}
