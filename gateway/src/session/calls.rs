//! All calls: from requests to the call they mean, and each call's birth and end.
//!
//! A call that has ended stays until its worker has closed its sockets and told what it did
//! ([`Calls::closed`]); its call-id is free at once, so that the same id may start anew.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use ng::request::{Delete, Query, Signal};
use ng::sdp::Sdp;
use ring::rand::SystemRandom;

use crate::relay::command::CallKey;
use crate::webrtc::plan::LegNews;

use super::answer;
use super::call::Call;
use super::fragment::{self, Sender};
use super::offer::{self, Context};
use super::origin;
use super::party::PartyIndex;
use super::ports::{LocalPorts, PortSource};
use super::settings::Settings;
use super::timeouts::Deadlines;
use super::{BranchEnd, DeleteEffect, Deleted, EndReason, Expired, Outcome, Refused, Warnings};

/// The state of all calls.
#[derive(Debug)]
pub struct Calls<P> {
    settings: Settings,
    ports: P,
    random: SystemRandom,
    /// Our name in the loop protection mark, for the life of the process.
    instance: Box<str>,
    calls: HashMap<CallKey, Call>,
    by_id: HashMap<Box<[u8]>, CallKey>,
    deadlines: Deadlines,
    next_key: u64,
}

impl<P: PortSource> Calls<P> {
    /// No calls yet.
    pub fn new(settings: Settings, ports: P) -> Self {
        let random = SystemRandom::new();
        Self {
            settings,
            ports,
            instance: origin::instance(&random),
            random,
            calls: HashMap::new(),
            by_id: HashMap::new(),
            deadlines: Deadlines::default(),
            next_key: 0,
        }
    }

    /// Takes an offer.
    pub fn offer(&mut self, signal: &Signal, now: Instant) -> Result<Outcome, Refused> {
        if signal.flags.fragment {
            return self.fragment(signal, Sender::Offerer);
        }
        let sdp = parse(signal)?;
        let Some(key) = self.by_id.get(&*signal.call_id).copied() else {
            return self.first_offer(signal, &sdp, now);
        };
        let call = self.calls.get_mut(&key).ok_or(Refused::UNKNOWN_CALL)?;
        if origin::has_looped(&sdp, signal, &self.instance) {
            return Ok(unchanged(call, signal));
        }
        let context = Context {
            signal,
            sdp: &sdp,
            settings: &self.settings,
            random: &self.random,
            instance: &self.instance,
            now,
        };
        let outcome = offered(&context, &mut self.ports, call)?;
        self.deadlines.schedule(call, &self.settings);
        Ok(outcome)
    }

    /// Takes the offer that makes a call. Refused, it leaves nothing behind.
    fn first_offer(
        &mut self,
        signal: &Signal,
        sdp: &Sdp,
        now: Instant,
    ) -> Result<Outcome, Refused> {
        if self.settings.max_sessions.is_some_and(|limit| self.by_id.len() >= limit) {
            return Err(Refused::SESSION_LIMIT);
        }
        let key = CallKey(self.next_key);
        let threads = self.settings.webrtc.as_ref().map_or(1, |webrtc| webrtc.threads.max(1));
        let uplink = u16::try_from(key.0 % u64::from(threads)).unwrap_or(0);
        let mut call = Call::new(key, uplink, &signal.call_id, now);
        let context = Context {
            signal,
            sdp,
            settings: &self.settings,
            random: &self.random,
            instance: &self.instance,
            now,
        };
        let outcome = offered(&context, &mut self.ports, &mut call)?;
        self.next_key += 1;
        self.deadlines.schedule(&mut call, &self.settings);
        self.by_id.insert(call.id.clone(), call.key);
        self.calls.insert(call.key, call);
        Ok(outcome)
    }

