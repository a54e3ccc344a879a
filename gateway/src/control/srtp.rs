//! SRTP legs for the admin API: lists them, and brings those new keys that should have some, at once
//! where their parties know others of ours, else by a mark for the next offer.
//!
//! Packets under a key are the worker's to count: it is asked for each call of a page, and whoever
//! asked waits for it elsewhere.

use std::time::Instant;

use bytes::Bytes;
use gateway_control::{
    EventKind, SrtpAgentState, SrtpKeying, SrtpLeg, SrtpOwnKeys, SrtpPackets, SrtpRekeyReport,
    SrtpRekeyRequest, SrtpRekeyResult, SrtpRekeyed,
};
use srtp::Mki;
use tokio::sync::oneshot;

use super::Control;
use crate::events::Occurrence;
use crate::relay::command::{CallKey, CallReport, Command, KeyLimit, KeyOwner, StreamIndex};
use crate::session::rekey::{self, Act, OwnKeys, Switch, Way, Wish};

/// Legs of some calls, and the reports that their workers owe.
#[derive(Debug, Default)]
pub(crate) struct SrtpPage {
    pub(crate) calls: Vec<SrtpCall>,
    /// Where the next page begins.
    pub(crate) next: Option<u64>,
}

/// Those of one call.
#[derive(Debug)]
pub(crate) struct SrtpCall {
    legs: Vec<SrtpLeg>,
    /// `None`: its worker has no time for it.
    pub(crate) report: Option<oneshot::Receiver<Option<CallReport>>>,
}

/// Which calls.
#[derive(Debug)]
pub(crate) enum Whose {
    /// This one.
    Call(Bytes),
    /// All of them, so many at a time.
    Page { after: Option<u64>, limit: usize },
}

impl SrtpCall {
    /// Its legs, with the packets that its worker has counted.
    pub(crate) fn legs(self, report: Option<&CallReport>) -> Vec<SrtpLeg> {
        let mut legs = self.legs;
        for leg in &mut legs {
            let of_stream = |report: &CallReport| {
                report.streams.get(usize::from(leg.stream)).map(|stream| stream.keyed)
            };
            leg.packets = report
                .and_then(of_stream)
                .map(|keyed| SrtpPackets { opened: keyed.opened, sealed: keyed.sealed });
        }
        legs
    }
}

impl Control {
    /// SRTP legs. `None`: there is no such call.
    pub(super) fn srtp_page(&mut self, whose: &Whose) -> Option<SrtpPage> {
        let (calls, next) = self.calls_of(whose)?;
        let calls = calls.into_iter().filter_map(|call| self.srtp_call(call)).collect();
        Some(SrtpPage { calls, next })
    }

    /// Switches or marks legs. `None`: there is no such call.
    pub(super) fn rekey(&mut self, request: &SrtpRekeyRequest) -> Option<SrtpRekeyReport> {
        let whose = match &request.call_id {
            Some(id) => Whose::Call(Bytes::copy_from_slice(id.as_bytes())),
            None => Whose::Page { after: request.after, limit: CALLS_MARKED },
        };
        let (calls, next) = self.calls_of(&whose)?;
        let wish = Wish {
            tag: request.tag.as_deref().map(str::as_bytes),
            older_than: std::time::Duration::from_secs(request.older_than_seconds),
            act: if request.dry_run { Act::Tell } else { Act::Mark },
        };
        let now = Instant::now();
        let mut legs = Vec::new();
        for call in calls {
            let call_id = self.call_id(call);
            for leg in self.calls.rekey(call, wish, now) {
                match (wish.act, leg.way) {
                    (Act::Mark, Way::NextOffer) => {
                        self.tell_due(&call_id, leg.stream, BY_OPERATOR, "operator");
                    }
                    (Act::Mark, Way::AtOnce(switch)) => {
                        self.switch_key(call, leg.stream, switch, (AT_ONCE, "operator"));
                    }
                    (Act::Tell, _) | (_, Way::Due | Way::NotPossible(_)) => {}
                }
                legs.push(rekeyed(call_id.clone(), leg));
            }
        }
        Some(SrtpRekeyReport { legs, next })
    }

    /// A key nears, or has reached, its limit. Our own is replaced by the next that its party knows,
    /// else by the next offer to it. The notice may have been under way while another key of ours was
    /// put in use: a step or a mark for that one would be too early.
    pub(super) fn key_limit(
        &mut self,
        call: CallKey,
        stream: StreamIndex,
        (owner, mki): (KeyOwner, &Mki),
        limit: KeyLimit,
    ) {
        let call_id = self.call_id(call);
        let owner_name = match owner {
            KeyOwner::Party => "signalling",
            KeyOwner::Ours => "gateway",
        };
        let way = match owner {
            KeyOwner::Ours => self.calls.rekey_leg(call, stream, mki, Instant::now()),
            KeyOwner::Party => None,
        };
        if let Some(Way::AtOnce(switch)) = way {
            self.switch_key(call, stream, switch, (BEFORE_LIMIT, "gateway"));
        }
        match limit {
            KeyLimit::Soft if matches!(way, Some(Way::AtOnce(_))) => {}
            KeyLimit::Soft if owner == KeyOwner::Ours && way.is_none() => {}
            KeyLimit::Soft => self.tell_due(&call_id, stream, AT_SOFT_LIMIT, owner_name),
            KeyLimit::Hard => self.events.record(Occurrence {
                kind: EventKind::LimitReached,
                object: &object(&call_id, stream),
                from: "",
                to: "",
                reason: AT_HARD_LIMIT,
                owner: owner_name,
            }),
        }
    }

