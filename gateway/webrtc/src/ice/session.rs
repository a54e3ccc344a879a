//! One pair of credentials and all that was found under it: an ICE session in RFC 8445's words,
//! narrowed to one stream. Checks come in and are answered (section 7.3), ours go out and their
//! answers come in (section 7.2). A restart makes another session; this one knows nothing of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::candidate::{Component, LocalCandidate};
use super::checklist::RemoteCandidate;
use super::consent::Consent;
use super::credentials::Credentials;
use super::limits::{MAX_EARLY, MAX_WAITING, PATIENCE, PATIENCE_TRICKLE};
use super::pair::{Nomination, Pair, PairId, PairState, Purpose, Sent};
use super::random::Random;
use super::refusal::{Counters, Refusal};
use super::replay::Acted;
use super::roles::Conflict;
use super::stun::{self, Class, Message, Nominate, TransactionId};
use super::words::{Implementation, Output, Role, State, Transmit};

pub(super) struct Session {
    pub(super) implementation: Implementation,
    pub(super) role: Role,
    pub(super) tie_breaker: u64,
    pub(super) local: Credentials,
    pub(super) remote: Option<Remote>,
    pub(super) pairs: Vec<Pair>,
    pub(super) remotes: Vec<RemoteCandidate>,
    /// Foundations numbered so far.
    pub(super) foundations: u32,
    pub(super) next_pair: u32,
    pub(super) triggered: VecDeque<PairId>,
    early: Vec<EarlyCheck>,
    /// Of a lite agent.
    acted: Acted,
    /// No new check before.
    pub(super) paced_until: Instant,
    /// When the party's credentials became known.
    started: Option<Instant>,
    /// The party named all candidates.
    pub(super) complete: bool,
    /// Whether failure is possible by now.
    pub(super) patience: Patience,
    /// When each component had its first valid pair.
    pub(super) first_valid: [Option<Instant>; 2],
    pub(super) selected: [Option<PairId>; 2],
    /// Came when the others had their pairs: nothing waits for it, and without it nothing is lost.
    pub(super) late: Option<Component>,
    pub(super) state: State,
}

/// RFC 8863: for some time there is no failing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Lasts,
    Over,
}

/// The party, as signalled.
pub(super) struct Remote {
    pub(super) credentials: Credentials,
    pub(super) implementation: Implementation,
}

/// A check that came before the party's credentials: answered, its consequences to follow.
struct EarlyCheck {
    ufrag: Box<[u8]>,
    check: Check,
}

/// What an authentic check says.
#[derive(Clone, Copy)]
struct Check {
    local: u8,
    source: SocketAddr,
    priority: u32,
    nomination: Nominate,
    transaction: TransactionId,
}

/// What a session works with and on.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) locals: &'a [LocalCandidate],
    pub(super) random: &'a mut Random,
    pub(super) out: &'a mut VecDeque<Output>,
    pub(super) counters: &'a mut Counters,
}

/// The way a datagram came.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    /// To which of our candidates.
    pub(super) local: u8,
    pub(super) source: SocketAddr,
}

impl Session {
    pub(super) fn new(
        implementation: Implementation,
        role: Role,
        local: Credentials,
        context: &mut Context<'_>,
    ) -> Self {
        Self {
            implementation,
            role,
            tie_breaker: context.random.tie_breaker(),
            local,
            remote: None,
            pairs: Vec::new(),
            remotes: Vec::new(),
            foundations: 0,
            next_pair: 0,
            triggered: VecDeque::new(),
            early: Vec::new(),
            acted: Acted::default(),
            paced_until: context.now,
            started: None,
            complete: false,
            patience: Patience::Lasts,
            first_valid: [None; 2],
            selected: [None; 2],
            late: None,
            state: State::New,
        }
    }

    /// The party's credentials: checks may begin, early ones get their consequences.
    pub(super) fn start(&mut self, remote: Remote, context: &mut Context<'_>) {
        // Against a lite party, the full one controls (RFC 8445 section 6.1.1).
        match (self.implementation, remote.implementation) {
            (Implementation::Full, Implementation::Lite) => self.role = Role::Controlling,
            (Implementation::Lite, Implementation::Full) => self.role = Role::Controlled,
            _ => {}
        }
        let early = std::mem::take(&mut self.early);
        let ufrag: Box<[u8]> = remote.credentials.ufrag.as_bytes().into();
        self.remote = Some(remote);
        self.started = Some(context.now);
        self.state = State::Checking;
        if !self.takes_candidates() {
            self.pairs = Vec::new();
            self.remotes = Vec::new();
        }
        for EarlyCheck { check, .. } in early.into_iter().filter(|early| early.ufrag == ufrag) {
            if let Err(refusal) = self.follow(check, context) {
                context.counters.refuse(refusal);
            }
        }
    }

    /// Neither side checks: what each named first is taken (RFC 8445 section 8.2).
    pub(super) fn is_lite_to_lite(&self) -> bool {
        let lite = |remote: &Remote| remote.implementation == Implementation::Lite;
        self.implementation == Implementation::Lite && self.remote.as_ref().is_some_and(lite)
    }

