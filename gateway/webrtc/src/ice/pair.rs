//! A candidate pair: one local and one remote address, and how checks on it went.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::candidate::Component;
use super::consent::Consent;
use super::limits::{LAST_WAIT, REQUESTS};
use super::stun::{Nominate, TransactionId};
use super::words::Role;

/// Names a pair within its session; never used again there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PairId(pub(super) u32);

/// Pairs of the same foundation are likely to fare alike (RFC 8445 section 6.1.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PairFoundation {
    /// The first of our candidates with the same address.
    pub(super) local: u8,
    /// The session's number of what the party called it.
    pub(super) remote: u32,
}

/// RFC 8445 section 6.1.2.6, and what consent adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PairState {
    Frozen,
    Waiting,
    InProgress,
    /// Checked: a valid pair.
    Succeeded,
    Failed,
    /// Was valid; consent ran out. Dead for as long as the credentials live.
    Revoked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nomination {
    None,
    /// The controlling side wants it; its check is still to succeed.
    Asked,
    /// Done, and last heard of at that time.
    Done(Instant),
}

pub(super) struct Pair {
    pub(super) id: PairId,
    pub(super) component: Component,
    /// Which of our candidates.
    pub(super) local: u8,
    pub(super) remote: SocketAddr,
    pub(super) foundation: PairFoundation,
    pub(super) local_priority: u32,
    pub(super) remote_priority: u32,
    pub(super) state: PairState,
    pub(super) nomination: Nomination,
    pub(super) timer: Option<Retransmission>,
    /// The party has checked it, and was answered.
    pub(super) heard: bool,
    /// When the first check on it would be given up.
    hope_ends: Option<Instant>,
    pub(super) consent: Option<Consent>,
    /// The newest requests that may still be answered, the oldest first.
    sent: [Option<Sent>; 4],
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) transaction: TransactionId,
    /// What we were then.
    pub(super) role: Role,
    pub(super) nomination: Nominate,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Check,
    Consent,
}

/// When the newest check is sent again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retransmission {
    pub(super) due: Instant,
    rto: Duration,
    sent: u8,
}

impl Retransmission {
    pub(super) fn start(now: Instant, rto: Duration) -> Self {
        Self { due: now + rto, rto, sent: 1 }
    }

    /// When the last request of all has had its time, if none is answered.
    fn gives_up(self) -> Instant {
        let doubled = (1 << (REQUESTS - 1)) - 1;
        // `due` is the first one's end.
        self.due + self.rto * (doubled + LAST_WAIT - 1)
    }

    /// After one more request; `None` when there have been enough (RFC 8489 section 6.2.1).
    pub(super) fn next(self, now: Instant) -> Option<Self> {
        let sent = self.sent + 1;
        let wait = match sent {
            ..REQUESTS => self.rto * (1 << (sent - 1)),
            REQUESTS => self.rto * LAST_WAIT,
            _ => return None,
        };
        Some(Self { due: now + wait, sent, ..self })
    }
}

/// What a new pair is made of.
pub(super) struct NewPair {
    pub(super) component: Component,
    pub(super) local: u8,
    pub(super) remote: SocketAddr,
    pub(super) foundation: PairFoundation,
    pub(super) local_priority: u32,
    pub(super) remote_priority: u32,
}

impl Pair {
    pub(super) fn new(id: PairId, new: NewPair) -> Self {
        let NewPair { component, local, remote, foundation, local_priority, remote_priority } = new;
        Self {
            id,
            component,
            local,
            remote,
            foundation,
            local_priority,
            remote_priority,
            state: PairState::Frozen,
            nomination: Nomination::None,
            timer: None,
            heard: false,
            hope_ends: None,
            consent: None,
            sent: [None; 4],
        }
    }

    /// RFC 8445 section 6.1.2.3.
    pub(super) fn priority(&self, role: Role) -> u64 {
        let (g, d) = match role {
            Role::Controlling => (self.local_priority, self.remote_priority),
            Role::Controlled => (self.remote_priority, self.local_priority),
        };
        (u64::from(g.min(d)) << 32) + 2 * u64::from(g.max(d)) + u64::from(g > d)
    }

    /// Its check may still succeed.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, PairState::Frozen | PairState::Waiting | PairState::InProgress)
    }

    pub(super) fn is_valid(&self) -> bool {
        self.state == PairState::Succeeded
    }

    /// A check on it goes out.
    pub(super) fn begin_check(&mut self, timer: Retransmission) {
        self.timer = Some(timer);
        self.hope_ends.get_or_insert(timer.gives_up());
    }

    /// Its check may still succeed, as far as one can hope. Each check of the party's has us check
    /// once more (RFC 8445 section 7.3.1.4), and one whose credentials differ from what was
    /// signalled goes on for ever with them: that is no new hope.
    pub(super) fn has_hope(&self, now: Instant) -> bool {
        self.is_open() && self.hope_ends.is_none_or(|end| now < end)
    }

    /// Remembers a request; the oldest of four is forgotten.
    pub(super) fn remember(&mut self, sent: Sent) {
        self.sent.rotate_left(1);
        self.sent[3] = Some(sent);
    }

    pub(super) fn newest_check(&self) -> Option<Sent> {
        self.sent.iter().rev().flatten().find(|sent| sent.purpose == Purpose::Check).copied()
    }

    pub(super) fn asked(&self, transaction: TransactionId) -> Option<Sent> {
        self.sent.iter().flatten().find(|sent| sent.transaction == transaction).copied()
    }

    /// A request is answered once.
    pub(super) fn forget(&mut self, transaction: TransactionId) {
        for slot in &mut self.sent {
            if slot.is_some_and(|sent| sent.transaction == transaction) {
                *slot = None;
            }
        }
    }

    pub(super) fn fail(&mut self) {
        self.state = PairState::Failed;
        self.nomination = Nomination::None;
        self.timer = None;
        self.consent = None;
    }

    /// When something is due on this pair.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let consent = self.consent.as_ref().map(Consent::deadline);
        self.timer.map(|timer| timer.due).into_iter().chain(consent).min()
    }
}
