//! When calls and branches end by themselves: delayed deletion, no answer, no packets.
//!
//! Deadlines that only signalling moves (deletion, offer timeout) are in one ordered set, one
//! entry per call. Silence is the worker's to notice ([`WorkerEvent::Idle`]); whether it means
//! the end is decided here, because only signalling knows who is on hold.
//!
//! [`WorkerEvent::Idle`]: crate::relay::command::WorkerEvent::Idle

use std::collections::BTreeSet;
use std::time::Instant;

use crate::relay::command::CallKey;

use super::EndReason;
use super::call::Call;
use super::party::PartyIndex;
use super::settings::Settings;

/// All calls' next deadlines, soonest first.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Instant, u64)>);

impl Deadlines {
    /// Puts a call where it belongs now.
    pub(super) fn schedule(&mut self, call: &mut Call, settings: &Settings) {
        let deadline = call.deadline(settings);
        if deadline == call.scheduled {
            return;
        }
        if let Some(old) = call.scheduled {
            self.0.remove(&(old, call.key.0));
        }
        if let Some(new) = deadline {
            self.0.insert((new, call.key.0));
        }
        call.scheduled = deadline;
    }

    /// Takes out a call's entry.
    pub(super) fn forget(&mut self, deadline: Instant, call: CallKey) {
        self.0.remove(&(deadline, call.0));
    }

    /// The soonest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out the calls whose deadline has come.
    pub(super) fn take_due(&mut self, now: Instant) -> impl Iterator<Item = CallKey> + use<> {
        let later = self.0.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.0, later).into_iter().map(|(_, call)| CallKey(call))
    }
}

impl Call {
    /// When something of this call ends unless signalling comes first.
    fn deadline(&self, settings: &Settings) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let parties = self.parties.iter().filter(|party| !party.ended);
        parties
            .filter_map(|party| party.deletion)
            .chain(self.deletion)
            .chain(self.offer_deadline(settings))
            .min()
    }

    /// Why the whole call is over by now, if it is.
    pub(super) fn over(&self, settings: &Settings, now: Instant) -> Option<EndReason> {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.deletion) {
            Some(EndReason::Terminated)
        } else if due(self.offer_deadline(settings)) {
            Some(EndReason::OfferTimeout)
        } else {
            None
        }
    }

    /// Whether a party's delayed deletion has come.
    pub(super) fn leaves(&self, party: PartyIndex, now: Instant) -> bool {
        let party = &self.parties[party.0];
        !party.ended && party.deletion.is_some_and(|deadline| deadline <= now)
    }

    /// Why a call without packets since `since` is over, if it is.
    pub(super) fn silent(
        &self,
        settings: &Settings,
        since: Instant,
        now: Instant,
    ) -> Option<EndReason> {
        if !self.answered || self.ended.is_some() {
            return None;
        }
        // An answer or a re-INVITE is a sign of life, too: media may start only then.
        let silence = now.saturating_duration_since(since.max(self.last_signal));
        let (limit, reason) = match self.on_hold() {
            true => (settings.silent_timeout, EndReason::SilentTimeout),
            false => (settings.timeout, EndReason::Timeout),
        };
        (silence >= limit).then_some(reason)
    }

    fn offer_deadline(&self, settings: &Settings) -> Option<Instant> {
        if self.answered {
            return None;
        }
        self.last_signal.checked_add(settings.offer_timeout)
    }

    /// Any stream is on hold: then silence on it says nothing.
    fn on_hold(&self) -> bool {
        self.parties.iter().filter(|party| !party.ended).any(|party| {
            party.media.iter().any(|media| media.said.as_ref().is_some_and(|said| said.on_hold()))
        })
    }
}