    /// Whether candidates of the party's are of use: not to a lite agent with a full party, nor
    /// after selection of all there is.
    pub(super) fn takes_candidates(&self) -> bool {
        let checks = self.implementation == Implementation::Full;
        let open = matches!(self.state, State::New | State::Checking) || self.late.is_some();
        open && (checks || self.remote.is_none() || self.is_lite_to_lite())
    }

    /// When a component without any hope ends the session.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        let patience = if self.complete { PATIENCE } else { PATIENCE_TRICKLE };
        Some(self.started? + patience)
    }

    /// Whether USERNAME names this session: our fragment, and the party's once it is known.
    pub(super) fn is_named_by(&self, message: &Message<'_>) -> bool {
        let Some((ours, theirs)) = message.fragments() else { return false };
        let remote = self.remote.as_ref();
        ours == self.local.ufrag.as_bytes()
            && remote.is_none_or(|remote| theirs == remote.credentials.ufrag.as_bytes())
    }

    /// Takes a check that names this session, answers it, and acts on it (RFC 8445 section 7.3).
    pub(super) fn request(
        &mut self,
        message: &Message<'_>,
        arrival: Arrival,
        context: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        if !message.is_authentic(self.local.password()) {
            return Err(Refusal::WrongPassword);
        }
        if self.state == State::Failed {
            return Err(Refusal::Stopped);
        }
        let Arrival { local, source } = arrival;
        let pair = self.pair_between(local, source);
        if pair.is_some_and(|index| self.pairs[index].state == PairState::Revoked) {
            return Err(Refusal::Revoked);
        }
        if self.acted.knows(message.transaction) {
            pair.ok_or(Refusal::Replayed)?;
            // Our answer was lost, or is late.
            self.confirm(message, arrival, context);
            return Ok(());
        }
        if !message.unknown.kinds().is_empty() {
            self.refuse(message, UNKNOWN_ATTRIBUTE, arrival, context);
            return Err(Refusal::UnknownAttribute);
        }
        let priority = message.priority.ok_or(Refusal::Malformed)?;
        if self.settle_roles(message) == Conflict::TheirsToRepair {
            context.counters.role_conflicts += 1;
            self.refuse(message, ROLE_CONFLICT, arrival, context);
            return Ok(());
        }
        let nomination = if message.use_candidate { Nominate::Yes } else { Nominate::No };
        let check = Check { local, source, priority, nomination, transaction: message.transaction };
        match (&self.remote, message.fragments()) {
            (Some(_), _) => self.follow(check, context)?,
            (None, Some((_, ufrag))) => self.remember_early(ufrag, check)?,
            (None, None) => return Err(Refusal::UnknownUfrag),
        }
        // Only now: an answer says that the nomination was taken.
        self.confirm(message, arrival, context);
        Ok(())
    }

    /// Takes the answer to a request on the pair at `index` (RFC 8445 section 7.2.5).
    pub(super) fn answer(
        &mut self,
        index: usize,
        message: &Message<'_>,
        arrival: Arrival,
        context: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let remote = self.remote.as_ref().ok_or(Refusal::UnknownTransaction)?;
        if !message.is_authentic(remote.credentials.password()) {
            return Err(Refusal::WrongPassword);
        }
        let pair = &mut self.pairs[index];
        let sent = pair.asked(message.transaction).ok_or(Refusal::UnknownTransaction)?;
        if !message.unknown.kinds().is_empty() {
            return Err(Refusal::UnknownAttribute);
        }
        if arrival.local != pair.local || arrival.source != pair.remote {
            if pair.is_open() {
                pair.fail();
            }
            return Err(Refusal::Asymmetric);
        }
        if message.class == Class::Success && message.mapped.is_none() {
            return Err(Refusal::Malformed);
        }
        pair.forget(message.transaction);
        context.counters.answers += 1;
        match (message.class, message.error) {
            (Class::Success, _) => self.succeed(index, sent, context),
            (_, Some(ROLE_CONFLICT)) => self.yield_role(index, sent, context),
            (_, _) if self.pairs[index].is_open() => self.pairs[index].fail(),
            (_, _) => {}
        }
        Ok(())
    }

    /// Marks a pair as nominated; consent begins with it.
    pub(super) fn nominate(&mut self, index: usize, context: &mut Context<'_>) {
        let lite = self.implementation == Implementation::Lite;
        let defaults = self.is_lite_to_lite();
        let pair = &mut self.pairs[index];
        pair.nomination = Nomination::Done(context.now);
        if pair.consent.is_none() && !defaults {
            pair.consent = Some(match lite {
                true => Consent::heard(context.now),
                false => Consent::asked(context.now, context.random),
            });
        }
    }

    /// What a check of the party's brings about.
    fn follow(&mut self, check: Check, context: &mut Context<'_>) -> Result<(), Refusal> {
        match self.implementation {
            Implementation::Full => self.follow_full(check, context),
            Implementation::Lite => self.follow_lite(check, context),
        }
    }

    /// A triggered check, and the nomination once that succeeds (RFC 8445 sections 7.3.1.4, 7.3.1.5).
    fn follow_full(&mut self, check: Check, context: &mut Context<'_>) -> Result<(), Refusal> {
        let Check { local, source, priority, nomination, .. } = check;
        let index = self.pair_for(local, source, priority, context.locals)?;
        let asked = nomination == Nominate::Yes && self.role == Role::Controlled;
        let pair = &mut self.pairs[index];
        pair.heard = true;
        if pair.is_valid() {
            if asked {
                self.nominate(index, context);
            }
            return Ok(());
        }
        if asked {
            pair.nomination = Nomination::Asked;
        }
        pair.state = PairState::Waiting;
        pair.timer = None;
        let id = pair.id;
        self.trigger(id);
        Ok(())
    }

    /// A nominated pair is valid at once (RFC 8445 section 7.3.2); other checks are only heard.
    fn follow_lite(&mut self, check: Check, context: &mut Context<'_>) -> Result<(), Refusal> {
        let Check { local, source, priority, nomination, transaction } = check;
        if nomination == Nominate::Yes {
            let index = self.pair_for(local, source, priority, context.locals)?;
            self.pairs[index].state = PairState::Succeeded;
            self.nominate(index, context);
            self.acted.note(transaction);
        }
        if let Some(index) = self.pair_between(local, source)
            && let Some(consent) = &mut self.pairs[index].consent
        {
            consent.renew(context.now);
        }
        Ok(())
    }

    fn remember_early(&mut self, ufrag: &[u8], check: Check) -> Result<(), Refusal> {
        let same = |early: &&mut EarlyCheck| {
            *early.ufrag == *ufrag
                && early.check.local == check.local
                && early.check.source == check.source
        };
        if let Some(early) = self.early.iter_mut().find(same) {
            if check.nomination == Nominate::Yes {
                early.check.nomination = Nominate::Yes;
                early.check.transaction = check.transaction;
            }
            return Ok(());
        }
        if self.early.len() >= MAX_EARLY || ufrag.len() > 256 {
            return Err(Refusal::TooMany);
        }
        self.early.push(EarlyCheck { ufrag: ufrag.into(), check });
        Ok(())
    }

    fn succeed(&mut self, index: usize, sent: Sent, context: &mut Context<'_>) {
        let pair = &mut self.pairs[index];
        if let Some(consent) = &mut pair.consent {
            consent.renew(context.now);
        }
        if sent.purpose == Purpose::Consent || pair.state == PairState::Revoked {
            return;
        }
        // A late answer to an older check must not stop a nomination that is still to be answered.
        let newest = pair.newest_check();
        if newest.is_none_or(|newest| newest.nomination == Nominate::No) {
            pair.timer = None;
        }
        pair.state = PairState::Succeeded;
        let nominated = pair.nomination == Nomination::Asked
            && (self.role == Role::Controlled || sent.nomination == Nominate::Yes);
        let (foundation, component) = (pair.foundation, pair.component);
        self.first_valid[component.index()].get_or_insert(context.now);
        self.unfreeze_like(foundation);
        if nominated {
            self.pairs[index].timer = None;
            self.nominate(index, context);
        }
    }

    fn confirm(&self, message: &Message<'_>, arrival: Arrival, context: &mut Context<'_>) {
        let Arrival { local, source } = arrival;
        context.counters.checks_answered += 1;
        let answer = stun::success(message.transaction, source, self.local.password());
        transmit(local, source, answer, context);
    }

    fn refuse(
        &self,
        message: &Message<'_>,
        code: u16,
        arrival: Arrival,
        context: &mut Context<'_>,
    ) {
        let unknown = message.unknown.kinds();
        let bytes = stun::error(message.transaction, code, unknown, self.local.password());
        transmit(arrival.local, arrival.source, bytes, context);
    }

    /// The component is no longer used (rtcp-mux was agreed); its local candidates, which were the
    /// last, are gone: `locals` are left.
    pub(super) fn drop_component(&mut self, component: Component, locals: usize) {
        self.pairs.retain(|pair| pair.component != component);
        self.early.retain(|early| usize::from(early.check.local) < locals);
        self.selected[component.index()] = None;
        self.late = None;
    }

    /// The component is used again; its local candidates are there.
    pub(super) fn add_component(&mut self, component: Component, now: Instant) {
        // Named before, they were paired with nothing.
        self.forget_remotes(component);
        self.first_valid[component.index()] = None;
        match self.state {
            State::Connected | State::Lost => self.late = Some(component),
            State::Checking => {
                self.started = Some(now);
                self.patience = Patience::Lasts;
            }
            State::New | State::Failed => {}
        }
    }
}

const ROLE_CONFLICT: u16 = 487;
const UNKNOWN_ATTRIBUTE: u16 = 420;

/// Puts a datagram into the queue, from one of our candidates.
pub(super) fn transmit(local: u8, to: SocketAddr, bytes: Box<[u8]>, context: &mut Context<'_>) {
    let LocalCandidate { component, address, .. } = context.locals[usize::from(local)];
    if context.out.len() < MAX_WAITING {
        context.out.push_back(Output::Transmit(Transmit { component, from: address, to, bytes }));
    }
}
