//! The side that is asked.
//!
//! What it answers follows from what its agent has, so that it survives its own restart; kept
//! here is only what has to be done later.

use std::{cmp::Ordering, time::Instant};

use super::Standing;
use crate::{Epoch, RotationTiming};

/// What to do with an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferVerdict {
    /// Prepare this epoch, install outbound from the offer, answer with ours. If we were
    /// initiating the same pair, that is over.
    Take,
    /// Ours goes first.
    Mine,
    /// The epoch is used up.
    Stale {
        /// Our highest.
        highest: Epoch,
    },
}

/// What a pair is doing when an offer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contest {
    /// The offer's.
    pub epoch: Epoch,
    /// The highest that this side ever had.
    pub highest: Epoch,
    /// Whether something of the offer's epoch is installed here, and nothing newer can be sent
    /// under: then the offer comes late, from before a rotation that was undone.
    pub present: bool,
    /// The epoch of the rotation that this side is initiating itself.
    pub own: Option<Epoch>,
    /// Whose rotation goes first, by [`settle`]: `Less` is ours.
    pub order: Ordering,
}

impl Contest {
    /// An offer of `epoch` to a side whose agent lists `standing` and which is rotating to `own`.
    pub fn new(epoch: Epoch, standing: &Standing, own: Option<Epoch>, order: Ordering) -> Self {
        let newer = standing.epochs.keys().any(|e| *e > epoch && standing.has_outbound(*e));
        let present = standing.epochs.contains_key(&epoch) && !newer;
        Self { epoch, highest: standing.highest, present, own, order }
    }
}

/// Judges an offer.
pub fn weigh_offer(contest: &Contest) -> OfferVerdict {
    if contest.own.is_some() && contest.order == Ordering::Less {
        return OfferVerdict::Mine;
    }
    // What is installed is being repeated, or was prepared for a rotation of our own.
    if contest.epoch > contest.highest || contest.present {
        return OfferVerdict::Take;
    }
    OfferVerdict::Stale { highest: contest.highest }
}

/// Where both sides initiate: the lower id goes first. `Less`: `own` does.
pub fn settle(own: &str, peer: &str) -> Ordering {
    own.cmp(peer)
}

/// What is left to do for a rotation that the peer drives.
#[derive(Clone, Debug)]
pub struct Responder {
    epoch: Epoch,
    timing: RotationTiming,
    later: Later,
}

#[derive(Clone, Copy, Debug)]
enum Later {
    /// The initiator will ask for the next step; if it does not, this side takes over.
    TakeOver(Instant),
    /// Old inbound SAs go when nothing can come under them any more.
    RetireInbound(Instant),
    /// What was undone goes when the initiator has nothing of it any more.
    AskStatus(Instant),
    Discard,
    Nothing,
}

/// What a responder does without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before then.
    Wait(Instant),
    /// Retire every inbound SA older than this epoch; then it is over.
    RetireInbound(Epoch),
    /// Ask the initiator what it has of this epoch, and tell [`Responder::peer_has`], or
    /// [`Responder::unanswered`]. It may have taken the rotation up again after a restart.
    AskStatus(Epoch),
    /// Discard this epoch; then it is over.
    Discard(Epoch),
    /// The initiator is silent: resume the rotation as an initiator.
    TakeOver(Epoch),
    /// It is over.
    Nothing,
}

/// What one side's agent lists of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// An SA at least.
    Something,
    /// None.
    Nothing,
}

