//! Who controls, when both or neither think they do.

use super::pair::{Nomination, PairState, Purpose, Sent};
use super::session::{Context, Session};
use super::stun::Message;
use super::words::{Implementation, Role};

/// What comes of comparing roles.
#[derive(PartialEq, Eq)]
pub(super) enum Conflict {
    /// None, or we yielded.
    None,
    TheirsToRepair,
}

impl Session {
    /// RFC 8445 section 7.3.1.1. A lite agent has no such duty.
    pub(super) fn settle_roles(&mut self, message: &Message<'_>) -> Conflict {
        let Some((theirs, tie_breaker)) = message.role else { return Conflict::None };
        if theirs != self.role || self.implementation == Implementation::Lite {
            return Conflict::None;
        }
        let controlling = match self.tie_breaker >= tie_breaker {
            true => Role::Controlling,
            false => Role::Controlled,
        };
        if controlling == self.role {
            return Conflict::TheirsToRepair;
        }
        self.switch_role();
        Conflict::None
    }

    /// The party keeps the role that we had when we asked (RFC 8445 section 7.2.5.1).
    pub(super) fn yield_role(&mut self, index: usize, sent: Sent, context: &mut Context<'_>) {
        context.counters.role_conflicts += 1;
        if sent.role == self.role {
            self.switch_role();
        }
        let pair = &mut self.pairs[index];
        if sent.purpose == Purpose::Check && pair.is_open() {
            pair.state = PairState::Waiting;
            pair.timer = None;
            let id = pair.id;
            self.trigger(id);
        }
    }

    /// Nominations under way are void: whoever controls now begins anew.
    fn switch_role(&mut self) {
        self.role = self.role.other();
        for pair in &mut self.pairs {
            if pair.nomination == Nomination::Asked {
                pair.nomination = Nomination::None;
            }
        }
    }
}
