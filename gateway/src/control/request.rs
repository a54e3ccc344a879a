//! What each ng command does.

use std::time::Instant;

use gateway_control::{EventKind, Lifecycle};
use ng::reply;
use ng::request::{Delete, Query, Request, Signal};
use ng::wire::Dict;

use super::desk::{Origin, Received, Ticket};
use super::report::{Purpose, Want};
use super::tcp::TcpRequest;
use super::{Control, Placement};
use crate::events::Occurrence;
use crate::metrics::ledger::{Ending, Verb};
use crate::relay::command::{CallKey, Command};
use crate::session::{DeleteEffect, EndReason, Outcome, Refused, Weakened};
use crate::throttle::Throttle;
use crate::weakness;

impl Control {
    /// Takes what has arrived, up to a bound that lets the other inputs have their turn.
    pub(super) fn receive_datagrams(&mut self) {
        for _ in 0..DATAGRAMS_A_TURN {
            let Some((origin, datagram)) = self.desk.next_datagram() else { return };
            let received = self.desk.receive(origin, &datagram, Instant::now());
            self.handle(received);
        }
    }

    pub(super) fn receive_tcp(&mut self, request: TcpRequest) {
        let origin = Origin::Tcp(request.connection);
        let received = self.desk.receive(origin, &request.message, Instant::now());
        self.handle(received);
    }

    fn handle(&mut self, received: Received) {
        let (ticket, dict) = match received {
            Received::Request(ticket, dict) => (ticket, dict),
            Received::Unreadable(client) => return self.ledger.error(client),
            Received::Settled => return,
        };
        let (request, unknown) = Request::parse(&dict);
        self.desk.warn_of(&unknown);
        match request {
            Ok(request) => self.perform(ticket, request),
            Err(refused) => {
                self.ledger.error(ticket.origin.client());
                self.desk.answer(ticket, &reply::error(refused.to_string()), Instant::now());
            }
        }
    }

    fn perform(&mut self, ticket: Ticket, request: Request) {
        let now = ticket.arrived;
        match request {
            Request::Ping => self.reply(ticket, Verb::Ping, Ok(reply::pong())),
            Request::Offer(signal) => {
                let outcome = self.offer(&signal, now);
                let answer = self.carry_out(&signal, outcome, now);
                self.reply(ticket, Verb::Offer, answer);
            }
            Request::Answer(signal) => {
                let outcome = self.answer(&signal, now);
                let answer = self.carry_out(&signal, outcome, now);
                self.reply(ticket, Verb::Answer, answer);
            }
            Request::Delete(delete) => self.delete(ticket, &delete),
            Request::Query(query) => self.query(ticket, &query),
            Request::List { limit } => {
                let ids = self.calls.list(limit).map(bytes::Bytes::copy_from_slice);
                let answer = reply::list(ids.collect::<Vec<_>>());
                self.reply(ticket, Verb::List, Ok(answer));
            }
            Request::Statistics => self.ask_workers(ticket),
        }
    }

    /// An offer, unless it is for a new call and we take none.
    fn offer(&mut self, signal: &Signal, now: Instant) -> Result<Outcome, Refused> {
        let known = self.call_of(&signal.call_id);
        if known.is_none() && self.lifecycle == Lifecycle::Draining {
            // The words that controllers take as "try another relay".
            return Err(Refused::SESSION_LIMIT);
        }
        self.check_room(known)?;
        self.calls.offer(signal, now)
    }

    fn answer(&mut self, signal: &Signal, now: Instant) -> Result<Outcome, Refused> {
        self.check_room(self.call_of(&signal.call_id))?;
        self.calls.answer(signal, now)
    }

    /// A worker that is overwhelmed gets no more plans: what cannot be carried out is refused
    /// while it still can be.
    fn check_room(&self, call: Option<CallKey>) -> Result<(), Refused> {
        let placement = call.and_then(|call| self.placements.get(&call));
        let worker = placement.map_or_else(|| self.choose_worker(), |placement| placement.worker);
        match self.outboxes[worker].is_overwhelmed() {
            true => Err(Refused::SESSION_LIMIT),
            false => Ok(()),
        }
    }

    /// The plan to the worker first, then the reply: media must be relayed by the time that a
    /// peer learns our address.
    fn carry_out(
        &mut self,
        signal: &Signal,
        outcome: Result<Outcome, Refused>,
        now: Instant,
    ) -> Result<Dict, Dict> {
        let outcome = outcome.map_err(|refused| self.refusal(signal, refused, now))?;
        let worker = self.place(&outcome, now);
        if let Some(plan) = outcome.plan {
            self.command(worker, Command::Apply(plan));
        }
        self.agents.plan(worker, outcome.legs);
        // A fragment is taken, and there is nothing to say back.
        let mut reply = match outcome.sdp.is_empty() {
            true => reply::ok(),
            false => reply::sdp(outcome.sdp),
        };
        if let Some(warning) = outcome.warnings.first() {
            reply.push("warning", *warning);
        }
        for weakened in &outcome.weakened {
            self.tell_weakened(outcome.call, weakened);
        }
        for warning in &outcome.warnings {
            self.tell_oddity(signal, warning, now);
        }
        Ok(reply)
    }

    /// Loud, each time: it is by the operator's leave, and may be an attacker's doing.
    fn tell_weakened(&mut self, call: CallKey, weakened: &Weakened) {
        let Weakened { stream, weaknesses } = *weakened;
        weakness::of(weaknesses).for_each(|weakness| self.ledger.weakened(weakness));
        let names: Vec<_> = weakness::of(weaknesses).map(weakness::name).collect();
        self.events.record(Occurrence {
            kind: EventKind::SrtpWeakened,
            object: &format!("call {} stream {}", call.0, stream.0),
            from: "",
            to: &names.join(", "),
            reason: "signalling agreed on it, and the configuration accepts it",
            owner: "signalling",
        });
    }

