//! The figures against what the issue asks, each ratio taken within a round.

use super::Sample;
use super::bulk::Case;
use super::handshakes::Kind;
use crate::report::{Spread, Verdict};
use crate::tls::terminator::Terminator;

/// All that the samples allow.
pub(super) fn of(samples: &[Sample]) -> Vec<Verdict> {
    let samples = &Samples(samples);
    let mut verdicts = handshakes(samples);
    verdicts.extend(bulk(samples));
    verdicts.extend(idle(samples));
    verdicts.extend(latency(samples));
    verdicts
}

/// Prints what is not kept.
pub(super) fn print(verdicts: &[Verdict]) {
    println!("\ntls, not all of it:");
    verdicts.iter().for_each(Verdict::print);
}

fn handshakes(samples: &Samples<'_>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for kind in Kind::ALL {
        let figures = |sample: &Sample| {
            sample.handshakes.iter().find(|figures| figures.kind == kind).map(|figures| {
                // Handshakes that a second of CPU pays for.
                (1e6 / figures.cpu_us, figures.per_second)
            })
        };
        for peer in Terminator::PEERS {
            let name = |what: &str| format!("{} handshakes, {what} / {}", kind.name(), peer.name());
            let by_cpu = samples.ratio(peer, |sample| figures(sample).map(|(cpu, _)| cpu));
            let by_rate = samples.ratio(peer, |sample| figures(sample).map(|(_, rate)| rate));
            verdicts.extend(
                by_cpu.map(|ratio| Verdict::at_least(name("per CPU second"), ratio.median, 1.0)),
            );
            verdicts
                .extend(by_rate.map(|ratio| {
                    Verdict::at_least(name("a second, saturated"), ratio.median, 1.0)
                }));
        }
    }
    verdicts
}

fn bulk(samples: &Samples<'_>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for peer in Terminator::PEERS {
        for case in Case::all() {
            let cpu = |sample: &Sample| {
                let mut figures = sample.bulk.iter();
                let figures = figures.find(|figures| figures.case == case);
                figures.map(|figures| figures.cpu_seconds_per_gb)
            };
            let name = format!("CPU per GB, {} / {}", case.name(), peer.name());
            let ratio = samples.ratio(peer, cpu);
            verdicts.extend(ratio.map(|ratio| Verdict::at_most(name, ratio.median, 1.0)));
        }
    }
    verdicts
}

fn idle(samples: &Samples<'_>) -> Option<Verdict> {
    let pss = |sample: &Sample| sample.idle.as_ref().map(|figures| figures.pss_kib);
    let pss = samples.spread(Terminator::Postern, pss)?;
    Some(Verdict::at_most("KiB (PSS) per idle connection, 5,000 of them", pss.median, 20.0))
}

fn latency(samples: &Samples<'_>) -> Vec<Verdict> {
    let p99 = |sample: &Sample| sample.latency.as_ref().map(|figures| figures.latency_us.p99);
    let verdict = |peer: Terminator| {
        let ratio = samples.ratio(peer, p99)?;
        let name = format!("p99 of a 500-byte message's way there and back / {}", peer.name());
        Some(Verdict::at_most(name, ratio.median, 1.0))
    };
    Terminator::PEERS.into_iter().filter_map(verdict).collect()
}

struct Samples<'a>(&'a [Sample]);

impl Samples<'_> {
    /// In the order of the rounds.
    fn of(&self, terminator: Terminator, figure: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        let own = self.0.iter().filter(|sample| sample.terminator == terminator);
        own.filter_map(figure).collect()
    }

    fn spread(
        &self,
        terminator: Terminator,
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        let values = self.of(terminator, figure);
        (!values.is_empty()).then(|| Spread::of(values))
    }

    /// Ours to the peer's, where both were measured.
    fn ratio(&self, peer: Terminator, figure: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        let ours = self.of(Terminator::Postern, &figure);
        let theirs = self.of(peer, &figure);
        (!ours.is_empty() && ours.len() == theirs.len()).then(|| Spread::ratio(&ours, &theirs))
    }
}
