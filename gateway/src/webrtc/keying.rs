//! DTLS of a leg: the association that its plan asks for, and the one before it.
//!
//! 1. *Idle*: a client waits for a path, a server for a ClientHello.
//! 2. *Running*: datagrams, retransmissions, signatures. The first flight costs little, and who
//!    never answers it takes no place among the handshakes from those who do: the place is for
//!    the first datagram that answers. It is for a while; who takes longer keeps its
//!    association, and waits for a place again with what it says next.
//! 3. *Secured*: the worker has the keys. A new epoch makes this the association *before*, which
//!    goes on taking what the party sends under it until the new one is secured. Where it is
//!    [`Renewal::Doubtful`] that the party begins anew, the one before lasts: the leg counts as
//!    secured, and where a few ClientHellos remain unanswered, that is no failure.
//! 4. *Over*: nothing more until the next epoch. So a leg that fails costs nothing further.
//!
//! Nothing protects what is said before the keys are there, and an address can be forged. So, as
//! often as [`CHANCES`] says in an epoch: a server begins anew with a ClientHello that is not the
//! one it answered, also after a failure that may not be the party's doing; a client begins anew
//! where what came was malformed. An alert in the clear counts only if the party does not go on
//! (see `running`).

mod before;
mod cost;
mod record;
mod running;

use std::net::SocketAddr;
use std::time::Instant;

use srtp::Profile;
use webrtc::dtls::{Association, DtlsSettings, Failure, Output, Role, SrtpKeys};
use webrtc::identity::Identity;

use self::before::{Before, Standing};
pub(super) use self::cost::Cost;
use self::record::is_in_clear;
use self::running::Running;
use super::effect::{Effect, FailureClass, HandshakeEnd, HandshakeResult};
use super::plan::{DtlsPlan, DtlsRole, Epoch, LegNewsKind, Renewal};
use crate::relay::key_plan::{Handover, HandshakeKeys, SrtpKey};
use crate::relay::uplink::Component;

/// See the module's documentation.
pub(super) struct Keying {
    plan: DtlsPlan,
    stage: Stage,
    /// Secured under an earlier epoch.
    before: Option<Before>,
    /// Handshakes that may still begin.
    chances: u8,
    deadline: Option<Instant>,
}

enum Stage {
    Idle,
    Running(Box<Association>, Running),
    Secured(Box<Association>, Profile),
    Over,
}

/// Where the association of the plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeyingState {
    Waiting,
    Handshaking,
    Secured,
    Failed,
}

impl Keying {
    pub(super) fn new(plan: DtlsPlan) -> Self {
        Self { plan, stage: Stage::Idle, before: None, chances: CHANCES, deadline: None }
    }

