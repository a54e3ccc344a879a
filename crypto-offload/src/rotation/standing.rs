//! What an agent lists of one pair, as far as rotations care, and what follows from it.
//!
//! This is all that a gateway knows after a restart, and all that it needs.

use std::collections::BTreeMap;

use super::Start;
use crate::{Epoch, RotationTiming};

/// A pair's epochs, as its agent lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is installed of each epoch.
    pub epochs: BTreeMap<Epoch, Sas>,
    /// The one that outbound traffic uses.
    pub active: Option<Epoch>,
    /// The highest that ever was; 0 before the first.
    pub highest: Epoch,
}

/// Which of an epoch's SAs are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sas {
    /// Prepared; or its outbound SA is retired or undone.
    Inbound,
    /// Its inbound SA is lost or retired.
    Outbound,
    /// Both.
    Both,
}

impl Sas {
    /// From what is there; `None` where nothing is.
    pub fn of<I, O>(inbound: Option<I>, outbound: Option<O>) -> Option<Self> {
        match (inbound, outbound) {
            (Some(_), Some(_)) => Some(Self::Both),
            (Some(_), None) => Some(Self::Inbound),
            (None, Some(_)) => Some(Self::Outbound),
            (None, None) => None,
        }
    }
}

impl Standing {
    /// Whether packets of this epoch can be opened.
    pub fn has_inbound(&self, epoch: Epoch) -> bool {
        matches!(self.epochs.get(&epoch), Some(Sas::Inbound | Sas::Both))
    }

    /// Whether packets can be sent under this epoch.
    pub fn has_outbound(&self, epoch: Epoch) -> bool {
        matches!(self.epochs.get(&epoch), Some(Sas::Outbound | Sas::Both))
    }

    /// Nothing is under way: there is one epoch, whole and in use, or none at all.
    pub fn is_calm(&self) -> bool {
        match self.epochs.first_key_value() {
            None => self.active.is_none(),
            Some((epoch, sas)) => {
                self.epochs.len() == 1 && *sas == Sas::Both && self.active == Some(*epoch)
            }
        }
    }

    /// A rotation that was left before its end, for [`Rotation::resume`](super::Rotation::resume).
    /// `None` where there is none, and where its inbound SA was lost: then only new keys help.
    pub fn unfinished(&self, timing: RotationTiming) -> Option<Start> {
        let (&epoch, _) = self.epochs.last_key_value()?;
        if self.is_calm() || !self.has_inbound(epoch) {
            return None;
        }
        Some(self.start(epoch, timing))
    }

    /// New keys, for [`Rotation::new`](super::Rotation::new): above everything that this side had
    /// and `above`, which is what the peer says that it had. Whatever is left of other epochs is
    /// retired at the end.
    pub fn renewed(&self, above: Epoch, timing: RotationTiming) -> Start {
        let newest = self.epochs.last_key_value().map_or(Epoch(0), |(epoch, _)| *epoch);
        self.start(self.highest.max(newest).max(above).next(), timing)
    }

    fn start(&self, epoch: Epoch, timing: RotationTiming) -> Start {
        let others = self.epochs.keys().copied();
        let older = others.filter(|other| *other != epoch && Some(*other) != self.active);
        Start { epoch, active: self.active, older: older.collect(), timing }
    }
}

impl Default for Standing {
    /// Of a pair without keys.
    fn default() -> Self {
        Self { epochs: BTreeMap::new(), active: None, highest: Epoch(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(epochs: &[(u64, Sas)], active: u64, highest: u64) -> Standing {
        Standing {
            epochs: epochs.iter().map(|(epoch, sas)| (Epoch(*epoch), *sas)).collect(),
            active: Some(Epoch(active)),
            highest: Epoch(highest),
        }
    }

    #[test]
    fn one_whole_epoch_in_use_is_calm_and_half_of_one_is_not() {
        let timing = RotationTiming::default();
        assert_eq!(standing(&[(3, Sas::Both)], 3, 3).unfinished(timing), None);
        assert!(!standing(&[(3, Sas::Inbound)], 3, 3).is_calm());
        assert!(Standing::default().is_calm());
    }

    #[test]
    fn the_newest_epoch_is_resumed_and_the_others_are_retired_with_it() {
        let left = standing(&[(1, Sas::Both), (2, Sas::Inbound), (3, Sas::Inbound)], 1, 3);
        let start = left.unfinished(RotationTiming::default()).expect("something is under way");
        assert_eq!((start.epoch, start.active), (Epoch(3), Some(Epoch(1))));
        assert_eq!(start.older, [Epoch(2)]);
    }

    #[test]
    fn what_cannot_be_opened_any_more_is_not_resumed_but_replaced() {
        let lost = standing(&[(1, Sas::Both), (2, Sas::Outbound)], 1, 2);
        assert_eq!(lost.unfinished(RotationTiming::default()), None);
        let start = lost.renewed(Epoch(4), RotationTiming::default());
        assert_eq!((start.epoch, start.older), (Epoch(5), vec![Epoch(2)]));
    }
}