    /// Takes an answer.
    pub fn answer(&mut self, signal: &Signal, now: Instant) -> Result<Outcome, Refused> {
        if signal.flags.fragment {
            return self.fragment(signal, Sender::Answerer);
        }
        let sdp = parse(signal)?;
        let call = live(&mut self.calls, &self.by_id, &signal.call_id)?;
        if origin::has_looped(&sdp, signal, &self.instance) {
            return Ok(unchanged(call, signal));
        }
        let context = Context {
            signal,
            sdp: &sdp,
            settings: &self.settings,
            random: &self.random,
            instance: &self.instance,
            now,
        };
        let (mut warnings, mut freed) = (Warnings::new(), Vec::new());
        let sdp = answer::answer(&context, call, &mut warnings, &mut freed)?;
        if let Some(tag) = &signal.to_tag {
            fragment::catch_up(call, tag);
        }
        call.last_signal = now;
        call.date_keys(now);
        self.deadlines.schedule(call, &self.settings);
        let outcome = taken(call, sdp, warnings);
        self.release(freed);
        Ok(outcome)
    }

    /// Takes trickled candidates; there is no body to answer with.
    fn fragment(&mut self, signal: &Signal, sender: Sender) -> Result<Outcome, Refused> {
        let fragment = fragment::parse(&signal.sdp)?;
        let call = live(&mut self.calls, &self.by_id, &signal.call_id)?;
        let mut warnings = Warnings::new();
        fragment::take(call, signal, sender, &fragment, &mut warnings);
        let legs = call.legs();
        // The worker too is told whom to expect.
        let plan = (!legs.is_empty()).then(|| call.plan());
        Ok(Outcome { sdp: Bytes::new(), plan, legs, warnings, ..unchanged(call, signal) })
    }

    /// Ends a call or a branch, now or later. A call or party that is not there is
    /// [`Refused::NOT_FOUND`].
    pub fn delete(&mut self, delete: &Delete, now: Instant) -> Result<Deleted, Refused> {
        let call =
            live(&mut self.calls, &self.by_id, &delete.call_id).map_err(|_| Refused::NOT_FOUND)?;
        let key = call.key;
        let party = match &delete.from_tag {
            Some(_) => Some(meant(call, delete).ok_or(Refused::NOT_FOUND)?),
            // OpenSIPS names no tag: that is the whole call, with a branch or without.
            None => None,
        };
        let delay = delete.delete_delay.or(call.delete_delay).unwrap_or(self.settings.delete_delay);
        let deadline = now.checked_add(delay).filter(|_| !delay.is_zero());
        let effect = match (party, deadline) {
            (None, None) => {
                self.end(key, EndReason::Terminated);
                DeleteEffect::Close
            }
            (Some(party), None) => self.end_party(key, party),
            (None, Some(deadline)) => {
                call.deletion = Some(deadline);
                self.deadlines.schedule(call, &self.settings);
                DeleteEffect::Later
            }
            (Some(party), Some(deadline)) => {
                call.parties[party.0].deletion = Some(deadline);
                self.deadlines.schedule(call, &self.settings);
                DeleteEffect::Later
            }
        };
        Ok(Deleted { call: key, effect })
    }

    /// The call that a query means; its tags only choose what is told.
    pub fn query(&self, query: &Query) -> Result<CallKey, Refused> {
        self.by_id.get(&*query.call_id).copied().ok_or(Refused::UNKNOWN_CALL)
    }

    /// Call-ids of calls that are up, at most `limit`.
    pub fn list(&self, limit: usize) -> impl Iterator<Item = &[u8]> {
        self.by_id.keys().map(|id| &**id).take(limit)
    }

    /// Keys of calls that are up.
    pub fn keys(&self) -> impl Iterator<Item = CallKey> {
        self.by_id.values().copied()
    }

    /// How many calls are up.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no call is up.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// When [`Calls::expire`] next has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Ends what is over by now. Each call ended here waits for [`Calls::closed`].
    pub fn expire(&mut self, now: Instant) -> Vec<Expired> {
        let mut expired = Vec::new();
        for key in self.deadlines.take_due(now) {
            self.expire_call(key, now, &mut expired);
        }
        expired
    }

