//! The numbers behind `/metrics`: what rotations came to, and a census of the SAs as the schedule
//! last saw them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crypto_offload::{Direction, Placement};
use gateway_control::{Event, EventKind, PairStatus};

use super::traffic::{Row, Traffic};

/// Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    figures: Figures,
    traffic: Traffic,
}

/// What a page of metrics is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rotated: u64,
    pub(crate) failed: u64,
    /// Of both, added up.
    pub(crate) seconds: f64,
    /// Packets lost in rotations, where that is known.
    pub(crate) lost: u64,
    /// By class of reason.
    pub(crate) fallbacks: BTreeMap<&'static str, u64>,
    pub(crate) census: Census,
    /// What pairs have carried.
    pub(crate) traffic: Vec<Row>,
    /// Engine, name and value.
    pub(crate) statistics: Vec<(String, String, u64)>,
    /// Whether the agent answers.
    pub(crate) agent_up: bool,
}

/// The SAs that there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Census {
    /// By placement and direction.
    pub(crate) sas: BTreeMap<(Placement, &'static str), u64>,
    /// Of the active SA that is nearest to its soft limit of time.
    pub(crate) seconds_to_soft: Option<f64>,
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Rotated,
    Failed,
}

impl Tally {
    pub(crate) fn ended(&self, how: Ended, took: Duration) {
        self.with(|figures| {
            match how {
                Ended::Rotated => figures.rotated += 1,
                Ended::Failed => figures.failed += 1,
            }
            figures.seconds += took.as_secs_f64();
        });
    }

    pub(crate) fn lost(&self, packets: u64) {
        self.with(|figures| figures.lost += packets);
    }

    /// An event of the agent's.
    pub(crate) fn happened(&self, event: &Event) {
        if event.kind == EventKind::PlacementFallback {
            self.with(|figures| *figures.fallbacks.entry(class(&event.reason)).or_default() += 1);
        }
    }

    /// The pairs as they were just now.
    pub(crate) fn counted(&self, pairs: &[PairStatus]) {
        let census = Census::of(pairs);
        let mut kept = self.kept();
        kept.figures.census = census;
        kept.traffic.looked_at(pairs);
    }

    pub(crate) fn figures(&self) -> Figures {
        let kept = self.kept();
        Figures { traffic: kept.traffic.rows(), ..kept.figures.clone() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Figures) -> T) -> T {
        act(&mut self.kept().figures)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Census {
    pub(crate) fn of(pairs: &[PairStatus]) -> Self {
        let mut census = Self::default();
        for status in pairs {
            for epoch in &status.epochs {
                let active = status.active == Some(epoch.epoch);
                let sas =
                    [(Direction::Inbound, &epoch.inbound), (Direction::Outbound, &epoch.outbound)];
                for (direction, sa) in sas {
                    let Some(sa) = sa else { continue };
                    let place = (sa.placement.effective, direction_name(direction));
                    *census.sas.entry(place).or_default() += 1;
                    if let (true, Some(left)) = (active, sa.seconds_to_soft) {
                        let least = census.seconds_to_soft.map_or(left, |least| least.min(left));
                        census.seconds_to_soft = Some(least);
                    }
                }
            }
        }
        census
    }
}

pub(super) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "in",
        Direction::Outbound => "out",
    }
}

/// Reasons are free text; a label must not be.
fn class(reason: &str) -> &'static str {
    let reason = reason.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if has(&["enospc", "enomem", "no space", "exhausted", "table full"]) {
        "exhausted"
    } else if has(&["ebusy", "eagain", "busy"]) {
        "busy"
    } else if has(&["enodev", "link", "device"]) {
        "device"
    } else if has(&UNSUPPORTED) {
        "unsupported"
    } else {
        "other"
    }
}

/// By errno's name, by its words, and by those of kernels without ESP.
const UNSUPPORTED: [&str; 8] = [
    "eopnotsupp",
    "einval",
    "enoent",
    "unsupported",
    "not supported",
    "not implemented",
    "not found",
    "cannot",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_text_falls_into_few_classes() {
        for (reason, expected) in [
            ("ENOSPC: No space left on device", "exhausted"),
            ("EOPNOTSUPP: Operation not supported", "unsupported"),
            ("link of eth0 is down", "device"),
            ("EBUSY", "busy"),
            (
                "Function not implemented (os error 38): Requested AEAD algorithm not found",
                "unsupported",
            ),
            ("read back as software", "other"),
        ] {
            assert_eq!(class(reason), expected, "{reason}");
        }
    }
}