    /// Controllers drop a reply's warning, and what it says may be why a call is silent. One
    /// script makes the same mistake in every call, so each is told at intervals.
    fn tell_oddity(&mut self, signal: &Signal, warning: &'static str, now: Instant) {
        let throttle =
            self.oddities.entry(warning).or_insert_with(|| Throttle::new(ODDITY_INTERVAL));
        if let Some(unsaid) = throttle.admit(now) {
            let call_id = &signal.call_id[..signal.call_id.len().min(CALL_ID_SHOWN)];
            tracing::warn!(call_id = %call_id.escape_ascii(), unsaid, "ng: {warning}");
        }
    }

    fn place(&mut self, outcome: &Outcome, now: Instant) -> usize {
        if let Some(placement) = self.placements.get(&outcome.call) {
            return placement.worker;
        }
        let worker = self.choose_worker();
        self.placements.insert(outcome.call, Placement { worker, created: now });
        self.loads[worker] += 1;
        self.ledger.calls += 1;
        worker
    }

    fn refusal(&mut self, signal: &Signal, refused: Refused, now: Instant) -> Dict {
        let limit = refused == Refused::SESSION_LIMIT;
        let no_ports = refused == Refused::OUT_OF_PORTS;
        // A call that is up and gets no further ports is not a call rejected.
        if limit || (no_ports && self.call_of(&signal.call_id).is_none()) {
            self.ledger.ended(Ending::Rejected);
        }
        if limit || no_ports {
            self.tell_limit(refused, now);
        }
        match limit && signal.supports_load_limit {
            true => reply::load_limit(refused.0),
            false => reply::error(refused.0),
        }
    }

    /// Not at every call: a full gateway refuses thousands.
    fn tell_limit(&mut self, refused: Refused, now: Instant) {
        if self.limit_quiet_until.is_some_and(|until| now < until) {
            return;
        }
        self.limit_quiet_until = Some(now + LIMIT_QUIET);
        let no_ports = refused == Refused::OUT_OF_PORTS;
        let shortage = self.calls.ports().shortage().filter(|_| no_ports);
        let (object, owner, reason) = match shortage {
            Some(shortage) => (shortage.object, shortage.owner, shortage.reason.as_str()),
            None if self.lifecycle == Lifecycle::Draining => ("drain", "operator", refused.0),
            None if self.is_full() => ("limits.max_calls", "config", refused.0),
            None => ("workers", "gateway", "a worker has more plans waiting than it can take"),
        };
        let kind = EventKind::LimitReached;
        self.events.record(Occurrence { kind, object, from: "", to: "", reason, owner });
    }

    fn is_full(&self) -> bool {
        self.calls.settings().max_sessions.is_some_and(|most| self.calls.len() >= most)
    }

    fn delete(&mut self, ticket: Ticket, delete: &Delete) {
        let deleted = match self.calls.delete(delete, ticket.arrived) {
            Ok(deleted) => deleted,
            Err(refused) => {
                let answer = match delete.fatal {
                    true => Err(reply::error(refused.0)),
                    false => Ok(reply::warning(refused.0)),
                };
                return self.reply(ticket, Verb::Delete, answer);
            }
        };
        let call = deleted.call;
        match deleted.effect {
            DeleteEffect::Close => {
                self.ledger.ended(Ending::from(EndReason::Terminated));
                if delete.fast {
                    self.reply(ticket, Verb::Delete, Ok(reply::ok()));
                    self.close(call, None);
                } else {
                    let want = Want { ticket, verb: Verb::Delete };
                    self.close(call, Some(want));
                }
            }
            DeleteEffect::Branch(end) => {
                if let Some(placement) = self.placements.get(&call) {
                    let worker = placement.worker;
                    self.command(worker, Command::Apply(end.plan));
                    self.agents.plan(worker, end.legs);
                }
                self.report_or_ok(ticket, call, delete.fast);
            }
            DeleteEffect::Later => self.report_or_ok(ticket, call, delete.fast),
        }
    }

    fn report_or_ok(&mut self, ticket: Ticket, call: CallKey, fast: bool) {
        if fast {
            return self.reply(ticket, Verb::Delete, Ok(reply::ok()));
        }
        self.ask_worker(call, Purpose::Reply(Want { ticket, verb: Verb::Delete }));
    }

    fn query(&mut self, ticket: Ticket, query: &Query) {
        match self.calls.query(query) {
            Ok(call) => {
                self.ask_worker(call, Purpose::Reply(Want { ticket, verb: Verb::Query }));
            }
            Err(refused) => self.reply(ticket, Verb::Query, Err(reply::error(refused.0))),
        }
    }

    /// Answers and counts. `Err` is an answer too: one that says no.
    pub(super) fn reply(&mut self, ticket: Ticket, verb: Verb, answer: Result<Dict, Dict>) {
        let (client, arrived) = (ticket.origin.client(), ticket.arrived);
        if answer.is_err() {
            self.ledger.error(client);
        }
        let (Ok(dict) | Err(dict)) = answer;
        let now = Instant::now();
        self.desk.answer(ticket, &dict, now);
        self.ledger.request(client, verb, now.saturating_duration_since(arrived));
    }
}

/// Requests handled before the other inputs have their turn.
const DATAGRAMS_A_TURN: usize = 64;

/// The same oddity is told no more often.
const ODDITY_INTERVAL: std::time::Duration = std::time::Duration::from_secs(60);

/// Bytes of a call-id worth a log line.
const CALL_ID_SHOWN: usize = 128;

/// The event of a reached limit is told no more often.
const LIMIT_QUIET: std::time::Duration = std::time::Duration::from_secs(60);
