//! One rotation that we drive: the machine of `crypto-offload` says what to do, and here it is
//! done, at our agent or at the peer's gateway.

use std::time::{Duration, Instant};

use crypto_offload::rotation::{
    Action, Failure, Objection, Outcome, Rotation, Sas, Standing, Start,
};
use crypto_offload::{Epoch, SaPair, Spi};
use gateway_control::{KeyOffer, PairStatus, PairTerms, PeerAnswer, PeerOffer, PeerStep};

use super::Ipsec;
use super::agent::{Arrivals, AskError};
use super::audience::Audience;
use super::peers::Peer;
use super::renew::refuses_first;
use super::slots::{Lease, Order};

/// A rotation under way.
pub(super) struct Drive<'a> {
    pub(super) ipsec: &'a Ipsec,
    pub(super) pair: &'a SaPair,
    pub(super) peer: &'a Peer,
    pub(super) start: Start,
    pub(super) kind: Kind,
    pub(super) audience: Audience<'a>,
    pub(super) carried: Carried,
}

/// What is carried from step to step.
#[derive(Default)]
pub(super) struct Carried {
    ours: Option<KeyOffer>,
    theirs: Option<KeyOffer>,
    /// Under the epoch before: packets that the peer sealed, and that we opened.
    peer_sealed: Option<u64>,
    opened: Option<u64>,
    sealed: Option<u64>,
    looks: u32,
    /// Whether the peer may know of this epoch.
    heard: bool,
    /// The step that failed, and why.
    pub(super) trouble: Option<String>,
    /// Why that could not be undone.
    pub(super) undoing: Option<String>,
}

/// How an action went.
enum Step {
    Done,
    Observed(u64),
    Objected(Objection),
    Failed(Failure, String),
    /// There is nothing that the peer could undo.
    Needless,
}

impl Drive<'_> {
    /// Until it ends, one way or another; or until keys that are newer still are called for,
    /// because an agent was restarted since `arrivals`.
    pub(super) async fn run(&mut self, lease: &mut Lease, arrivals: &mut Arrivals) -> Outcome {
        let (ipsec, pair, epoch) = (self.ipsec, self.pair, self.start.epoch);
        lease.making(epoch);
        let (start, now) = (self.start.clone(), Instant::now());
        let mut rotation = match self.kind {
            Kind::New => Rotation::new(start, now),
            Kind::Resumed => Rotation::resume(start, now),
        };
        self.carried.heard = self.kind == Kind::Resumed;
        loop {
            let action = match rotation.poll(Instant::now()) {
                Action::End(outcome) => return outcome,
                action => action,
            };
            // What was asked of the agent before it died may have been done by the next one: that
            // much, and not another step.
            if arrivals.is_new()
                && let Some(highest) = ipsec.refused(&pair.name, epoch, arrivals).await
            {
                return Outcome::Stale { highest };
            }
            let step = tokio::select! {
                step = self.take(action) => step,
                order = lease.ordered() => match order {
                    Order::BeginAgain => return Outcome::Stale { highest: epoch },
                    Order::GoOn | Order::Yield => return Outcome::Yielded,
                },
                highest = ipsec.until_refused(&pair.name, epoch, arrivals) => {
                    return Outcome::Stale { highest };
                }
            };
            let now = Instant::now();
            match step {
                None => {}
                Some(Step::Done) => rotation.done(now),
                Some(Step::Observed(opened)) => rotation.observed(opened, now),
                Some(Step::Objected(objection)) => rotation.objected(objection, now),
                Some(Step::Needless) => rotation.failed(Failure::Final, now),
                Some(Step::Failed(failure, reason)) => {
                    self.note(action, reason, rotation.is_undoing());
                    rotation.failed(failure, now);
                }
            }
        }
    }

    /// Packets that the peer sealed under the old keys and we did not open.
    pub(super) fn lost(&self) -> Option<u64> {
        Some(self.carried.peer_sealed?.saturating_sub(self.carried.opened?))
    }

    /// Inbound and outbound.
    pub(super) fn new_spis(&self) -> Option<(Spi, Spi)> {
        Some((self.carried.ours.as_ref()?.spi, self.carried.theirs.as_ref()?.spi))
    }

    fn note(&mut self, action: Action, reason: String, undoing: bool) {
        let text = Some(format!("{}: {reason}", action.name()));
        // The last one counts: what failed before was tried again.
        match undoing {
            true => self.carried.undoing = text,
            false => self.carried.trouble = text,
        }
    }

    async fn take(&mut self, action: Action) -> Option<Step> {
        if let Action::Wait(until) = action {
            tokio::time::sleep_until(until.into()).await;
            return None;
        }
        self.audience.step(&self.pair.name, action.name());
        if let Action::Observe(_) = action {
            self.audience.lingers();
        }
        let patience = self.start.timing.step;
        // Its turn among the requests to peers is not counted against the step.
        let _place = match action {
            Action::Offer(_)
            | Action::AskSwitch(_)
            | Action::AskRetire(_)
            | Action::AskAbort(_) => self.ipsec.peer_place().await,
            _ => None,
        };
        let step = tokio::time::timeout(patience, self.execute(action)).await;
        Some(step.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", patience.as_secs_f64());
            Step::Failed(Failure::Transient, reason)
        }))
    }

    async fn execute(&mut self, action: Action) -> Step {
        let (agent, name) = (self.ipsec.agent(), &self.pair.name);
        match action {
            Action::Prepare(epoch) => match agent.prepare(name, epoch, None).await {
                Ok((offer, _)) => {
                    self.carried.ours = Some(offer);
                    Step::Done
                }
                Err(error) => refused(&error),
            },
            Action::Offer(_) => self.offer().await,
            Action::InstallOutbound(epoch) => match &self.carried.theirs {
                Some(offer) => {
                    let offer = offer.dangerous_duplicate();
                    done(agent.install_outbound(name, epoch, offer).await)
                }
                None => Step::Failed(Failure::Final, "the peer made no offer".to_owned()),
            },
            Action::Switch(epoch) => done(agent.switch(name, epoch).await),
            Action::AskSwitch(_) => self.ask("switch").await,
            Action::Observe(_) => self.observe().await,
            Action::RetireOutbound(epoch) => match agent.retire_outbound(name, epoch).await {
                Ok(packets) => {
                    if Some(epoch) == self.start.active {
                        self.carried.sealed = packets;
                    }
                    Step::Done
                }
                Err(error) => refused(&error),
            },
            Action::AskRetire(_) => self.ask("retire").await,
            Action::RetireInbound(epoch) => match agent.retire_inbound(name, epoch).await {
                Ok(packets) => {
                    if Some(epoch) == self.start.active {
                        self.carried.opened = packets;
                    }
                    Step::Done
                }
                Err(error) => refused(&error),
            },
            Action::AskAbort(_) if !self.carried.heard => Step::Needless,
            Action::AskAbort(_) => self.ask("abort").await,
            Action::Discard(epoch) => done(agent.discard(name, epoch).await),
            Action::Wait(_) | Action::End(_) => Step::Done,
        }
    }

    async fn offer(&mut self) -> Step {
        let Some(ours) = &self.carried.ours else {
            return Step::Failed(Failure::Final, "our agent made no offer".to_owned());
        };
        let offer = PeerOffer {
            gateway: self.ipsec.gateway_id().to_owned(),
            terms: PairTerms::of(self.pair),
            from: self.start.active,
            offer: ours.dangerous_duplicate(),
        };
        let patience = self.start.timing.step;
        let before = std::mem::replace(&mut self.carried.heard, true);
        let answer = self.peer.offer(&self.pair.name, self.start.epoch, &offer, patience).await;
        if let Err(error) = &answer {
            self.carried.heard = before || error.was_heard();
        }
        match answer {
            Ok(PeerAnswer::Accepted { offer }) => {
                self.carried.theirs = Some(offer);
                Step::Done
            }
            Ok(PeerAnswer::Yours { .. }) => Step::Objected(Objection::Mine),
            Ok(PeerAnswer::Stale { highest }) => Step::Objected(Objection::Stale { highest }),
            Err(error) => Step::Failed(error.failure(), error.to_string()),
        }
    }

    async fn ask(&mut self, step: &str) -> Step {
        let body = PeerStep { sealed: self.carried.sealed };
        let patience = self.start.timing.step;
        match self.peer.step(&self.pair.name, self.start.epoch, step, body, patience).await {
            Ok(answer) => {
                self.carried.peer_sealed = answer.sealed.or(self.carried.peer_sealed);
                Step::Done
            }
            Err(error) => Step::Failed(error.failure(), error.to_string()),
        }
    }

    /// Looks more and more seldom: a thousand idle pairs that are looked at all the time would
    /// keep the agent from its work.
    async fn observe(&mut self) -> Step {
        let pause = FIRST_LOOK * 2_u32.pow(self.carried.looks.min(MAX_DOUBLINGS));
        self.carried.looks += 1;
        tokio::time::sleep(pause.min(self.start.timing.observe / 4)).await;
        match self.ipsec.agent().show(&self.pair.name).await {
            Ok(status) => Step::Observed(opened(&status, self.start.epoch)),
            Err(error) => refused(&error),
        }
    }
}

