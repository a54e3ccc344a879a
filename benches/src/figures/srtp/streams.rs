//! What many streams cost: time per packet with 1 to 10,000 of them, and memory.
//!
//! Sessions with one stream each are visited in an order that no prefetcher guesses. With 10,000
//! of them a packet's keys and window come from far away; how much of the time that is, is shown
//! by visiting only 32 of the same 10,000, which then stay in the cache.

use std::process;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;
use srtp::{Policy, Profile, Sender};

use crate::accounting::resident_kib;
use crate::contest::packets::{BATCH, Packet};
use crate::contest::{Case, Clock, Work, keys};
use crate::report::{Quartiles, Spread, Verdict};

const COUNTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const PROFILES: [Profile; 2] = [Profile::AesCm128HmacSha1_80, Profile::AeadAes128Gcm];
const PAYLOAD: usize = 160;
/// Batches timed for one measurement.
const TURNS: usize = 625;
/// A round walks through all sessions with this step: prime, so it meets every one of them.
const STEP: usize = 7_919;

/// Everything measured of streams.
#[derive(Serialize)]
pub(super) struct Figures {
    pub(super) time: Vec<Time>,
    pub(super) memory: Vec<Memory>,
}

/// Nanoseconds per packet, protecting 160 bytes of payload one by one.
#[derive(Serialize)]
pub(super) struct Time {
    pub(super) profile: &'static str,
    /// Sessions, of one stream each.
    pub(super) sessions: usize,
    /// How many of them have packets.
    pub(super) visited: usize,
    #[serde(flatten)]
    pub(super) ns: Quartiles,
    ns_by_round: Vec<f64>,
}

/// Resident bytes, what the allocator adds included.
#[derive(Serialize)]
pub(super) struct Memory {
    pub(super) profile: &'static str,
    /// A sending direction with its keys and its first stream.
    pub(super) direction: f64,
    /// Each further stream of it.
    pub(super) further_stream: f64,
}

/// All counts of streams, with what was measured so far.
pub(super) struct Contest {
    crowds: Vec<Crowd>,
    memory: Vec<Memory>,
}

impl Contest {
    pub(super) fn new() -> Result<Self> {
        let mut memory = Vec::new();
        // Held until all are measured: memory given back would be counted as none.
        let mut held = Vec::new();
        for profile in PROFILES {
            let (figures, senders) = measure_memory(profile)?;
            memory.push(figures);
            held.push(senders);
        }
        drop(held);
        let mut crowds = Vec::new();
        for profile in PROFILES {
            for count in COUNTS {
                crowds.push(Crowd::new(profile, count, count)?);
            }
            crowds.push(Crowd::new(profile, COUNTS[COUNTS.len() - 1], BATCH)?);
        }
        Ok(Self { crowds, memory })
    }

    pub(super) fn measure(&mut self, packets: &mut [Packet; BATCH], clock: Clock) -> Result<()> {
        self.crowds.iter_mut().try_for_each(|crowd| crowd.measure(packets, clock))
    }

    pub(super) fn figures(self) -> Result<Figures> {
        let time = self.crowds.into_iter().map(|crowd| Time {
            profile: crowd.profile.name(),
            sessions: crowd.senders.len(),
            visited: crowd.visited,
            ns: Quartiles::of(&crowd.rounds),
            ns_by_round: crowd.rounds,
        });
        Ok(Figures { time: time.collect(), memory: self.memory })
    }
}

