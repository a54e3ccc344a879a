//! Our checks: which is next, and how it is sent (RFC 8445 section 7.2).

use super::limits::PACE;
use super::pair::{Nomination, PairState, Purpose, Retransmission, Sent};
use super::session::{Context, Session, transmit};
use super::stun::{self, CheckRequest, Nominate};
use super::words::{Implementation, Role};

impl Session {
    /// Sends the next check, if it is time (RFC 8445 section 6.1.4.2).
    pub(super) fn check_next(&mut self, context: &mut Context<'_>) {
        if context.now < self.paced_until || self.implementation == Implementation::Lite {
            return;
        }
        let Some(index) = self.next_to_check() else { return };
        self.paced_until = context.now + PACE;
        let rto = self.rto();
        let pair = &mut self.pairs[index];
        if !pair.is_valid() {
            pair.state = PairState::InProgress;
        }
        pair.begin_check(Retransmission::start(context.now, rto));
        let nominates = self.role == Role::Controlling && pair.nomination == Nomination::Asked;
        let nomination = if nominates { Nominate::Yes } else { Nominate::No };
        self.ask(index, nomination, Purpose::Check, context);
    }

    /// Asks on the pair at `index`, with a transaction of its own.
    pub(super) fn ask(
        &mut self,
        index: usize,
        nomination: Nominate,
        purpose: Purpose,
        context: &mut Context<'_>,
    ) {
        let transaction = context.random.transaction();
        let sent = Sent { transaction, role: self.role, nomination, purpose };
        self.pairs[index].remember(sent);
        self.send(index, sent, context);
    }

    /// Sends a request, or sends it again.
    pub(super) fn send(&self, index: usize, sent: Sent, context: &mut Context<'_>) {
        let Some(remote) = &self.remote else { return };
        let pair = &self.pairs[index];
        let request = CheckRequest {
            transaction: sent.transaction,
            fragments: (&remote.credentials.ufrag, &self.local.ufrag),
            priority: context.locals[usize::from(pair.local)].reflexive_priority(),
            role: sent.role,
            tie_breaker: self.tie_breaker,
            nomination: sent.nomination,
        };
        context.counters.checks_sent += 1;
        let bytes = stun::check(request, remote.credentials.password());
        transmit(pair.local, pair.remote, bytes, context);
    }
}
