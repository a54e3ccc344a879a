//! SRTP per packet, ours beside others': nanoseconds, at three payload sizes, for every profile.
//!
//! Every contestant works in turn in every round, each round beginning with another, all on one
//! core; a ratio is taken round by round. What is held against a target is the list:
//! whole stacks packet by packet, primitives in batches, streams without number, memory.

mod streams;
mod table;

use std::iter;

use anyhow::Result;
use serde::Serialize;
use srtp::{Backend, Profile};

use super::{LOAD_CORE, Plan};
use crate::contest::packets::{BATCH, Packet};
use crate::contest::{Absent, Case, Clock, Entry, Peer, Work};
use crate::mmsg::pin_to_core;
use crate::report::{Quartiles, Verdict, finish};

const PROFILES: [Profile; 5] = [
    Profile::AesCm128HmacSha1_80,
    Profile::AesCm128HmacSha1_32,
    Profile::AesCm256HmacSha1_80,
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
];
const PAYLOADS: [usize; 3] = [20, 160, 1200];
const WORKS: [Work; 2] = [Work::Protect, Work::Open];
/// 20 ms of G.711, which the targets are for.
const TARGET_PAYLOAD: usize = 160;

/// Everything measured.
#[derive(Serialize)]
struct Figures {
    rounds: usize,
    /// The implementation that ours chose on this machine.
    backend: &'static str,
    /// What could not be held against its target, and why.
    unmeasured: Vec<String>,
    /// Nanoseconds per packet.
    cases: Vec<Row>,
    absent: Vec<AbsentRow>,
    streams: streams::Figures,
    /// Tests that count what this figure does not.
    allocations: &'static str,
}

/// One contestant in one case.
#[derive(Serialize)]
struct Row {
    profile: &'static str,
    work: Work,
    payload: usize,
    peer: Peer,
    #[serde(flatten)]
    ns: Quartiles,
    /// Our time over its, round by round: one by one, and in a batch.
    ours: Option<Quartiles>,
    ours_in_a_batch: Option<Quartiles>,
}

#[derive(Serialize)]
struct AbsentRow {
    profile: &'static str,
    peer: Peer,
    reason: Absent,
}

/// Measures and reports.
pub fn measure(plan: &Plan) -> Result<()> {
    pin_to_core(LOAD_CORE)?;
    let mut absent = Vec::new();
    let mut contests = contests(&mut absent)?;
    let mut streams = streams::Contest::new()?;
    show_absent(&absent);
    let mut packets: Box<[Packet; BATCH]> = Box::new(std::array::from_fn(|_| Packet::empty()));
    let clock = Clock::calibrate();
    for round in 0..plan.rounds {
        println!("round {} of {}", round + 1, plan.rounds);
        for contest in &mut contests {
            let count = contest.entries.len();
            for turn in 0..count {
                contest.entries[(round + turn) % count].measure(&mut packets, clock)?;
            }
        }
        streams.measure(&mut packets, clock)?;
    }
    let streams = streams.figures()?;
    let mut unmeasured = Vec::new();
    let mut verdicts = ratios(&contests, &mut unmeasured);
    verdicts.extend(streams.verdicts());
    let cases = contests.iter().flat_map(Contest::rows).collect();
    let figures = Figures {
        rounds: plan.rounds,
        backend: Backend::detect().name(),
        unmeasured,
        cases,
        absent,
        streams,
        allocations: "0 per packet: srtp/tests/allocations/main.rs",
    };
    table::print(&figures, plan.tables);
    finish("srtp", &plan.results, &verdicts, &figures)?;
    for target in &figures.unmeasured {
        println!("  NOT MEASURED {target}");
    }
    Ok(())
}

/// All who do the work of one case.
struct Contest {
    case: Case,
    entries: Vec<Entry>,
}

impl Contest {
    fn entry(&self, peer: Peer) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.peer == peer)
    }

    fn rows(&self) -> impl Iterator<Item = Row> {
        let Case { profile, work, payload } = self.case;
        self.entries.iter().map(move |entry| {
            let over = |ours: Peer| {
                self.entry(ours).map(|ours| Quartiles::ratio(&ours.rounds, &entry.rounds))
            };
            Row {
                profile: profile.name(),
                work,
                payload,
                peer: entry.peer,
                ns: Quartiles::of(&entry.rounds),
                ours: over(Peer::Ours),
                ours_in_a_batch: over(Peer::OursBatch),
            }
        })
    }
}

fn contests(absent: &mut Vec<AbsentRow>) -> Result<Vec<Contest>> {
    let mut contests = Vec::new();
    for profile in PROFILES {
        for (work, payload) in WORKS.iter().flat_map(|work| iter::repeat(*work).zip(PAYLOADS)) {
            let case = Case { profile, work, payload };
            let mut entries = Vec::new();
            for peer in Peer::ALL.into_iter().filter(|peer| peer.knows(profile)) {
                match Entry::new(peer, case)? {
                    Ok(entry) => entries.push(entry),
                    Err(reason) => absent.push(AbsentRow { profile: profile.name(), peer, reason }),
                }
            }
            contests.push(Contest { case, entries });
        }
    }
    absent.dedup_by_key(|row| (row.profile, row.peer, row.reason));
    absent.sort_by_key(|row| (row.peer, row.profile));
    absent.dedup_by_key(|row| (row.profile, row.peer));
    Ok(contests)
}

fn show_absent(absent: &[AbsentRow]) {
    for AbsentRow { profile, peer, reason: Absent(reason) } in absent {
        println!("MISSING {peer} in {profile}: {reason}");
    }
}

/// The ratios: whose time over whose, in which profile, and the bound.
const RATIOS: [(Profile, Peer, Peer, f64); 6] = [
    (Profile::AesCm128HmacSha1_80, Peer::Ours, Peer::WebrtcSrtp, 0.65),
    (Profile::AesCm128HmacSha1_80, Peer::Ours, Peer::Libsrtp, 0.12),
    (Profile::AeadAes128Gcm, Peer::Ours, Peer::WebrtcSrtp, 0.32),
    (Profile::AeadAes128Gcm, Peer::Ours, Peer::Libsrtp, 0.18),
    (Profile::AesCm128HmacSha1_80, Peer::OursBatch, Peer::IpsecMb, 1.3),
    (Profile::AeadAes128Gcm, Peer::OursBatch, Peer::Ring, 0.9),
];

fn ratios(contests: &[Contest], unmeasured: &mut Vec<String>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (profile, ours, theirs, target) in RATIOS {
        for work in WORKS {
            let case = Case { profile, work, payload: TARGET_PAYLOAD };
            let contest = contests.iter().find(|contest| contest.case == case);
            let figure = format!("{profile} {work}: {ours} / {theirs}");
            let pair = contest.and_then(|contest| contest.entry(ours).zip(contest.entry(theirs)));
            match pair {
                Some((ours, theirs)) => {
                    let ratio = Quartiles::ratio(&ours.rounds, &theirs.rounds).median;
                    verdicts.push(Verdict::at_most(figure, ratio, target));
                }
                None => unmeasured.push(format!("{figure} ≤ {target}: one of them is missing")),
            }
        }
    }
    verdicts
}
