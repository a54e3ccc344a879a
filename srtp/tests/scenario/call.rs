//! A call: sources that send, jump, wrap and report, and a network that does its worst.

use srtp::PacketKind;

use super::{
    Endpoint, Ours,
    packets::{Random, compound_report, rtp_packet, shuffle},
    peers::{Peers, Reporter},
    source::{Flight, ROUND, Source},
    tally::{Opened, Tally},
};

/// Carries the call of `seed` between `ours` and `theirs`, which are under the same keys. Panics
/// with seed and step at the first disagreement.
pub(crate) fn carry_call(ours: &mut Ours, theirs: &mut dyn Endpoint, seed: u64) {
    let guards_indexes = theirs.guards_indexes();
    let peers = Peers::new(ours, theirs, seed);
    let (random, tally) = (Random(seed), Tally::default());
    let mut call = Call { peers, random, tally, sources: Vec::new(), key: 0 };
    for step in 0..STEPS {
        call.peers.step = step;
        if step.is_multiple_of(STEPS_PER_JOINING) && call.sources.len() < SSRCS.len() {
            call.join();
        }
        if step % STEPS_PER_KEY == STEPS_PER_KEY - 1 {
            call.rekey();
        }
        call.take_step();
    }
    call.tally.demand_everything(guards_indexes);
}

struct Call<'a> {
    peers: Peers<'a>,
    random: Random,
    sources: Vec<Source>,
    tally: Tally,
    /// The number of the key in use.
    key: usize,
}