    /// A changed plan. Within an epoch nothing of an association changes.
    pub(super) fn update(&mut self, plan: DtlsPlan, now: Instant, out: &mut Vec<Effect>) {
        if plan.epoch == self.plan.epoch {
            return;
        }
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Running(_, running) => self.ended(HandshakeResult::Abandoned, running, now, out),
            Stage::Secured(association, profile) => {
                let standing = Standing::Lasting;
                self.before = Some(Before { association, profile, standing });
            }
            Stage::Idle | Stage::Over => {}
        }
        self.plan = plan;
        self.chances = CHANCES;
        self.deadline = None;
        match &mut self.before {
            Some(Before { profile, standing: Standing::Lasting, .. })
                if self.plan.renewal == Renewal::Doubtful =>
            {
                let (epoch, profile) = (self.plan.epoch, *profile);
                out.push(Effect::News(LegNewsKind::Continued { epoch, profile }));
            }
            Some(before) => before.standing = Standing::Outgoing,
            None => {}
        }
    }

    pub(super) fn plan(&self) -> &DtlsPlan {
        &self.plan
    }

    pub(super) fn state(&self) -> KeyingState {
        match self.stage {
            Stage::Idle | Stage::Running(..) if self.is_lasting() => KeyingState::Secured,
            Stage::Idle => KeyingState::Waiting,
            Stage::Running(..) => KeyingState::Handshaking,
            Stage::Secured(..) => KeyingState::Secured,
            Stage::Over => KeyingState::Failed,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// A client that has not begun.
    pub(super) fn is_client_to_begin(&self) -> bool {
        matches!(self.stage, Stage::Idle) && self.plan.role == DtlsRole::Client
    }

    /// Begins the handshake; anew, in the same place, if one is under way.
    pub(super) fn begin(
        &mut self,
        identity: &Identity,
        settings: &DtlsSettings,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let mut running = Running::new(now);
        if let Stage::Running(_, before) = &mut self.stage {
            running.take_over(before);
            let before = *before;
            self.ended(HandshakeResult::Abandoned, before, now, out);
        }
        self.chances = self.chances.saturating_sub(1);
        let DtlsPlan { fingerprints, profiles, role, .. } = &self.plan;
        match Association::new(identity, settings, (*role).into(), fingerprints, profiles, now) {
            Ok(association) => self.stage = Stage::Running(Box::new(association), running),
            Err(unusable) => {
                self.ended(HandshakeResult::Failed(FailureClass::Protocol), running, now, out);
                self.chances = 0;
                self.over(unusable.to_string(), out);
            }
        }
    }

    /// The party has answered, and the caller has a place for it; gives that back by
    /// [`Effect::PlaceFree`] or with [`Effect::Handshake`].
    pub(super) fn take_place(&mut self, now: Instant) {
        if let Stage::Running(_, running) = &mut self.stage {
            running.take_place(now);
        }
    }

    /// The certificate that the party was told of is not here any more.
    pub(super) fn refuse(&mut self, reason: &str, now: Instant, out: &mut Vec<Effect>) {
        if let Stage::Running(_, running) = self.stage {
            self.ended(HandshakeResult::Abandoned, running, now, out);
        }
        self.chances = 0;
        self.over(reason.to_owned(), out);
    }

    /// What is sent to the party arrives there: ICE has proven it.
    pub(super) fn address_proven(&mut self) {
        if let Stage::Running(association, _) = &mut self.stage {
            association.address_proven();
        }
    }

    pub(super) fn receive(&mut self, datagram: &[u8], now: Instant) {
        match (&mut self.stage, &mut self.before) {
            (Stage::Running(_, running), Some(before))
                if running.is_unanswered() && !is_in_clear(datagram) =>
            {
                before.association.receive(datagram, now);
            }
            (Stage::Running(association, running), _) => {
                let rest = running.hear(datagram, now);
                if !rest.is_empty() {
                    association.receive(rest, now);
                }
            }
            (Stage::Secured(association, _), _) => association.receive(datagram, now),
            (Stage::Idle | Stage::Over, Some(before)) => before.association.receive(datagram, now),
            (Stage::Idle | Stage::Over, None) => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if let Stage::Running(_, running) = &mut self.stage {
            if let Some(alert) = running.alert_that_counts(now) {
                let failure = (FailureClass::Alert, Failure::Alert(alert).to_string());
                return self.fail(failure, now, out);
            }
            if running.gives_place_back(now) {
                out.push(Effect::PlaceFree);
            }
        }
        if self.patience().is_some_and(|end| end <= now) {
            let failure = (FailureClass::TimedOut, String::new());
            return self.fail(failure, now, out);
        }
        if let Stage::Running(association, _) | Stage::Secured(association, _) = &mut self.stage {
            association.handle_timeout(now);
        }
    }

    /// The signature that this epoch's association waits for.
    pub(super) fn signed(&mut self, epoch: Epoch, signature: Option<Vec<u8>>, now: Instant) {
        if epoch == self.plan.epoch
            && let Stage::Running(association, _) = &mut self.stage
        {
            association.signed(signature, now);
        }
    }

    /// Ends all: the party is told.
    pub(super) fn close(&mut self, now: Instant, to: Option<SocketAddr>, out: &mut Vec<Effect>) {
        let lasting = self.before.take().filter(|before| before.standing == Standing::Lasting);
        let mut secured = lasting.map(|before| before.association);
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Running(_, running) => self.ended(HandshakeResult::Abandoned, running, now, out),
            Stage::Secured(association, _) => secured = Some(association),
            Stage::Idle | Stage::Over => {}
        }
        if let Some(mut association) = secured {
            association.close(now);
            while let Output::Transmit(bytes) = association.poll() {
                send(bytes, to, out);
            }
        }
        self.deadline = None;
    }

    /// Takes what the associations have to say. What is to be sent where there is no way is lost,
    /// and sent again later.
    pub(super) fn drain(&mut self, now: Instant, to: Option<SocketAddr>, out: &mut Vec<Effect>) {
        self.drain_before(to, out);
        loop {
            let (Stage::Running(association, _) | Stage::Secured(association, _)) = &mut self.stage
            else {
                return;
            };
            let end = match association.poll() {
                Output::Transmit(bytes) => {
                    send(bytes, to, out);
                    continue;
                }
                Output::Sign(request) => {
                    out.push(Effect::Sign { epoch: self.plan.epoch, request });
                    continue;
                }
                Output::Timeout(deadline) => {
                    let ends = [deadline, self.patience(), self.running_ends()];
                    self.deadline = ends.into_iter().flatten().min();
                    return;
                }
                Output::Secured { profile, keys } => {
                    let epoch = self.plan.epoch;
                    out.push(Effect::Secure { epoch, keys: Box::new(self.hand_over(keys)) });
                    self.secured(profile, now, out);
                    out.push(Effect::News(LegNewsKind::Secured { epoch, profile }));
                    continue;
                }
                Output::Failed(failure) => (FailureClass::from(failure), failure.to_string()),
                Output::Closed => (FailureClass::Alert, CLOSED.to_owned()),
            };
            self.fail(end, now, out);
        }
    }

    fn hand_over(&self, keys: SrtpKeys) -> HandshakeKeys {
        HandshakeKeys {
            receive: SrtpKey::unnamed(keys.receive),
            send: SrtpKey::unnamed(keys.send),
            handover: match self.plan.role {
                DtlsRole::Client => Handover::AtOnce,
                DtlsRole::Server => Handover::OnceHeard,
            },
        }
    }

    fn secured(&mut self, profile: Profile, now: Instant, out: &mut Vec<Effect>) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Running(association, running) => {
                self.ended(HandshakeResult::Secured(profile), running, now, out);
                Stage::Secured(association, profile)
            }
            other => other,
        };
        self.before = None;
    }

    fn fail(
        &mut self,
        (class, reason): (FailureClass, String),
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let mut goes_on = false;
        if let Stage::Running(_, running) = self.stage {
            goes_on = class.may_be_forged();
            if self.is_lasting() && running.is_unanswered() {
                self.ended(HandshakeResult::Abandoned, running, now, out);
                return self.go_on_as_before();
            }
            self.ended(HandshakeResult::Failed(class), running, now, out);
            let is_client = self.plan.role == DtlsRole::Client;
            if is_client && class == FailureClass::Protocol && self.chances > 0 {
                (self.stage, self.deadline) = (Stage::Idle, None);
                return;
            }
        }
        if !goes_on {
            self.chances = 0;
        }
        self.over(reason, out);
    }

    fn running_ends(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Running(_, running) => running.ends(),
            _ => None,
        }
    }

    fn over(&mut self, reason: String, out: &mut Vec<Effect>) {
        if let Some(before) = &mut self.before {
            before.standing = Standing::Outgoing;
        }
        self.stage = Stage::Over;
        self.deadline = None;
        out.push(Effect::News(LegNewsKind::Unsecured { epoch: self.plan.epoch, reason }));
    }

    fn ended(
        &self,
        result: HandshakeResult,
        running: Running,
        now: Instant,
        out: &mut Vec<Effect>,
    ) {
        let (took, place) = (now.saturating_duration_since(running.since()), running.place());
        out.push(Effect::Handshake(HandshakeEnd { result, role: self.plan.role, took, place }));
    }
}

fn send(bytes: &[u8], to: Option<SocketAddr>, out: &mut Vec<Effect>) {
    if let Some(to) = to {
        out.push(Effect::Send { component: Component::Rtp, to, bytes: bytes.to_vec() });
    }
}

/// Shown under `query` and in the log.
const CLOSED: &str = "the party closed the DTLS association";

/// So many handshakes in an epoch: the party's own, and some that were not its.
const CHANCES: u8 = 4;

impl From<DtlsRole> for Role {
    fn from(role: DtlsRole) -> Self {
        match role {
            DtlsRole::Client => Self::Client,
            DtlsRole::Server => Self::Server,
        }
    }
}
