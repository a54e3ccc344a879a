//! The side that is asked: what a peer's gateway may ask of a pair, and what is left to do
//! afterwards without being asked.
//!
//! Every answer follows from what our agent has; the slot remembers only what is due later. A
//! peer may touch pairs whose `peer` it is, and nothing else.

use std::time::Instant;

use crypto_offload::rotation::{
    Action, Ask, Contest, Due, Failure, OfferVerdict, Presence, Responder, answer, answer_offer,
    settle, weigh_offer,
};
use crypto_offload::{Epoch, PairName};
use gateway_control::agent::AgentErrorCode;
use gateway_control::{
    ErrorCode, KeyOffer, PairStatus, PairTerms, PeerAnswer, PeerOffer, PeerStep, PeerStepDone,
    RotationRecord,
};

use super::Ipsec;
use super::agent::AskError;
use super::audience::Audience;
use super::drive::{opened, spis, standing};
use super::peers::Peer;
use super::reply::Refusal;
use super::rotate::{Cause, Want, unix_milliseconds};
use super::slots::{Answering, Takeover};

impl Ipsec {
    /// The pair, if it is this peer's.
    ///
    /// # Errors
    /// As if there were none, where it is another's.
    pub(crate) async fn pair_of_peer(
        &self,
        name: &PairName,
        peer: &Peer,
    ) -> Result<PairStatus, Refusal> {
        let status = self.agent().show(name).await?;
        match status.pair.peer.as_deref() == Some(peer.name.as_str()) {
            true => Ok(status),
            false => Err(Refusal::new(
                ErrorCode::Forbidden,
                name.as_str(),
                format!("this pair's other end is not {}", peer.name),
                "the pair's `peer` must name the gateway that asks",
            )),
        }
    }

    /// "My inbound SA of this epoch is installed; here is its key."
    pub(crate) async fn take_offer(
        &self,
        name: &PairName,
        epoch: Epoch,
        peer: &Peer,
        offer: PeerOffer,
    ) -> Result<PeerAnswer, Refusal> {
        let status = self.pair_of_peer(name, peer).await?;
        self.check_ids(&offer.gateway)?;
        check_terms(&status, &offer.terms)?;
        match self.weigh(&status, epoch, peer, &offer.gateway)? {
            OfferVerdict::Mine => {
                return Ok(PeerAnswer::Yours { gateway: self.gateway_id().to_owned() });
            }
            OfferVerdict::Stale { highest } => return Ok(PeerAnswer::Stale { highest }),
            OfferVerdict::Take => {}
        }
        match self.accept(&status, epoch, &offer.offer).await? {
            Some(offer) => Ok(PeerAnswer::Accepted { offer }),
            None => {
                self.slots().answered(name, epoch);
                Ok(PeerAnswer::Stale { highest: status.highest.max(epoch) })
            }
        }
    }