impl Figures {
    /// Flat but for cache misses: as many sessions, of which as few are busy as one batch has
    /// packets, take no longer than one session. And the memory of a stream.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for profile in PROFILES.map(Profile::name) {
            let of = |sessions, visited| {
                self.time.iter().find(|time| {
                    (time.profile, time.sessions, time.visited) == (profile, sessions, visited)
                })
            };
            if let (Some(one), Some(many)) = (of(1, 1), of(10_000, BATCH)) {
                let ratio = Quartiles::ratio(&many.ns_by_round, &one.ns_by_round).median;
                let figure = format!("{profile}: 10,000 sessions, 32 of them busy / 1 session");
                verdicts.push(Verdict::at_most(figure, ratio, 1.1));
            }
        }
        for Memory { profile, further_stream, .. } in &self.memory {
            let figure = format!("{profile}: bytes per stream");
            verdicts.push(Verdict::at_most(figure, *further_stream, 512.0));
        }
        verdicts
    }
}

/// A number of sessions, and the packets that each has sent.
struct Crowd {
    profile: Profile,
    senders: Vec<Sender>,
    sent: Vec<u64>,
    /// Sessions that have packets, evenly spread over all.
    visited: usize,
    next: usize,
    rounds: Vec<f64>,
}

impl Crowd {
    fn new(profile: Profile, count: usize, visited: usize) -> Result<Self> {
        let sender = |session| Sender::new(&keys::master(profile, session), &Policy::default());
        let senders = (0..count).map(sender).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { profile, senders, sent: vec![0; count], visited, next: 0, rounds: Vec::new() })
    }

    fn measure(&mut self, packets: &mut [Packet; BATCH], clock: Clock) -> Result<()> {
        let mut times = Vec::with_capacity(TURNS);
        // Once round all sessions first: streams are made, and caches hold what they can.
        let warm = self.visited.div_ceil(BATCH).max(16);
        for turn in 0..warm + TURNS {
            self.load(packets);
            let start = Instant::now();
            let done = self.protect(packets);
            let time = start.elapsed();
            ensure!(done == BATCH, "{done} of {BATCH} packets protected");
            if turn >= warm {
                times.push(time.as_nanos() as f64);
            }
        }
        self.rounds.push((Spread::of(times).median - clock.cost_ns()) / BATCH as f64);
        Ok(())
    }

    fn load(&mut self, packets: &mut [Packet; BATCH]) {
        let case = Case { profile: self.profile, work: Work::Protect, payload: PAYLOAD };
        for packet in packets {
            let session = self.next % self.visited * (self.senders.len() / self.visited);
            packet.begin(session, self.sent[session], case.plain_len());
            self.sent[session] += 1;
            self.next += STEP;
        }
    }

    fn protect(&mut self, packets: &mut [Packet]) -> usize {
        let mut done = 0;
        for packet in packets {
            let sealed = self.senders[packet.session].protect_rtp(&mut packet.bytes, packet.len);
            done += usize::from(sealed.is_ok());
        }
        done
    }
}

/// Memory as the process has it, over 10,000 directions and then 15 more streams in each.
fn measure_memory(profile: Profile) -> Result<(Memory, Vec<Sender>)> {
    const DIRECTIONS: usize = 10_000;
    const FURTHER: usize = 15;
    let mut packet = Packet::empty();
    let start = resident_kib(process::id())?;
    let mut senders = Vec::with_capacity(DIRECTIONS);
    for session in 0..DIRECTIONS {
        let mut sender = Sender::new(&keys::master(profile, session), &Policy::default())?;
        packet.begin(0, 0, 12);
        sender.protect_rtp(&mut packet.bytes, 12)?;
        senders.push(sender);
    }
    let directions = resident_kib(process::id())?;
    for sender in &mut senders {
        for ssrc in 1..=FURTHER {
            packet.begin(ssrc, 0, 12);
            sender.protect_rtp(&mut packet.bytes, 12)?;
        }
    }
    let streams = resident_kib(process::id())?;
    let bytes = |from: u64, to: u64| to.saturating_sub(from) as f64 * 1024.0 / DIRECTIONS as f64;
    let memory = Memory {
        profile: profile.name(),
        direction: bytes(start, directions),
        further_stream: bytes(directions, streams) / FURTHER as f64,
    };
    Ok((memory, senders))
}