    fn expire_call(&mut self, key: CallKey, now: Instant, expired: &mut Vec<Expired>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.scheduled = None;
        if let Some(reason) = call.over(&self.settings, now) {
            self.end(key, reason);
            return expired.push(Expired::Call { call: key, reason });
        }
        let due: Vec<PartyIndex> =
            call.present().filter(|party| call.leaves(*party, now)).collect();
        // Settings may have moved the deadline: then nothing is due.
        self.deadlines.schedule(call, &self.settings);
        for party in due {
            match self.end_party(key, party) {
                DeleteEffect::Branch(end) => expired.push(Expired::Branch(end)),
                DeleteEffect::Close | DeleteEffect::Later => {
                    let reason = EndReason::Terminated;
                    return expired.push(Expired::Call { call: key, reason });
                }
            }
        }
    }

    /// What a worker's report of silence since `since` means: `Some` when the call has ended by
    /// it.
    pub fn idle(&mut self, call: CallKey, since: Instant, now: Instant) -> Option<Expired> {
        let reason = self.calls.get(&call)?.silent(&self.settings, since, now)?;
        self.end(call, reason);
        Some(Expired::Call { call, reason })
    }

    /// Ends a call from outside signalling (operator, drain), unless it has ended already.
    pub fn force_end(&mut self, call: CallKey) -> Option<Expired> {
        let up = self.calls.get(&call).is_some_and(|call| call.ended.is_none());
        up.then(|| {
            self.end(call, EndReason::Forced);
            Expired::Call { call, reason: EndReason::Forced }
        })
    }

    /// The worker has closed an ended call's sockets: its ports are free, it is forgotten.
    pub fn closed(&mut self, call: CallKey) {
        if let Some(mut call) = self.calls.remove(&call) {
            if let Some(deadline) = call.scheduled.take() {
                self.deadlines.forget(deadline, call.key);
            }
            if self.by_id.get(&call.id) == Some(&call.key) {
                self.by_id.remove(&call.id);
            }
            let freed: Vec<LocalPorts> = call.end_streams().collect();
            self.release(freed);
        }
    }

    /// New settings, for later requests.
    pub fn reconfigure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where ports come from.
    pub fn ports(&self) -> &P {
        &self.ports
    }

    /// Where ports come from.
    pub fn ports_mut(&mut self) -> &mut P {
        &mut self.ports
    }

    /// Takes what the agents say of a leg: for `query` and for later SDP. No other leg minds.
    pub fn leg_news(&mut self, news: LegNews, now: Instant) {
        let call = self.calls.get_mut(&news.call).filter(|call| call.ended.is_none());
        let stream = call.and_then(|call| call.streams.get_mut(usize::from(news.stream.0)));
        if let Some(stream) = stream.filter(|stream| !stream.ended()) {
            stream.hear(news.kind, now);
        }
    }

    /// The call-id of a call that is not forgotten.
    pub fn id(&self, key: CallKey) -> Option<&[u8]> {
        self.of_key(key).map(|call| &*call.id)
    }

    /// A call that is not forgotten.
    pub(super) fn of_key_mut(&mut self, key: CallKey) -> Option<&mut Call> {
        self.calls.get_mut(&key)
    }

    /// A call that is not forgotten.
    pub(super) fn of_key(&self, key: CallKey) -> Option<&Call> {
        self.calls.get(&key)
    }

    /// Takes a call out of service; its ports stay until its sockets are closed.
    fn end(&mut self, key: CallKey, reason: EndReason) {
        if let Some(call) = self.calls.get_mut(&key) {
            call.ended = Some(reason);
            self.by_id.remove(&call.id);
            self.deadlines.schedule(call, &self.settings);
        }
    }