impl Call<'_> {
    fn take_step(&mut self) {
        let at = self.random.below(self.sources.len() as u64) as usize;
        match self.random.below(14) {
            0..=3 => self.talk(at),
            4 | 5 => self.relay_in_disorder(at),
            6 => self.outage(at),
            7 | 8 => self.jump(at),
            9 => self.come_late(at),
            10 => self.come_again(at),
            11 => self.alter(at),
            _ => self.report(at),
        }
    }

    /// A further source. Its first packet arrives: which ROC a source begins with a receiver can
    /// only assume, and it assumes 0.
    fn join(&mut self) {
        let at = self.sources.len();
        let ssrc = SSRCS[at];
        let reporter = if at.is_multiple_of(2) {
            Reporter::Ours
        } else {
            let mut twin = Box::new(self.peers.ours.reporter_like_theirs(ssrc));
            twin.switch_to(self.key);
            Reporter::Theirs { twin, sent: 0 }
        };
        // A random first sequence number, as RFC 3550 has it, or one close before the first wrap.
        let first = if at == 0 { ROUND - 50 } else { self.random.below(ROUND) };
        self.sources.push(Source::new(ssrc, first, reporter));
        self.arrive(at);
    }

    /// The next of the call's keys is in use, if there are several; of the others, packets are
    /// under way still.
    fn rekey(&mut self) {
        let key = (self.key + 1) % self.peers.ours.key_count();
        self.key = key;
        self.peers.ours.switch_to(key);
        self.peers.theirs.switch_to(key);
        for source in &mut self.sources {
            if let Reporter::Theirs { twin, .. } = &mut source.reporter {
                twin.switch_to(key);
            }
        }
    }

    /// Some packets in a row, of which the network loses, delays and disorders a few.
    fn talk(&mut self, at: usize) {
        let mut flights = self.send_some(at);
        if self.random.one_in(2) {
            shuffle(&mut flights, &mut self.random);
        }
        for flight in flights {
            if self.random.one_in(8) {
                self.hold_or_lose(at, flight);
            } else {
                self.deliver(at, flight);
            }
        }
    }

    /// The sender is itself a relay: packets reach it out of order, twice, or much too late.
    fn relay_in_disorder(&mut self, at: usize) {
        let next = self.sources[at].next;
        let mut indexes: Vec<_> = (next..next + 2 + self.random.below(10)).collect();
        indexes.push(next);
        indexes.extend(next.checked_sub(1_025 + self.random.below(2_000)));
        indexes.extend(next.checked_sub(1 + self.random.below(1_000)));
        shuffle(&mut indexes, &mut self.random);
        for index in indexes {
            if let Some(flight) = self.send(at, index) {
                self.deliver(at, flight);
            }
        }
    }

    /// Everything is lost for a while.
    fn outage(&mut self, at: usize) {
        for _ in 0..20 + self.random.below(60) {
            if let Some(flight) = self.send_next(at) {
                self.hold_or_lose(at, flight);
            }
        }
        self.arrive(at);
    }

    /// The source's sequence number jumps. So ROCs come by in thousands of packets, not millions.
    fn jump(&mut self, at: usize) {
        let round = self.sources[at].next / ROUND;
        self.sources[at].jump(&mut self.random);
        if self.sources[at].next / ROUND > round {
            self.tally.wrapped();
        }
        self.arrive(at);
        self.talk(at);
    }

    /// Packets that were held up arrive, some behind a wrap, some behind the window.
    fn come_late(&mut self, at: usize) {
        for kind in [PacketKind::Rtp, PacketKind::Rtcp] {
            let count = 1 + self.random.below(12);
            for flight in self.sources[at].lane(kind).late(count, &mut self.random) {
                self.deliver(at, flight);
            }
        }
    }

    /// Packets arrive that have arrived before.
    fn come_again(&mut self, at: usize) {
        for kind in [PacketKind::Rtp, PacketKind::Rtcp] {
            let count = 1 + self.random.below(4);
            for flight in self.sources[at].lane(kind).again(count, &mut self.random) {
                self.deliver(at, flight);
            }
        }
    }

    /// Packets arrive with a bit changed; then, to show that nothing came of it, unchanged.
    fn alter(&mut self, at: usize) {
        let report = self.send_report(at);
        for flight in self.send_next(at).into_iter().chain([report]) {
            let mut altered = flight.protected.clone();
            let places = alterable(&flight);
            let place = places[self.random.below(places.len() as u64) as usize];
            altered[place] ^= 1 << self.random.below(8);
            self.peers.refuse_altered(flight.kind, &altered);
            self.tally.altered();
            self.deliver(at, flight);
        }
    }

    /// A report, which may come late or never.
    fn report(&mut self, at: usize) {
        let flight = self.send_report(at);
        if self.random.one_in(3) {
            self.hold_or_lose(at, flight);
        } else {
            self.deliver(at, flight);
        }
    }

    /// The next packet, delivered.
    fn arrive(&mut self, at: usize) {
        if let Some(flight) = self.send_next(at) {
            self.deliver(at, flight);
        }
    }

    fn send_some(&mut self, at: usize) -> Vec<Flight> {
        (0..1 + self.random.below(12)).filter_map(|_| self.send_next(at)).collect()
    }

    fn send_next(&mut self, at: usize) -> Option<Flight> {
        self.send(at, self.sources[at].next)
    }

    /// Has both protect the packet of `index`, unless that is used or too old: then both refuse.
    fn send(&mut self, at: usize, index: u64) -> Option<Flight> {
        let source = &mut self.sources[at];
        let next = source.next.max(index + 1);
        if next / ROUND > source.next / ROUND {
            self.tally.wrapped();
        }
        source.next = next;
        let mut plain = rtp_packet(index as u16, source.ssrc, &mut self.random);
        while !self.peers.theirs.takes(&plain) {
            plain = rtp_packet(index as u16, source.ssrc, &mut self.random);
        }
        let expected = source.sent.judge(index);
        let Some(protected) = self.peers.protect_media(&plain, &expected) else {
            self.tally.not_sent();
            return None;
        };
        Some(Flight { kind: PacketKind::Rtp, index, plain, protected })
    }

    fn send_report(&mut self, at: usize) -> Flight {
        let source = &mut self.sources[at];
        let plain = compound_report(source.ssrc, &mut self.random);
        let (index, protected) = self.peers.protect_report(&mut source.reporter, &plain);
        Flight { kind: PacketKind::Rtcp, index, plain, protected }
    }

    /// Both open the packet, or both refuse it.
    fn deliver(&mut self, at: usize, flight: Flight) {
        let lane = self.sources[at].lane(flight.kind);
        let highest = lane.accepted.highest().unwrap_or(flight.index);
        let expected = lane.accepted.judge(flight.index);
        self.peers.open(flight.kind, &flight.protected, &flight.plain, &expected);
        self.tally.verdict(
            &expected,
            match flight.kind {
                PacketKind::Rtcp => Opened::Report,
                PacketKind::Rtp if flight.index / ROUND < highest / ROUND => {
                    Opened::MediaFromBeforeTheWrap
                }
                PacketKind::Rtp => Opened::Media,
            },
        );
        lane.remember(flight, &mut self.random);
    }

    fn hold_or_lose(&mut self, at: usize, flight: Flight) {
        if self.random.one_in(2) {
            self.sources[at].lane(flight.kind).hold(flight, &mut self.random);
        } else {
            self.tally.lost();
        }
    }
}

/// Where a bit may change: anywhere but in the lengths that say where the payload begins, since
/// not every parser survives these being wrong, and SRTCP's E flag, since `webrtc-srtp` believes
/// it unauthenticated.
fn alterable(flight: &Flight) -> Vec<usize> {
    match flight.kind {
        PacketKind::Rtp => {
            let header = srtp::rtp::Header::new_checked(&flight.plain).expect("a whole header");
            (1..srtp::rtp::FIXED_LEN)
                .chain(header.payload_offset()..flight.protected.len())
                .collect()
        }
        PacketKind::Rtcp => (1..flight.plain.len()).collect(),
    }
}

const STEPS: usize = 350;
const STEPS_PER_KEY: usize = 25;
const STEPS_PER_JOINING: usize = 40;
/// Of no two does a changed bit make one the other: webrtc-srtp lets a packet that isn't authentic
/// begin the window of a source to come.
const SSRCS: [u32; 4] = [0xffff_fffe, 0x0000_0001, 0xcafe_babe, 0x1234_5678];