impl Responder {
    /// An offer was taken.
    pub fn new(epoch: Epoch, timing: RotationTiming, now: Instant) -> Self {
        let later = Later::TakeOver(now + timing.step * SILENT_STEPS);
        Self { epoch, timing, later }
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The initiator asked for something again.
    pub fn heard(&mut self, now: Instant) {
        if let Later::TakeOver(_) = self.later {
            self.later = Later::TakeOver(now + self.timing.step * SILENT_STEPS);
        }
    }

    /// Old outbound SAs are retired at both sides.
    pub fn retired(&mut self, now: Instant) {
        self.later = Later::RetireInbound(now + self.timing.overlap);
    }

    /// The initiator undid it, and we have switched back. Our inbound SA stays until the initiator
    /// has nothing of the epoch: an agent installs an epoch only once, so it never will again.
    pub fn aborted(&mut self, now: Instant) {
        self.later = Later::AskStatus(now + self.timing.overlap + self.timing.overlap / 2);
    }

    /// What the initiator has of `epoch`: an answer that comes late may be about another one.
    pub fn peer_has(&mut self, epoch: Epoch, presence: Presence, now: Instant) {
        if epoch != self.epoch {
            return;
        }
        self.later = match (self.later, presence) {
            (Later::AskStatus(_), Presence::Nothing) => Later::Discard,
            // It was restarted meanwhile. It takes the rotation up again, or else we do.
            (Later::AskStatus(_), Presence::Something) => {
                Later::TakeOver(now + self.timing.step * SILENT_STEPS)
            }
            (later, _) => later,
        };
    }

    /// It could not be asked.
    pub fn unanswered(&mut self, now: Instant) {
        if let Later::AskStatus(_) = self.later {
            self.later = Later::AskStatus(now + self.timing.overlap.max(self.timing.step));
        }
    }

    /// What is due.
    pub fn poll(&self, now: Instant) -> Due {
        match self.later {
            Later::TakeOver(at) | Later::RetireInbound(at) | Later::AskStatus(at) if now < at => {
                Due::Wait(at)
            }
            Later::TakeOver(_) => Due::TakeOver(self.epoch),
            Later::RetireInbound(_) => Due::RetireInbound(self.epoch),
            Later::AskStatus(_) => Due::AskStatus(self.epoch),
            Later::Discard => Due::Discard(self.epoch),
            Later::Nothing => Due::Nothing,
        }
    }

    /// What was due is done.
    pub fn done(&mut self) {
        self.later = Later::Nothing;
    }
}

/// Steps that an initiator may be silent for: it may be restarting.
const SILENT_STEPS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::{super::Sas, *};

    fn contest() -> Contest {
        let order = settle("b", "a");
        Contest { epoch: Epoch(5), highest: Epoch(4), present: false, own: None, order }
    }

    #[test]
    fn the_lower_id_goes_first_and_the_higher_one_takes_its_offer() {
        let own = Some(Epoch(5));
        let present = Contest { present: true, highest: Epoch(5), own, ..contest() };
        assert_eq!(weigh_offer(&present), OfferVerdict::Take);
        let first = Contest { order: settle("a", "b"), ..present };
        assert_eq!(weigh_offer(&first), OfferVerdict::Mine);
    }

    #[test]
    fn a_used_epoch_is_stale_and_a_repeated_offer_is_not() {
        let used = Contest { epoch: Epoch(4), ..contest() };
        assert_eq!(weigh_offer(&used), OfferVerdict::Stale { highest: Epoch(4) });
        assert_eq!(weigh_offer(&Contest { present: true, ..used }), OfferVerdict::Take);
    }

    #[test]
    fn an_offer_from_before_an_undone_rotation_is_stale() {
        let mut standing = Standing { highest: Epoch(3), ..Standing::default() };
        standing.epochs.extend([(Epoch(2), Sas::Inbound), (Epoch(3), Sas::Inbound)]);
        let order = settle("b", "a");
        let verdict =
            |standing: &Standing| weigh_offer(&Contest::new(Epoch(2), standing, None, order));
        assert_eq!(verdict(&standing), OfferVerdict::Take);
        standing.epochs.insert(Epoch(3), Sas::Both);
        assert_eq!(verdict(&standing), OfferVerdict::Stale { highest: Epoch(3) });
    }

    #[test]
    fn a_silent_initiator_is_replaced_and_a_talking_one_is_not() {
        let (now, timing) = (Instant::now(), RotationTiming::default());
        let mut responder = Responder::new(Epoch(2), timing, now);
        let silent = now + timing.step * SILENT_STEPS;
        assert_eq!(responder.poll(silent), Due::TakeOver(Epoch(2)));
        responder.heard(silent);
        assert!(matches!(responder.poll(silent), Due::Wait(_)));
        responder.retired(silent);
        assert_eq!(responder.poll(silent + timing.overlap), Due::RetireInbound(Epoch(2)));
        responder.done();
        assert_eq!(responder.poll(silent + timing.overlap), Due::Nothing);
    }
    #[test]
    fn what_was_undone_stays_as_long_as_the_initiator_may_be_using_it() {
        let (now, timing) = (Instant::now(), RotationTiming::default());
        let mut responder = Responder::new(Epoch(2), timing, now);
        responder.aborted(now);
        let mut time = now + timing.overlap * 2;
        assert_eq!(responder.poll(time), Due::AskStatus(Epoch(2)));
        responder.unanswered(time);
        assert!(matches!(responder.poll(time), Due::Wait(_)));
        time += timing.step;
        let mut gone = responder.clone();
        gone.peer_has(Epoch(2), Presence::Nothing, time);
        assert_eq!(gone.poll(time), Due::Discard(Epoch(2)));
        responder.peer_has(Epoch(2), Presence::Something, time);
        let later = time + timing.step * SILENT_STEPS;
        assert_eq!(responder.poll(later), Due::TakeOver(Epoch(2)));
    }
}
