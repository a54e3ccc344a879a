//! What makes a run's numbers worth less than they look: other programs on the machine, a load
//! that was late, a terminator whose core was not full when its rate was taken.
//!
//! Nothing is thrown away because of a doubt. It stands in the results, beside the numbers.

use std::fs;

use anyhow::{Context, Result};

use super::Sample;
use super::handshakes::Kind;
use crate::report::Spread;
use crate::tls::terminator::Terminator;

/// Watches what the machine does beside us.
pub(super) struct Watch {
    since: Ticks,
}

/// Of all cores and of ours, in units of a hundredth of a second (USER_HZ).
#[derive(Clone, Copy)]
struct Ticks {
    /// On one core, idle or not.
    elapsed: f64,
    busy: f64,
    own: f64,
}

impl Watch {
    /// From now on.
    pub(super) fn begin() -> Result<Self> {
        Ok(Self { since: Ticks::now()? })
    }

    /// How many cores' worth others used, stolen time included.
    pub(super) fn others(&self) -> Result<f64> {
        Ok(Ticks::now()?.others_since(self.since))
    }
}

impl Ticks {
    fn others_since(self, before: Self) -> f64 {
        let others = (self.busy - before.busy) - (self.own - before.own);
        (others / (self.elapsed - before.elapsed)).max(0.0)
    }

    fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let cores = stat.lines().filter(|line| line.starts_with("cpu")).count() - 1;
        let all = stat.lines().next().unwrap_or_default();
        let fields: Vec<f64> = numbers(all).collect();
        let [user, nice, system, idle, waiting, hard, soft, stolen, ..] = *fields else {
            anyhow::bail!("/proc/stat says {all:?}");
        };
        let busy = user + nice + system + hard + soft + stolen;
        let own = fs::read_to_string("/proc/self/stat").context("reading our own CPU time")?;
        // utime, stime, and those of children that have ended: fields 14 to 17, where what follows
        // the name's last parenthesis begins with field 3.
        let own = numbers(own.rsplit(')').next().unwrap_or_default()).skip(10).take(4).sum();
        Ok(Self { elapsed: (busy + idle + waiting) / cores as f64, busy, own })
    }
}

fn numbers(line: &str) -> impl Iterator<Item = f64> {
    line.split_whitespace().filter_map(|word| word.parse().ok())
}

/// Everything that is doubtful.
pub(super) fn of(samples: &[Sample], others: f64) -> Vec<String> {
    let mut doubts = Vec::new();
    if others > OTHERS {
        doubts.push(format!("other programs used {others:.2} of a core meanwhile"));
    }
    for terminator in Terminator::ALL {
        for kind in Kind::ALL {
            doubts.extend(not_full(samples, terminator, kind));
        }
        doubts.extend(late(samples, terminator));
    }
    doubts
}

fn not_full(samples: &[Sample], terminator: Terminator, kind: Kind) -> Option<String> {
    let own = samples.iter().filter(|sample| sample.terminator == terminator);
    let figures = own.flat_map(|sample| &sample.handshakes).filter(|figures| figures.kind == kind);
    let (core, load): (Vec<f64>, Vec<f64>) =
        figures.map(|figures| (figures.core_use, figures.load_core_use)).unzip();
    let core = (!core.is_empty()).then(|| Spread::of(core).median)?;
    (core < FULL).then(|| {
        format!(
            "{}, {} handshakes: the rate is not what its core can do, which was {:.0} % busy \
             (the load's {:.0} %)",
            terminator.name(),
            kind.name(),
            100.0 * core,
            100.0 * Spread::of(load).median,
        )
    })
}

fn late(samples: &[Sample], terminator: Terminator) -> Option<String> {
    let own = samples.iter().filter(|sample| sample.terminator == terminator);
    let latencies: Vec<_> = own.filter_map(|sample| sample.latency.as_ref()).collect();
    let is_late = |p99: f64, own: f64| own > LATE * p99;
    let late = latencies
        .iter()
        .filter(|figures| is_late(figures.latency_us.p99, figures.own_lateness_us.p99))
        .count();
    (late > 0).then(|| {
        format!(
            "{}: in {late} of {} rounds the load's own lateness is much of the latency's p99",
            terminator.name(),
            latencies.len(),
        )
    })
}

/// Of a core: some daemon's ticks are no matter.
const OTHERS: f64 = 0.1;
/// Of its core a terminator uses at least this much when it does all it can.
const FULL: f64 = 0.9;
/// The load's share of the 99th percentile from which on it is more the load's than anyone's.
const LATE: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_does_is_not_others_doing() {
        let start = Ticks::now().unwrap();
        // A tenth of a second of CPU time of our own, however busy the machine is.
        let end = loop {
            let now = Ticks::now().unwrap();
            if now.own - start.own >= 10.0 {
                break now;
            }
        };
        let all = (end.busy - start.busy) / (end.elapsed - start.elapsed);
        assert!(end.others_since(start) < all, "ours is left out");
    }
}
