//! A source of a call, and its packets under way.

use srtp::PacketKind;

use super::{expected::Expected, packets::Random, peers::Reporter};

/// One SSRC: what it sent, and what of it arrived.
pub(crate) struct Source {
    pub(crate) ssrc: u32,
    /// The index of its next RTP packet.
    pub(crate) next: u64,
    /// The indexes that its sender used.
    pub(crate) sent: Expected,
    pub(crate) reporter: Reporter,
    media: Lane,
    reports: Lane,
}

/// The packets of one kind from one source.
pub(crate) struct Lane {
    /// The indexes that its receiver accepted.
    pub(crate) accepted: Expected,
    /// On the network still.
    held: Vec<Flight>,
    /// Delivered, and perhaps once more.
    recent: Vec<Flight>,
}

/// A packet on its way.
#[derive(Clone)]
pub(crate) struct Flight {
    pub(crate) kind: PacketKind,
    pub(crate) index: u64,
    pub(crate) plain: Vec<u8>,
    pub(crate) protected: Vec<u8>,
}

impl Source {
    pub(crate) fn new(ssrc: u32, first: u64, reporter: Reporter) -> Self {
        let lane = |accepted| Lane { accepted, held: Vec::new(), recent: Vec::new() };
        let (media, reports) = (lane(Expected::rtp()), lane(Expected::rtcp()));
        Self { ssrc, next: first, sent: Expected::rtp(), reporter, media, reports }
    }

    pub(crate) fn lane(&mut self, kind: PacketKind) -> &mut Lane {
        match kind {
            PacketKind::Rtp => &mut self.media,
            PacketKind::Rtcp => &mut self.reports,
        }
    }

    /// Moves ahead without sending: to just before the next wrap if that's in reach, or anywhere
    /// from where a receiver can still guess the ROC.
    pub(crate) fn jump(&mut self, random: &mut Random) {
        let to_wrap = ROUND - self.next % ROUND;
        self.next += if to_wrap < MAX_JUMP && random.one_in(2) {
            to_wrap - random.below(to_wrap.min(8))
        } else {
            random.below(MAX_JUMP)
        };
    }
}

impl Lane {
    /// Keeps `flight` on the network. The network has limits: it may drop another.
    pub(crate) fn hold(&mut self, flight: Flight, random: &mut Random) {
        keep(&mut self.held, flight, random);
    }

    /// Notes that `flight` was delivered.
    pub(crate) fn remember(&mut self, flight: Flight, random: &mut Random) {
        keep(&mut self.recent, flight, random);
    }

    /// Up to `count` packets that come late. Those whose index nobody can tell never come.
    pub(crate) fn late(&mut self, count: u64, random: &mut Random) -> Vec<Flight> {
        let mut late = Vec::new();
        for _ in 0..count.min(self.held.len() as u64) {
            let at = random.below(self.held.len() as u64) as usize;
            late.push(self.held.swap_remove(at));
        }
        late.retain(|flight| !self.accepted.is_ambiguous(flight.index));
        late
    }

    /// Up to `count` packets that come again, the newest among them.
    pub(crate) fn again(&self, count: u64, random: &mut Random) -> Vec<Flight> {
        let mut again: Vec<_> = self.recent.last().cloned().into_iter().collect();
        for _ in 1..count.min(self.recent.len() as u64) {
            again.push(self.recent[random.below(self.recent.len() as u64) as usize].clone());
        }
        again.retain(|flight| !self.accepted.is_ambiguous(flight.index));
        again
    }
}

fn keep(flights: &mut Vec<Flight>, flight: Flight, random: &mut Random) {
    if flights.len() == MOST_FLIGHTS {
        flights.swap_remove(random.below(MOST_FLIGHTS as u64) as usize);
    }
    flights.push(flight);
}

/// Sequence numbers.
pub(crate) const ROUND: u64 = 1 << 16;
/// Less than half a round, by more than the receiver may lag behind.
const MAX_JUMP: u64 = 30_000;
const MOST_FLIGHTS: usize = 60;
