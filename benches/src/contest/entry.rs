//! One contestant in one case: checked first, then timed.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::packets::{BATCH, Packet, Source};
use super::{Absent, Case, Contestant, Peer, Work};
use crate::report::Spread;

/// A peer in a case, with its packets and what was measured of it so far.
pub struct Entry {
    /// Who.
    pub peer: Peer,
    /// Nanoseconds per packet, round by round.
    pub rounds: Vec<f64>,
    contestant: Box<dyn Contestant>,
    source: Source,
}

impl Entry {
    /// Gets `peer` ready and has it do a batch, whose last packet must be, byte for byte, what
    /// our own session makes of it. The inner error says why it does not take part.
    pub fn new(peer: Peer, case: Case) -> Result<Result<Self, Absent>> {
        let mut contestant = match peer.contestant(case) {
            Ok(contestant) => contestant,
            Err(absent) => return Ok(Err(absent)),
        };
        let mut source = Source::new(case, peer.sessions())?;
        check(peer, case, contestant.as_mut(), &mut source)?;
        Ok(Ok(Self { peer, rounds: Vec::new(), contestant, source }))
    }

    /// Times it for one round: the median of many batches, each timed apart, so that what else
    /// the machine did in between doesn't count.
    pub fn measure(&mut self, packets: &mut [Packet; BATCH], clock: Clock) -> Result<()> {
        let mut times = Vec::with_capacity(CHUNKS * Source::AHEAD);
        for chunk in 0..=CHUNKS {
            self.source.refill()?;
            for turn in 0..Source::AHEAD {
                self.source.load(turn, packets);
                let start = Instant::now();
                let done = self.contestant.work(black_box(packets));
                let time = start.elapsed();
                ensure!(done == BATCH, "{} did {done} of {BATCH} packets", self.peer);
                // The making of packets has been in the cache before the first of a chunk, and
                // other contestants before the first chunk.
                if chunk > 0 && turn > 0 {
                    times.push(time.as_nanos() as f64);
                }
            }
        }
        let batch = Spread::of(times).median - clock.cost_ns();
        self.rounds.push(batch / BATCH as f64);
        Ok(())
    }
}

fn check(
    peer: Peer,
    case: Case,
    contestant: &mut dyn Contestant,
    source: &mut Source,
) -> Result<()> {
    let mut packets: Box<[Packet; BATCH]> = Box::new(std::array::from_fn(|_| Packet::empty()));
    source.refill()?;
    for turn in 0..Source::AHEAD {
        source.load(turn, &mut packets);
        if case.work == Work::Protect {
            packets
                .iter_mut()
                .for_each(|packet| source.plain(packet, packet.session, packet.index));
        }
        let before = packets[BATCH - 1].clone();
        let done = contestant.work(&mut packets);
        ensure!(done == BATCH, "{peer} did {done} of {BATCH} packets: {case:?}");
        let (expected, packet) = (expected(case, before)?, &packets[BATCH - 1]);
        ensure!(contestant.result(packet) == expected, "{peer} makes other bytes: {case:?}");
    }
    Ok(())
}

/// What must become of `packet`, by way of a session that is used for nothing else.
fn expected(case: Case, mut packet: Packet) -> Result<Vec<u8>> {
    let key = super::keys::master(case.profile, packet.session);
    let policy = srtp::Policy::default();
    let len = match case.work {
        Work::Protect => {
            srtp::Sender::new(&key, &policy)?.protect_rtp(&mut packet.bytes, packet.len)?.len
        }
        Work::Open => {
            let protected = &mut packet.bytes[..packet.len];
            srtp::Receiver::new(&key, &policy)?.open_rtp(protected)?.len
        }
    };
    Ok(packet.bytes[..len].to_vec())
}

/// The clock that contestants are timed with.
#[derive(Clone, Copy)]
pub struct Clock {
    /// What reading it twice takes, which is taken off every batch.
    cost_ns: f64,
}

impl Clock {
    /// Nanoseconds between two readings with nothing between them.
    pub fn cost_ns(self) -> f64 {
        self.cost_ns
    }

    /// Reads it often enough to know.
    pub fn calibrate() -> Self {
        let reading = || {
            let start = Instant::now();
            start.elapsed().as_nanos() as f64
        };
        Self { cost_ns: Spread::of((0..1000).map(|_| reading())).median }
    }
}

/// Times that a source is refilled for one measurement, the first of which is not counted.
const CHUNKS: usize = 20;

#[cfg(test)]
mod tests {
    use srtp::Profile;

    use super::*;

    const IN_THIS_BUILD: &[Peer] = &[
        Peer::Ours,
        Peer::OursBatch,
        Peer::OursPortable,
        Peer::WebrtcSrtp,
        #[cfg(feature = "libsrtp")]
        Peer::Libsrtp,
        Peer::RustCrypto,
        Peer::Ring,
        #[cfg(feature = "aws-lc")]
        Peer::AwsLc,
        #[cfg(feature = "ipsec-mb")]
        Peer::IpsecMb,
    ];

    #[test]
    fn all_contestants_make_the_same_bytes() -> Result<()> {
        for profile in Profile::COMMON {
            for peer in IN_THIS_BUILD.iter().copied().filter(|peer| peer.knows(profile)) {
                for (work, payload) in [(Work::Protect, 33), (Work::Open, 160)] {
                    let case = Case { profile, work, payload };
                    let taken = Entry::new(peer, case)?;
                    ensure!(taken.is_ok(), "{peer} takes no part: {case:?}");
                }
            }
        }
        Ok(())
    }
}
