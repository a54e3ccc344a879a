//! Our figures beside those of the peers, each ratio taken within a round, and which of them the
//! issue sets a target for.

use serde::Serialize;

use super::Sample;
use super::bulk::Case;
use super::handshakes::Kind;
use crate::report::{Spread, Verdict};
use crate::tls::terminator::Terminator;

/// Ours divided by a peer's.
#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    figure: String,
    peer: Terminator,
    ratio: Spread,
    #[serde(skip)]
    target: Target,
}

/// What the issue asks of a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    AtLeastOne,
    AtMostOne,
    /// Nothing: it is there to compare.
    None,
}

/// All ratios that the samples allow.
pub(super) fn ratios(samples: &[Sample]) -> Vec<Ratio> {
    let samples = &Samples(samples);
    let peers = Terminator::PEERS.into_iter();
    peers.flat_map(|peer| samples.handshakes(peer).chain(samples.others(peer))).collect()
}

/// What the issue asks for, of those and of memory.
pub(super) fn of(samples: &[Sample], ratios: &[Ratio]) -> Vec<Verdict> {
    let verdicts = ratios.iter().filter_map(|ratio| {
        let name = format!("{} / {}", ratio.figure, ratio.peer.name());
        match ratio.target {
            Target::AtLeastOne => Some(Verdict::at_least(name, ratio.ratio.median, 1.0)),
            Target::AtMostOne => Some(Verdict::at_most(name, ratio.ratio.median, 1.0)),
            Target::None => None,
        }
    });
    verdicts.chain(Samples(samples).memory()).collect()
}

/// On the terminal.
pub(super) fn print(ratios: &[Ratio]) {
    println!("\nours / theirs, round by round:{:38} median    (least to most)", "");
    for Ratio { figure, peer, ratio: Spread { min, median, max }, .. } in ratios {
        println!("  {figure:<54} {:<8} {median:8.3}    ({min:.3} to {max:.3})", peer.name());
    }
}

struct Samples<'a>(&'a [Sample]);

impl Samples<'_> {
    fn handshakes(&self, peer: Terminator) -> impl Iterator<Item = Ratio> {
        Kind::ALL.into_iter().flat_map(move |kind| {
            let figures = move |sample: &Sample| {
                let mut figures = sample.handshakes.iter();
                let figures = figures.find(|figures| figures.kind == kind)?;
                // Handshakes that a second of CPU pays for.
                Some((1e6 / figures.cpu_us, figures.per_second))
            };
            let name = |what| format!("{} handshakes, {what}", kind.name());
            let per_cpu = self.ratio(peer, |sample| Some(figures(sample)?.0));
            let rate = self.ratio(peer, |sample| Some(figures(sample)?.1));
            let named = |what, ratio: Spread| Ratio {
                figure: name(what),
                peer,
                ratio,
                target: Target::AtLeastOne,
            };
            let per_cpu = per_cpu.map(|ratio| named("per CPU second", ratio));
            let rate = rate.map(|ratio| named("a second on one core", ratio));
            [per_cpu, rate].into_iter().flatten()
        })
    }

    fn others(&self, peer: Terminator) -> impl Iterator<Item = Ratio> {
        // nginx is there to compare.
        let target = if peer == Terminator::Haproxy { Target::AtMostOne } else { Target::None };
        let bulk = Case::all().filter_map(move |case| {
            let ratio = self.ratio(peer, |sample| {
                let mut figures = sample.bulk.iter();
                Some(figures.find(|figures| figures.case == case)?.cpu_seconds_per_gb)
            })?;
            Some((format!("CPU per GB, {}", case.name()), ratio, target))
        });
        let memory = self
            .ratio(peer, pss)
            .map(|ratio| ("memory per idle connection".to_owned(), ratio, Target::None));
        let latency = |name: &str, target, of: fn(&Sample) -> Option<f64>| {
            let ratio = self.ratio(peer, of)?;
            Some((format!("latency of a 500-byte message, {name}"), ratio, target))
        };
        let p50 =
            latency("p50", Target::None, |sample| Some(sample.latency.as_ref()?.latency_us.p50));
        let p99 = latency("p99", target, |sample| Some(sample.latency.as_ref()?.latency_us.p99));
        let p999 =
            latency("p99.9", Target::None, |sample| Some(sample.latency.as_ref()?.latency_us.p999));
        bulk.chain(memory)
            .chain([p50, p99, p999].into_iter().flatten())
            .map(move |(figure, ratio, target)| Ratio { figure, peer, ratio, target })
    }

    fn memory(&self) -> Option<Verdict> {
        let ours = self.of(Terminator::Postern, pss);
        let median = (!ours.is_empty()).then(|| Spread::of(ours).median)?;
        Some(Verdict::at_most("KiB (PSS) per idle connection, 5,000 of them", median, 20.0))
    }

    /// In the order of the rounds.
    fn of(&self, terminator: Terminator, figure: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        let own = self.0.iter().filter(|sample| sample.terminator == terminator);
        own.filter_map(figure).collect()
    }

    /// Where both were measured.
    fn ratio(&self, peer: Terminator, figure: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        let ours = self.of(Terminator::Postern, &figure);
        let theirs = self.of(peer, &figure);
        (!ours.is_empty() && ours.len() == theirs.len()).then(|| Spread::ratio(&ours, &theirs))
    }
}

fn pss(sample: &Sample) -> Option<f64> {
    sample.idle.as_ref().map(|figures| figures.pss_kib)
}
