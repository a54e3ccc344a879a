//! What a session does as time passes, and when it is due next.

use std::time::{Duration, Instant};

use super::limits::{LEAST_RTO, MOST_RTO, PACE};
use super::pair::PairState;
use super::session::{Context, Patience, Session};
use super::words::{Implementation, State};

impl Session {
    /// Does all that is due; called after each input too.
    pub(super) fn advance(&mut self, context: &mut Context<'_>) {
        if self.remote.is_none() || self.state == State::Failed {
            return;
        }
        self.retransmit(context);
        self.keep_consent(context);
        self.conclude(context);
        self.check_next(context);
    }

    /// When [`Session::advance`] has something to do next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.remote.is_none() || self.state == State::Failed {
            return None;
        }
        let full = self.implementation == Implementation::Full;
        let paced = (full && self.has_more_to_check()).then_some(self.paced_until);
        let pairs = self.pairs.iter().filter_map(|pair| pair.deadline());
        let waits = self.state == State::Checking && self.patience == Patience::Lasts;
        let patience = waits.then(|| self.patience_ends()).flatten();
        pairs.chain(paced).chain(self.nomination_due()).chain(patience).min()
    }

    /// RFC 8445 section 14.3, with a lid.
    pub(super) fn rto(&self) -> Duration {
        let active = |state| matches!(state, PairState::Waiting | PairState::InProgress);
        let checks = self.pairs.iter().filter(|pair| active(pair.state)).count();
        (PACE * checks as u32).clamp(LEAST_RTO, MOST_RTO)
    }

    fn retransmit(&mut self, context: &mut Context<'_>) {
        for index in 0..self.pairs.len() {
            let pair = &mut self.pairs[index];
            let Some(timer) = pair.timer.filter(|timer| context.now >= timer.due) else { continue };
            match (timer.next(context.now), pair.newest_check()) {
                (Some(next), Some(sent)) => {
                    pair.timer = Some(next);
                    self.send(index, sent, context);
                }
                _ => pair.fail(),
            }
        }
    }
}