    /// Our own offer of the epoch, with both SAs installed; `None` where it was undone here.
    async fn accept(
        &self,
        status: &PairStatus,
        epoch: Epoch,
        theirs: &KeyOffer,
    ) -> Result<Option<KeyOffer>, Refusal> {
        let (agent, name, mut ours) = (self.agent(), &status.pair.name, None);
        for action in answer_offer(epoch, &standing(status)) {
            match action {
                Action::RetireOutbound(old) => {
                    agent.retire_outbound(name, old).await?;
                }
                Action::Prepare(epoch) => ours = Some(agent.prepare(name, epoch, None).await?.0),
                Action::InstallOutbound(epoch) => {
                    let installed =
                        agent.install_outbound(name, epoch, theirs.dangerous_duplicate());
                    match installed.await {
                        Ok(_) => {}
                        // Its outbound SA was there and is retired.
                        Err(AskError::Refused(error))
                            if error.code == AgentErrorCode::StaleEpoch =>
                        {
                            return Ok(None);
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                _ => {}
            }
        }
        Ok(ours)
    }

    /// Has the agent do what a request calls for; packets sealed under `from`, if that went.
    async fn obey(
        &self,
        ask: Ask,
        epoch: Epoch,
        status: &PairStatus,
        peer: &Peer,
        from: Option<Epoch>,
    ) -> Result<Option<u64>, Refusal> {
        let name = &status.pair.name;
        let actions = answer(ask, epoch, &standing(status)).map_err(|error| {
            let hint = "rotate again: a new epoch is above all that was";
            Refusal::new(ErrorCode::Conflict, name.as_str(), error.to_string(), hint)
        })?;
        // Before anything is switched: ours would go back to what is in use no more.
        self.heard(status, epoch, peer, &actions);
        let mut sealed = None;
        for action in actions {
            match action {
                Action::Switch(epoch) => self.agent().switch(name, epoch).await?,
                Action::RetireOutbound(old) => {
                    let packets = self.agent().retire_outbound(name, old).await?;
                    if Some(old) == from {
                        sealed = packets;
                    }
                }
                _ => {}
            }
        }
        Ok(sealed)
    }

    /// "Send under this epoch."
    pub(crate) async fn answer_switch(
        &self,
        name: &PairName,
        epoch: Epoch,
        peer: &Peer,
    ) -> Result<PeerStepDone, Refusal> {
        let status = self.pair_of_peer(name, peer).await?;
        self.obey(Ask::Switch, epoch, &status, peer, None).await?;
        Ok(PeerStepDone { sealed: None, opened: Some(opened(&status, epoch)) })
    }

    /// "Retire everything older than this epoch."
    pub(crate) async fn answer_retire(
        &self,
        name: &PairName,
        epoch: Epoch,
        peer: &Peer,
        step: PeerStep,
    ) -> Result<PeerStepDone, Refusal> {
        let status = self.pair_of_peer(name, peer).await?;
        let from = self.slots().answering(name, epoch, |answering| answering.from);
        let from = from.unwrap_or_else(|| older(&status, epoch).next_back());
        let mut sealed = self.obey(Ask::Retire, epoch, &status, peer, from).await?;
        if let (None, Some(from)) = (sealed, from) {
            // It went before, and its answer was lost: the agent remembers the count.
            sealed = self.agent().retire_outbound(name, from).await.unwrap_or_default();
        }
        self.slots().answering(name, epoch, |answering| {
            answering.peer_sealed = step.sealed.or(answering.peer_sealed);
        });
        self.later(name, epoch, |responder| responder.retired(Instant::now()));
        Ok(PeerStepDone { sealed, opened: Some(opened(&status, epoch)) })
    }

    /// "Go back to what was before this epoch, and forget it."
    pub(crate) async fn answer_abort(
        &self,
        name: &PairName,
        epoch: Epoch,
        peer: &Peer,
    ) -> Result<PeerStepDone, Refusal> {
        let status = self.pair_of_peer(name, peer).await?;
        if status.epoch(epoch).is_none() {
            return Ok(PeerStepDone::default());
        }
        self.obey(Ask::Abort, epoch, &status, peer, None).await?;
        self.later(name, epoch, |responder| responder.aborted(Instant::now()));
        Ok(PeerStepDone::default())
    }

    fn check_ids(&self, theirs: &str) -> Result<(), Refusal> {
        if theirs != self.gateway_id() {
            return Ok(());
        }
        let message = format!("both gateways are called \"{theirs}\"");
        let hint = "give one of them another ipsec.gateway_id";
        Err(Refusal::new(ErrorCode::Conflict, "ipsec.gateway_id", message, hint))
    }

    /// Whose rotation it is; where it is the peer's, it is remembered, and ours yields.
    fn weigh(
        &self,
        status: &PairStatus,
        epoch: Epoch,
        peer: &Peer,
        their_id: &str,
    ) -> Result<OfferVerdict, Refusal> {
        let name = &status.pair.name;
        let order = settle(self.gateway_id(), their_id);
        let taken = self.slots().contest(name, |own| {
            match weigh_offer(&Contest::new(epoch, &standing(status), own, order)) {
                OfferVerdict::Take => Ok(self.answering_of(status, epoch, peer)),
                verdict => Err(verdict),
            }
        });
        Ok(match taken {
            Ok(takeover) => {
                self.follow(name, epoch, takeover);
                OfferVerdict::Take
            }
            Err(verdict) => verdict,
        })
    }

    fn answering_of(&self, status: &PairStatus, epoch: Epoch, peer: &Peer) -> Answering {
        let now = Instant::now();
        let older = older(status, epoch).next_back();
        Answering {
            responder: Responder::new(epoch, status.pair.rotation, now),
            peer: peer.name.clone(),
            from: status.active.filter(|active| *active != epoch).or(older),
            old_spis: None,
            peer_sealed: None,
            began: now,
            changed: tokio::sync::watch::Sender::new(0),
        }
        .with_old_spis(status)
    }

    /// The peer goes on with an epoch that we may have forgotten over a restart. A rotation of
    /// ours ends with that, but for one to a newer epoch where nothing is switched: then the
    /// request only comes late.
    fn heard(&self, status: &PairStatus, epoch: Epoch, peer: &Peer, actions: &[Action]) {
        let superseded = status.active.is_some_and(|active| active > epoch);
        if superseded || (status.active == Some(epoch) && status.epochs.len() == 1) {
            // All is done, and the last answer was lost.
            return;
        }
        let name = &status.pair.name;
        let switches = actions.iter().any(|action| matches!(action, Action::Switch(_)));
        let taken = self.slots().contest(name, |own| match own {
            Some(own) if own > epoch && !switches => Err(()),
            _ => Ok(self.answering_of(status, epoch, peer)),
        });
        if let Ok(takeover) = taken {
            self.follow(name, epoch, takeover);
        }
    }

    fn follow(&self, name: &PairName, epoch: Epoch, takeover: Takeover) {
        if let Takeover::Began(changed) = takeover {
            tokio::spawn(self.clone().see_to(name.clone(), epoch, changed));
        }
    }

    fn later(&self, name: &PairName, epoch: Epoch, tell: impl FnOnce(&mut Responder)) {
        self.slots().answering(name, epoch, |answering| {
            tell(&mut answering.responder);
            answering.changed.send_modify(|count| *count += 1);
        });
    }

    /// Does what is due without being asked, until nothing is. What the agent refuses for good, or
    /// for long, is left to the schedule, which finds it in the pair's status: the pair's place is
    /// for a rotation that makes progress.
    async fn see_to(
        self,
        name: PairName,
        epoch: Epoch,
        mut changed: tokio::sync::watch::Receiver<u64>,
    ) {
        let mut arrivals = self.agent().arrivals();
        let mut pause = BEFORE_TRYING_AGAIN;
        loop {
            changed.borrow_and_update();
            let due = self
                .slots()
                .answering(&name, epoch, |answering| answering.responder.poll(Instant::now()));
            let done = match due {
                // Another rotation has taken this one's place.
                None => return,
                Some(Due::Wait(until)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until.into()) => {}
                        gone = changed.changed() => if gone.is_err() { return },
                        _ = self.until_refused(&name, epoch, &mut arrivals) => {
                            if !self.ask_to_begin_again(&name, epoch).await {
                                return self.take_over(&name, epoch).await;
                            }
                        }
                    }
                    continue;
                }
                Some(Due::RetireInbound(_)) => self.finish(&name, epoch).await,
                Some(Due::AskStatus(_)) => {
                    self.ask_status(&name, epoch).await;
                    continue;
                }
                Some(Due::Discard(_)) => self.agent().discard(&name, epoch).await,
                Some(Due::TakeOver(_)) => return self.take_over(&name, epoch).await,
                Some(Due::Nothing) => Ok(()),
            };
            match done {
                Err(error) if error.failure() == Failure::Transient && pause < GIVEN_UP => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => {
                    if let Err(error) = done {
                        tracing::warn!(pair = %name, %epoch, "left for later: {error}");
                    }
                    self.slots().answered(&name, epoch);
                    return;
                }
            }
        }
    }

    /// What the peer began is ours to end.
    async fn take_over(&self, name: &PairName, epoch: Epoch) {
        self.slots().answered(name, epoch);
        let cause = Cause { who: "recovery".to_owned(), why: "resumed".to_owned() };
        // What fails is told by the rotation itself, and tried again by the schedule.
        let _ = self.rotate(name, Want::Calm, &cause, Audience::Nobody).await;
    }

    /// What the initiator has of an epoch that it undid.
    async fn ask_status(&self, name: &PairName, epoch: Epoch) {
        let peer = self.slots().answering(name, epoch, |answering| answering.peer.clone());
        let peer = peer.and_then(|peer| self.peers().named(&peer));
        let answer = match &peer {
            Some(peer) => peer.status(name, epoch, STATUS_PATIENCE).await.ok(),
            None => None,
        };
        let now = Instant::now();
        self.slots().answering(name, epoch, |answering| match answer {
            Some(status) if status.epoch(epoch).is_none() => {
                answering.responder.peer_has(epoch, Presence::Nothing, now);
            }
            Some(_) => answering.responder.peer_has(epoch, Presence::Something, now),
            None => answering.responder.unanswered(now),
        });
    }

    /// The old inbound SAs go: the rotation is over on this side too.
    async fn finish(&self, name: &PairName, epoch: Epoch) -> Result<(), AskError> {
        let status = self.agent().show(name).await?;
        let noted = self.slots().answering(name, epoch, |answering| {
            (
                answering.peer.clone(),
                answering.from,
                answering.old_spis,
                answering.peer_sealed,
                answering.began,
            )
        });
        let Some((peer, from, old_spis, peer_sealed, began)) = noted else { return Ok(()) };
        let mut opened = None;
        for old in older(&status, epoch) {
            let packets = self.agent().retire_inbound(name, old).await?;
            if Some(old) == from {
                opened = packets;
            }
            // What an aborted rotation left of it.
            self.agent().discard(name, old).await?;
        }
        let Some(new_spis) = spis(&status, epoch) else { return Ok(()) };
        let lost = match from {
            Some(_) => {
                peer_sealed.zip(opened).map(|(sealed, opened)| sealed.saturating_sub(opened))
            }
            None => Some(0),
        };
        self.tell_rotated(RotationRecord {
            time: unix_milliseconds(),
            name: name.clone(),
            who: format!("peer {peer}"),
            why: "asked".to_owned(),
            from,
            to: epoch,
            old_spis,
            new_spis,
            seconds: began.elapsed().as_secs_f64(),
            lost,
        });
        Ok(())
    }
}

impl Answering {
    fn with_old_spis(mut self, status: &PairStatus) -> Self {
        self.old_spis = self.from.and_then(|from| spis(status, from));
        self
    }
}

/// Epochs before this one of which something is installed, oldest first.
fn older(status: &PairStatus, epoch: Epoch) -> impl DoubleEndedIterator<Item = Epoch> {
    status.epochs.iter().map(|status| status.epoch).filter(move |old| *old < epoch)
}

/// Both ends must mean the same traffic and the same protection.
pub(super) fn check_terms(status: &PairStatus, theirs: &PairTerms) -> Result<(), Refusal> {
    let (ours, theirs) = (PairTerms::of(&status.pair), theirs.mirrored());
    if ours == theirs {
        return Ok(());
    }
    let differences = differences(&ours, &theirs);
    let message = format!("the two ends are defined differently: {}", differences.join("; "));
    let hint = "define the pair alike at both gateways, with local and remote exchanged";
    Err(Refusal::new(ErrorCode::TermsDiffer, status.pair.name.as_str(), message, hint))
}

/// `field: here this, there that`, in our words.
fn differences(ours: &PairTerms, theirs: &PairTerms) -> Vec<String> {
    type Said = fn(&PairTerms) -> String;
    fn any<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "any".to_owned(), |value| value.to_string())
    }
    let fields: [(&str, Said); 11] = [
        ("local (remote there)", |terms| terms.outer.0.to_string()),
        ("remote (local there)", |terms| terms.outer.1.to_string()),
        ("local_net (remote_net there)", |terms| terms.inner.0.to_string()),
        ("remote_net (local_net there)", |terms| terms.inner.1.to_string()),
        ("protocol", |terms| any(terms.protocol)),
        ("local_port (remote_port there)", |terms| any(terms.ports.0)),
        ("remote_port (local_port there)", |terms| any(terms.ports.1)),
        ("mode", |terms| format!("{:?}", terms.mode).to_lowercase()),
        ("aead", |terms| terms.aead.to_string()),
        ("sequence_numbers", |terms| format!("{:?}", terms.sequence_numbers).to_lowercase()),
        ("encapsulation", |terms| match terms.encapsulation {
            None => "none".to_owned(),
            Some(ports) => format!("UDP {} to {}", ports.local_port, ports.remote_port),
        }),
    ];
    let said = fields.into_iter().map(|(field, said)| (field, said(ours), said(theirs)));
    said.filter(|(_, ours, theirs)| ours != theirs)
        .map(|(field, ours, theirs)| format!("{field}: here {ours}, there {theirs}"))
        .collect()
}

const STATUS_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Doubled each time.
const BEFORE_TRYING_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

/// After 15.5 s: an agent that restarts takes one.
const GIVEN_UP: std::time::Duration = std::time::Duration::from_secs(16);
