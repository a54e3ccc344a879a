//! What many streams cost: time per packet with 1 to 10,000 of them, and memory.
//!
//! Streams lie in sessions of their own, as a relay has them, or all in one, and are visited in an
//! order that no prefetcher guesses. With 10,000 of them a packet's keys and window come from far
//! away; how much of the time that is, is shown by visiting only 32 of the same 10,000, which then
//! stay in the cache.

use std::fmt;
use std::process;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;
use srtp::{Policy, Profile, Sender};

use crate::accounting::resident_kib;
use crate::contest::packets::{BATCH, Packet};
use crate::contest::{Case, Clock, Work, keys};
use crate::report::{Quartiles, Spread, Verdict};

const MOST: usize = 10_000;
const COUNTS: [usize; 5] = [1, 10, 100, 1_000, MOST];
const LINES: [(Profile, Layout); 3] = [
    (Profile::AesCm128HmacSha1_80, Layout::Apart),
    (Profile::AeadAes128Gcm, Layout::Apart),
    (Profile::AeadAes128Gcm, Layout::Together),
];
const PROFILES: [Profile; 2] = [Profile::AesCm128HmacSha1_80, Profile::AeadAes128Gcm];
const PAYLOAD: usize = 160;
/// What "flat" allows for the noise of a shared machine.
const FLAT: f64 = 1.1;
/// Batches timed for one measurement.
const TURNS: usize = 625;
/// A round walks through all streams with this step: prime, so it meets every one of them.
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
    pub(super) layout: Layout,
    pub(super) streams: usize,
    /// How many of them have packets.
    pub(super) visited: usize,
    #[serde(flatten)]
    pub(super) ns: Quartiles,
    #[serde(skip)]
    ns_by_round: Vec<f64>,
}

/// Where streams lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Layout {
    /// Each in a session of its own, with a key of its own.
    Apart,
    /// All in one session, told apart by SSRC.
    Together,
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
        for (profile, layout) in LINES {
            for count in COUNTS {
                crowds.push(Crowd::new(profile, layout, count, count)?);
            }
            crowds.push(Crowd::new(profile, layout, MOST, BATCH)?);
        }
        Ok(Self { crowds, memory })
    }

    pub(super) fn measure(&mut self, packets: &mut [Packet; BATCH], clock: Clock) -> Result<()> {
        self.crowds.iter_mut().try_for_each(|crowd| crowd.measure(packets, clock))
    }

    pub(super) fn figures(self) -> Result<Figures> {
        let time = self.crowds.into_iter().map(|crowd| Time {
            profile: crowd.profile.name(),
            layout: crowd.layout,
            streams: crowd.sent.len(),
            visited: crowd.visited,
            ns: Quartiles::of(&crowd.rounds),
            ns_by_round: crowd.rounds,
        });
        Ok(Figures { time: time.collect(), memory: self.memory })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Apart => "in sessions of their own",
            Self::Together => "in one session",
        })
    }
}

impl Figures {
    /// Flat but for cache misses: among 10,000 streams, of which no more are busy than one batch
    /// has packets, a packet takes as long as with one stream. And the memory of a stream.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (profile, layout) in LINES {
            let of = |streams, visited| {
                let wanted = (profile.name(), layout, streams, visited);
                self.time
                    .iter()
                    .find(|time| (time.profile, time.layout, time.streams, time.visited) == wanted)
            };
            if let (Some(one), Some(many)) = (of(1, 1), of(MOST, BATCH)) {
                let ratio = Quartiles::ratio(&many.ns_by_round, &one.ns_by_round).median;
                let figure = format!("{profile}: 10,000 streams {layout}, 32 of them busy / 1");
                verdicts.push(Verdict::at_most(figure, ratio, FLAT));
            }
        }
        for Memory { profile, further_stream, .. } in &self.memory {
            let figure = format!("{profile}: bytes per stream");
            verdicts.push(Verdict::at_most(figure, *further_stream, 512.0));
        }
        verdicts
    }
}

/// A number of streams, and the packets that each has sent.
struct Crowd {
    profile: Profile,
    layout: Layout,
    senders: Vec<Sender>,
    sent: Vec<u64>,
    /// Streams that have packets, evenly spread over all.
    visited: usize,
    next: usize,
    rounds: Vec<f64>,
}

impl Crowd {
    fn new(profile: Profile, layout: Layout, count: usize, visited: usize) -> Result<Self> {
        let sessions = match layout {
            Layout::Apart => count,
            Layout::Together => 1,
        };
        let policy = Policy { max_streams: count, ..Policy::default() };
        let sender = |session| Sender::new(&keys::master(profile, session), &policy);
        let senders = (0..sessions).map(sender).collect::<Result<Vec<_>, _>>()?;
        let (sent, rounds) = (vec![0; count], Vec::new());
        let mut crowd = Self { profile, layout, senders, sent, visited, next: 0, rounds };
        // Streams come into being with their first packet, whether they are visited or not.
        let mut packet = Packet::empty();
        for stream in 0..count {
            crowd.begin(&mut packet, stream);
            crowd.senders[stream % sessions].protect_rtp(&mut packet.bytes, packet.len)?;
        }
        Ok(crowd)
    }

    fn measure(&mut self, packets: &mut [Packet; BATCH], clock: Clock) -> Result<()> {
        let mut times = Vec::with_capacity(TURNS);
        // Once round all of them first, so that caches hold what they can.
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
        for packet in packets {
            let stream = self.next % self.visited * (self.sent.len() / self.visited);
            self.begin(packet, stream);
            self.next += STEP;
        }
    }

    fn begin(&mut self, packet: &mut Packet, stream: usize) {
        let case = Case { profile: self.profile, work: Work::Protect, payload: PAYLOAD };
        packet.begin(stream, self.sent[stream], case.plain_len());
        self.sent[stream] += 1;
    }

    fn protect(&mut self, packets: &mut [Packet]) -> usize {
        let mut done = 0;
        for packet in packets {
            let session = match self.layout {
                Layout::Apart => packet.session,
                Layout::Together => 0,
            };
            let sealed = self.senders[session].protect_rtp(&mut packet.bytes, packet.len);
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
