//! The storm's comparisons, and what the issue asks of all three figures.

use serde::Serialize;

use super::bootstrap::Ratio;
use super::storm::{Round, Run};
use super::{Sample, Samples};
use crate::legs::relay::Relay;
use crate::report::{Spread, Verdict};

/// One figure of the storm, over the valid rounds of one relay.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    relay: Relay,
    figure: &'static str,
    rounds: usize,
    /// Medians of calm, storm and calm again, in microseconds.
    medians_us: [f64; 3],
    /// Storm over calm.
    storm: Ratio,
    /// Calm again over calm: what the machine does by itself.
    control: Ratio,
    /// What the storm's bound may be.
    limit: f64,
    /// Lost or damaged, in the calm and in the storm.
    bad: [u64; 2],
}

/// Of every relay that was measured: residence where there is any, and latency.
pub(super) fn comparisons(rounds: &[Round]) -> Vec<Comparison> {
    let of_each = Relay::ALL.into_iter().flat_map(|relay| {
        [
            compare(rounds, relay, RESIDENCE, |run| run.residence_p999_us),
            compare(rounds, relay, "one-way latency p99.9", |run| Some(run.latency_us.p999)),
        ]
    });
    of_each.flatten().collect()
}

fn compare(
    rounds: &[Round],
    relay: Relay,
    figure: &'static str,
    of: impl Fn(&Run) -> Option<f64>,
) -> Option<Comparison> {
    let valid = rounds.iter().filter(|round| round.relay == relay && round.invalid.is_none());
    let valid: Vec<&Round> = valid.collect();
    let values = valid
        .iter()
        .map(|round| Some([of(&round.calm)?, of(&round.storm)?, of(&round.calm_again)?]));
    let values: Vec<[f64; 3]> = values.collect::<Option<_>>()?;
    if values.is_empty() {
        return None;
    }
    let pairs = |index: usize| -> Vec<(f64, f64)> {
        values.iter().map(|round| (round[index], round[0])).collect()
    };
    let (storm, control) = (Ratio::of(&pairs(1)), Ratio::of(&pairs(2)));
    let median = |index: usize| Spread::of(values.iter().map(|round| round[index])).median;
    let calm_bad = valid.iter().map(|round| round.calm.bad + round.calm_again.bad).sum();
    Some(Comparison {
        relay,
        figure,
        rounds: values.len(),
        medians_us: [0, 1, 2].map(median),
        storm,
        control,
        limit: control.bound.max(LIMIT),
        bad: [calm_bad, valid.iter().map(|round| round.storm.bad).sum()],
    })
}

/// On the terminal.
pub(super) fn print(comparisons: &[Comparison]) {
    for one in comparisons {
        let [calm, storm, again] = one.medians_us;
        println!(
            "{:<9} {:<21} storm / calm {:6.3}, 95 % below {:6.3}; calm / calm {:6.3}, 95 % below \
             {:6.3}  (medians {calm:.0}, {storm:.0}, {again:.0} µs; bad {:?}; {} rounds)",
            one.relay.name(),
            one.figure,
            one.storm.ratio,
            one.storm.bound,
            one.control.ratio,
            one.control.bound,
            one.bad,
            one.rounds,
        );
    }
}

/// What the issue asks for.
pub(super) fn of(samples: &Samples, comparisons: &[Comparison]) -> Vec<Verdict> {
    let ours = |one: &&Comparison| one.relay == Relay::Gateway && one.figure == RESIDENCE;
    let storm = comparisons.iter().find(ours).map(|one| {
        [
            Verdict::at_most(
                "residence p99.9, storm / calm, 95 % bound",
                one.storm.bound,
                one.limit,
            ),
            Verdict::at_most("packets lost or corrupt in the storm", one.bad[1] as f64, 0.0),
        ]
    });
    let per_cpu = |relay| of_relay(&samples.handshakes, relay, |figures| figures.per_cpu_second);
    let (own, theirs) = (per_cpu(Relay::Gateway), per_cpu(Relay::Rtpengine));
    let handshakes = (!own.is_empty() && own.len() == theirs.len()).then(|| {
        let ratio = Spread::ratio(&own, &theirs).median;
        Verdict::at_least("DTLS handshakes a CPU second, gateway / rtpengine", ratio, 1.0)
    });
    let pss = of_relay(&samples.memory, Relay::Gateway, |figures| figures.pss_kib);
    let memory = (!pss.is_empty())
        .then(|| Verdict::at_most("KiB (PSS) per idle WebRTC leg", Spread::of(pss).median, 40.0));
    storm.into_iter().flatten().chain(handshakes).chain(memory).collect()
}

/// In the order of the rounds.
fn of_relay<T>(samples: &[Sample<T>], relay: Relay, of: impl Fn(&T) -> f64) -> Vec<f64> {
    let own = samples.iter().filter(|sample| sample.relay == relay);
    own.map(|sample| of(&sample.figures)).collect()
}

const RESIDENCE: &str = "residence p99.9";
/// Of the storm's ratio, where the control is no wider.
const LIMIT: f64 = 1.25;

#[cfg(test)]
mod tests {
    use super::super::storm::tests::round;
    use super::*;

    #[test]
    fn invalid_rounds_and_other_relays_do_not_count() {
        let mut rounds = vec![
            round(Relay::Gateway, [20.0, 22.0, 20.0]),
            round(Relay::Gateway, [20.0, 90.0, 9.0]),
        ];
        rounds[1].invalid = Some("starved".into());
        rounds.push(round(Relay::Rtpengine, [20.0, 400.0, 20.0]));
        let comparisons = comparisons(&rounds);
        let one = comparisons.iter().find(|one| one.figure == RESIDENCE).unwrap();
        assert_eq!((one.rounds, one.medians_us), (1, [20.0, 22.0, 20.0]));
        assert_eq!((one.storm.ratio, one.storm.bound, one.limit), (1.1, 1.1, 1.25));
    }

    #[test]
    fn a_control_that_wanders_widens_the_limit_and_a_lost_packet_is_a_miss() {
        let mut rounds = vec![round(Relay::Gateway, [20.0, 26.0, 30.0])];
        rounds[0].storm.bad = 1;
        let comparisons = comparisons(&rounds);
        let [residence, lost] = &of(&Samples::default(), &comparisons)[..] else { panic!() };
        assert_eq!((residence.target, residence.measured, residence.met), (1.5, 1.3, true));
        assert!(!lost.met);
    }

    #[test]
    fn what_was_not_measured_has_no_verdict() {
        assert!(of(&Samples::default(), &[]).is_empty());
    }
}
