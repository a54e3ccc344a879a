//! When which leg wants to be looked at: one deadline for each leg, so no more of them than legs.

use std::collections::BTreeSet;
use std::time::Instant;

use super::leg::LegKey;

/// Deadlines, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, LegKey)>);

impl Timers {
    /// Puts a leg's `next` deadline in the place of the one `before`.
    pub(super) fn set(&mut self, leg: LegKey, before: &mut Option<Instant>, next: Option<Instant>) {
        if *before == next {
            return;
        }
        if let Some(old) = before.take() {
            self.0.remove(&(old, leg));
        }
        if let Some(new) = next {
            self.0.insert((new, leg));
        }
        *before = next;
    }

    /// The leg that is due longest, which has no deadline from now on.
    pub(super) fn due(&mut self, now: Instant) -> Option<LegKey> {
        let (deadline, leg) = *self.0.first()?;
        if deadline > now {
            return None;
        }
        self.0.pop_first();
        Some(leg)
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(deadline, _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::relay::command::{CallKey, StreamIndex};

    #[test]
    fn a_leg_has_one_deadline_however_often_it_changes() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let leg = |call| LegKey::new(CallKey(call), StreamIndex(0));
        let mut timers = Timers::default();
        let (mut one, mut two) = (None, None);
        for round in [5, 9, 3] {
            timers.set(leg(1), &mut one, Some(start + second * round));
        }
        timers.set(leg(2), &mut two, Some(start + second * 4));
        assert_eq!(timers.0.len(), 2);
        assert_eq!(timers.due(start + second * 2), None);
        assert_eq!(timers.due(start + second * 9), Some(leg(1)));
        assert_eq!(timers.next(), Some(start + second * 4));
        timers.set(leg(2), &mut two, None);
        assert_eq!((timers.next(), timers.due(start + second * 9)), (None, None));
    }
}
