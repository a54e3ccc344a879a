//! A thread's handshakes: DTLS sorted by what it costs, the queues in which it waits, and the steps
//! that the [`Budget`](crate::webrtc::budget::Budget) allows.

use std::time::Instant;

use super::{A_ROUND, AgentThread};
use crate::relay::uplink::AgentPacket;
use crate::webrtc::figures::AgentDrop;
use crate::webrtc::keying::Cost;
use crate::webrtc::leg::{Datagram, LegKey};
use crate::webrtc::line::{Bounds, Full};

impl AgentThread {
    /// Sorts what came by what it costs.
    pub(super) fn take_dtls(&mut self) {
        for _ in 0..A_ROUND {
            let Some(packet) = self.setup.intake.dtls() else { return };
            let key = LegKey::new(packet.call, packet.stream);
            let Some(seat) = self.seats.get(&key) else {
                self.tally.drop(AgentDrop::NoLeg);
                continue;
            };
            match seat.leg.cost(Datagram::from(&packet)) {
                Cost::Little => {
                    let now = Instant::now();
                    self.with_leg(key, |leg, out| leg.dtls((&packet).into(), now, out));
                }
                cost @ (Cost::Step | Cost::Answer | Cost::Handshake) => self.wait(packet, cost),
                Cost::Useless => self.tally.drop(AgentDrop::Unexpected),
            }
        }
    }

    pub(super) fn wait(&mut self, packet: AgentPacket, cost: Cost) {
        let waits = match cost {
            Cost::Handshake => self.fresh.push(packet),
            Cost::Answer => self.answers.push(packet),
            _ if self.ongoing.len() < ONGOING_ROOM => {
                self.ongoing.push_back(Box::new(packet));
                Ok(())
            }
            _ => Err(Full),
        };
        if waits == Err(Full) {
            self.tally.drop(AgentDrop::Busy);
        }
    }

    /// Steps of handshakes, as far as the budget goes.
    pub(super) fn shake_hands(&mut self) {
        let mut now = Instant::now();
        while self.budget.has_time(now) {
            let Some(job) = self.next_job() else { break };
            match job {
                Job::Datagram(packet) => self.step(&packet, now),
                Job::Turn(packets) => packets.iter().for_each(|packet| self.step(packet, now)),
                Job::Client(key) => self.begin_client(key, now),
            }
            let after = Instant::now();
            let took = after.saturating_duration_since(now);
            self.budget.spend(took);
            self.tally.step(took.as_secs_f64());
            self.take_stun();
            now = Instant::now();
        }
        self.tally.waiting(self.jobs(), now);
    }

    pub(super) fn jobs(&self) -> usize {
        self.ongoing.len() + self.answers.len() + self.fresh.len() + self.clients.len()
    }

    /// What is under way first, then what becomes it where there is a place; then clients, whom
    /// signalling wants; then ClientHellos.
    fn next_job(&mut self) -> Option<Job> {
        if let Some(packet) = self.ongoing.pop_front() {
            return Some(Job::Datagram(packet));
        }
        if self.budget.has_place()
            && let Some(packets) = self.answers.pop()
        {
            return Some(Job::Turn(packets));
        }
        let client = self.clients.pop_front().map(Job::Client);
        client.or_else(|| self.fresh.pop().map(Job::Turn))
    }

    fn step(&mut self, packet: &AgentPacket, now: Instant) {
        let key = LegKey::new(packet.call, packet.stream);
        let Some(seat) = self.seats.get(&key) else { return self.tally.drop(AgentDrop::NoLeg) };
        // It may have waited while the leg went on.
        match seat.leg.cost(packet.into()) {
            Cost::Useless => return self.tally.drop(AgentDrop::Unexpected),
            Cost::Handshake => self.begin(key, now),
            Cost::Answer if self.budget.begin(key.call()) => {
                self.with_leg(key, |leg, _| leg.take_place(now));
            }
            Cost::Answer => return self.tally.drop(AgentDrop::Busy),
            Cost::Little | Cost::Step => {}
        }
        self.with_leg(key, |leg, out| leg.dtls(packet.into(), now, out));
    }

    /// A client's turn. Its leg may have gone since it was put there, and be another one now.
    fn begin_client(&mut self, key: LegKey, now: Instant) {
        let Some(seat) = self.seats.get_mut(&key) else { return };
        seat.queued = false;
        if seat.leg.is_client_to_begin() {
            self.begin(key, now);
        }
    }

    /// The first flight.
    fn begin(&mut self, key: LegKey, now: Instant) {
        let Some(seat) = self.seats.get(&key) else { return };
        let serial = seat.leg.certificate();
        let shown = serial.and_then(|serial| self.shelf.shown(serial)).cloned();
        let settings = self.setup.limits.dtls.clone();
        match shown {
            Some(shown) => {
                self.with_leg(key, |leg, out| leg.begin(&shown.identity, &settings, now, out))
            }
            None => self.with_leg(key, |leg, out| leg.refuse_handshake(NO_CERTIFICATE, now, out)),
        }
    }
}

/// What is to be done for a handshake.
enum Job {
    Datagram(Box<AgentPacket>),
    /// All that waits of one leg.
    Turn(Vec<AgentPacket>),
    Client(LegKey),
}

/// Shown under `query` and in the log.
const NO_CERTIFICATE: &str = "the certificate that the party was told of is gone";

/// Datagrams that wait for time: what arrives in less than a party waits before it sends again.
const ONGOING_ROOM: usize = 512;

/// ClientHellos that wait for time: one is two datagrams where it offers keys that no quantum
/// computer finds.
pub(super) const FRESH: Bounds = Bounds { legs: 256, of_a_leg: 4 };

/// First answers that wait for a place: a flight with a long chain is ten datagrams.
pub(super) const ANSWERS: Bounds = Bounds { legs: 256, of_a_leg: 16 };