/// Packets that the inbound SA of an epoch has opened.
pub(super) fn opened(status: &PairStatus, epoch: Epoch) -> u64 {
    let inbound = status.epoch(epoch).and_then(|epoch| epoch.inbound.as_ref());
    inbound.map_or(0, |sa| sa.usage.packets)
}

/// SPIs of an epoch: inbound, outbound.
pub(super) fn spis(status: &PairStatus, epoch: Epoch) -> Option<(Spi, Spi)> {
    let epoch = status.epoch(epoch)?;
    Some((epoch.inbound.as_ref()?.spi, epoch.outbound.as_ref()?.spi))
}

/// What the agent lists of a pair, as the machine takes it.
pub(super) fn standing(status: &PairStatus) -> Standing {
    let installed = status.epochs.iter().filter_map(|epoch| {
        let sas = Sas::of(epoch.inbound.as_ref(), epoch.outbound.as_ref())?;
        Some((epoch.epoch, sas))
    });
    let (active, highest) = (status.active, status.highest);
    Standing { epochs: installed.collect(), active, highest }
}

/// Where a rotation begins: at one that was left half-way, or with a new epoch where the peer has
/// had that one and more, or where our agent was restarted since and refuses its first packets.
pub(super) fn start(status: &PairStatus, above: Epoch) -> (Start, Kind) {
    let (standing, timing) = (standing(status), status.pair.rotation);
    let of_use = |start: &Start| start.epoch > above && !refuses_first(status, start.epoch);
    match standing.unfinished(timing).filter(of_use) {
        Some(start) => (start, Kind::Resumed),
        None => (standing.renewed(above, timing), Kind::New),
    }
}

/// What a rotation makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// New keys.
    New,
    /// An end of what was begun.
    Resumed,
}

fn done<T>(result: Result<T, AskError>) -> Step {
    match result {
        Ok(_) => Step::Done,
        Err(error) => refused(&error),
    }
}

fn refused(error: &AskError) -> Step {
    Step::Failed(error.failure(), error.to_string())
}

const FIRST_LOOK: Duration = Duration::from_millis(5);
const MAX_DOUBLINGS: u32 = 6;