    fn end_party(&mut self, key: CallKey, party: PartyIndex) -> DeleteEffect {
        let Some(call) = self.calls.get_mut(&key) else { return DeleteEffect::Close };
        let leaving = call.leaving_with(party);
        if call.present().all(|party| leaving.contains(&party)) {
            self.end(key, EndReason::Terminated);
            return DeleteEffect::Close;
        }
        let mut freed = Vec::new();
        call.end_parties(&leaving, &mut freed);
        self.deadlines.schedule(call, &self.settings);
        let (plan, legs) = (call.plan(), call.legs());
        self.release(freed);
        DeleteEffect::Branch(BranchEnd { plan, legs })
    }

    fn release(&mut self, freed: Vec<LocalPorts>) {
        for ports in freed {
            self.ports.release(ports);
        }
    }
}

fn live<'a>(
    calls: &'a mut HashMap<CallKey, Call>,
    by_id: &HashMap<Box<[u8]>, CallKey>,
    id: &[u8],
) -> Result<&'a mut Call, Refused> {
    let key = by_id.get(id).ok_or(Refused::UNKNOWN_CALL)?;
    calls.get_mut(key).ok_or(Refused::UNKNOWN_CALL)
}

/// An offer taken into its call.
fn offered<P: PortSource>(
    context: &Context<'_>,
    ports: &mut P,
    call: &mut Call,
) -> Result<Outcome, Refused> {
    let (mut warnings, mut freed) = (Warnings::new(), Vec::new());
    let sdp = offer::offer(context, ports, call, &mut warnings, &mut freed)?;
    fragment::catch_up(call, &context.signal.from_tag);
    freed.into_iter().for_each(|local| ports.release(local));
    call.last_signal = context.now;
    call.deletion = None;
    call.delete_delay = context.signal.delete_delay.or(call.delete_delay);
    Ok(taken(call, sdp, warnings))
}

/// What a request that was taken comes to.
fn taken(call: &mut Call, sdp: Bytes, warnings: Warnings) -> Outcome {
    let (plan, legs, weakened) = (Some(call.plan()), call.legs(), call.weakened());
    Outcome { sdp, call: call.key, plan, legs, warnings, weakened }
}

fn parse(signal: &Signal) -> Result<Sdp, Refused> {
    Sdp::parse(&signal.sdp).map_err(|error| {
        tracing::debug!(%error, "SDP refused");
        Refused(error.incumbent())
    })
}

fn unchanged(call: &Call, signal: &Signal) -> Outcome {
    Outcome {
        sdp: signal.sdp.clone(),
        call: call.key,
        plan: None,
        legs: Vec::new(),
        warnings: Warnings::new(),
        weakened: Vec::new(),
    }
}

/// The party a `delete` means: to-tag (when flagged) before from-tag; a via-branch picks the
/// caller's branch of that name.
fn meant(call: &Call, delete: &Delete) -> Option<PartyIndex> {
    if let Some(party) = delete.via_branch.as_deref().and_then(|branch| by_branch(call, branch)) {
        return Some(party);
    }
    let from = || delete.from_tag.as_deref().and_then(|tag| call.party(tag));
    match delete.to_tag.as_deref() {
        Some(tag) => call.party(tag).or_else(|| {
            // A callee whose answer never came goes by no tag yet.
            call.parties[from()?.0].partner.filter(|partner| call.parties[partner.0].is_anonymous())
        }),
        None => from(),
    }
}

fn by_branch(call: &Call, branch: &[u8]) -> Option<PartyIndex> {
    let is_it =
        |party: &super::party::Party| !party.ended && party.branch.as_deref() == Some(branch);
    call.parties.iter().position(is_it).map(PartyIndex)
}

#[cfg(test)]
impl<P: PortSource> Calls<P> {
    /// The call of this id, for tests to look at.
    pub(super) fn call(&self, id: &[u8]) -> Option<&Call> {
        self.by_id.get(id).and_then(|key| self.calls.get(key))
    }
}