    /// Has the leg's worker go on under the next of our keys, and tells it.
    fn switch_key(
        &mut self,
        call: CallKey,
        stream: StreamIndex,
        switch: Switch,
        (reason, owner): (&str, &str),
    ) {
        let Some(placement) = self.placements.get(&call) else { return };
        let (worker, mki) = (placement.worker, switch.to.mki.mki());
        self.command(worker, Command::SwitchKey { call, stream, mki });
        self.ledger.key_switches += 1;
        self.events.record(Occurrence {
            kind: EventKind::SrtpRekeyed,
            object: &object(&self.call_id(call), stream),
            from: &format!("mki {}", switch.from.number()),
            to: &format!("mki {}", switch.to.mki.number()),
            reason,
            owner,
        });
    }

    fn tell_due(&self, call_id: &str, stream: StreamIndex, reason: &str, owner: &str) {
        self.events.record(Occurrence {
            kind: EventKind::SrtpRekeyDue,
            object: &object(call_id, stream),
            from: "",
            to: "",
            reason,
            owner,
        });
    }

    fn calls_of(&self, whose: &Whose) -> Option<(Vec<CallKey>, Option<u64>)> {
        match whose {
            Whose::Call(id) => Some((vec![self.call_of(id)?], None)),
            Whose::Page { after, limit } => {
                let keys = self.calls.keys_after(after.map(CallKey), *limit);
                let next = keys.last().filter(|_| keys.len() == *limit).map(|key| key.0);
                Some((keys, next))
            }
        }
    }

    fn srtp_call(&mut self, call: CallKey) -> Option<SrtpCall> {
        let legs = self.calls.srtp_legs(call);
        if legs.is_empty() {
            return None;
        }
        let call_id = self.call_id(call);
        let now = Instant::now();
        let legs = legs.into_iter().map(|leg| shown(call_id.clone(), leg, now)).collect();
        let worker = self.placements.get(&call).map(|placement| placement.worker);
        let worker = worker.filter(|worker| !self.outboxes[*worker].is_overwhelmed());
        let report = worker.map(|worker| {
            let (reply, report) = oneshot::channel();
            self.command(worker, Command::Report { call, reply });
            report
        });
        Some(SrtpCall { legs, report })
    }

    fn call_id(&self, call: CallKey) -> String {
        let id = self.calls.id(call).unwrap_or_default();
        String::from_utf8_lossy(id).into_owned()
    }
}

fn shown(call_id: String, leg: rekey::SrtpLeg, now: Instant) -> SrtpLeg {
    let view = leg.view;
    let state = |state: &str, reason: &Option<String>| SrtpAgentState {
        state: state.to_owned(),
        reason: reason.clone(),
    };
    SrtpLeg {
        call_id,
        stream: leg.stream.0,
        tag: leg.tag.as_deref().map(lossy),
        media: leg.media,
        kind: lossy(&view.kind),
        keying: match (&view.dtls, view.shared) {
            (Some(_), _) => SrtpKeying::Dtls,
            (None, true) => SrtpKeying::Shared,
            (None, false) => SrtpKeying::Sdes,
        },
        profile: view.suite.map(str::to_owned),
        age_seconds: leg.since.map_or(0.0, |since| (now - since).as_secs_f64()),
        packets: None,
        rekey_due: leg.way == Way::Due,
        own_keys: leg.own_keys.map(own_keys),
        ice: view.ice.map(|ice| state(ice.state.name(), &ice.reason)),
        dtls: view.dtls.map(|dtls| state(dtls.state.name(), &dtls.reason)),
    }
}

fn rekeyed(call_id: String, leg: rekey::SrtpLeg) -> SrtpRekeyed {
    let (result, reason) = match leg.way {
        Way::AtOnce(_) => (SrtpRekeyResult::Switched, AT_ONCE),
        Way::NextOffer => (SrtpRekeyResult::Marked, BY_OFFER),
        Way::Due => (SrtpRekeyResult::AlreadyMarked, BY_OFFER),
        Way::NotPossible(reason) => (SrtpRekeyResult::NotPossible, reason),
    };
    SrtpRekeyed {
        call_id,
        stream: leg.stream.0,
        tag: leg.tag.as_deref().map(lossy),
        media: leg.media,
        result,
        own_keys: match leg.way {
            Way::AtOnce(switch) => Some(own_keys(switch.to)),
            Way::NextOffer | Way::Due | Way::NotPossible(_) => leg.own_keys.map(own_keys),
        },
        reason: reason.to_owned(),
    }
}

fn own_keys(OwnKeys { mki, left }: OwnKeys) -> SrtpOwnKeys {
    SrtpOwnKeys { mki: mki.number(), left }
}

fn object(call_id: &str, stream: StreamIndex) -> String {
    format!("call {call_id} stream {}", stream.0)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// So many calls are marked before other requests have their turn.
const CALLS_MARKED: usize = 256;

const AT_ONCE: &str = "its party knows the next of our keys by its MKI";
const BEFORE_LIMIT: &str = "the SRTP key's soft limit is reached, and the party knows the next one";
const BY_OFFER: &str = "the next offer to its party brings new keys";
const BY_OPERATOR: &str = "the operator wishes it; an offer to its party brings new keys";
const AT_SOFT_LIMIT: &str = "the SRTP key's soft limit is reached; a re-INVITE brings a new one";
const AT_HARD_LIMIT: &str = "the SRTP key has protected all the packets that it may; they are \
                             dropped as key_exhausted until a re-INVITE brings a new one";
