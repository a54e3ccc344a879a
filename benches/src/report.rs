//! Rounds into medians and ratios, printed and kept as JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use loadgen::machine::Machine;
use serde::Serialize;

use crate::relay_process::Relay;

/// Minimum, median and maximum over the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { min: values[0], median, max: values[values.len() - 1] }
    }

    /// Round by round, `ours[i] / theirs[i]`: both ran side by side, so drift cancels.
    pub fn ratio(ours: &[f64], theirs: &[f64]) -> Self {
        Self::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
    }
}

/// Median and quartiles over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quartiles {
    /// A quarter is smaller.
    pub lower: f64,
    /// Half is smaller.
    pub median: f64,
    /// Three quarters are smaller.
    pub upper: f64,
}

impl Quartiles {
    /// Of at least one value; between two neighbours in proportion.
    pub fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
            below + place.fract() * (above - below)
        };
        Self { lower: at(0.25), median: at(0.5), upper: at(0.75) }
    }

    /// Round by round, `ours[i] / theirs[i]`: both ran side by side, so drift cancels.
    pub fn ratio(ours: &[f64], theirs: &[f64]) -> Self {
        let ratios: Vec<f64> =
            ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        Self::of(&ratios)
    }
}

/// What each relay showed, round by round.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Samples<T>(Vec<Sample<T>>);

/// One relay in one round.
#[derive(Serialize)]
struct Sample<T> {
    round: usize,
    relay: Relay,
    #[serde(flatten)]
    figures: T,
}

impl<T> Samples<T> {
    /// Measures every relay once a round and shows each result as it comes. Each round starts
    /// with another relay, so that none always runs on the machine as the last one left it.
    pub fn take(
        rounds: usize,
        mut measure: impl FnMut(Relay) -> Result<T>,
        show: impl Fn(&T) -> String,
    ) -> Result<Self> {
        let mut samples = Vec::new();
        for round in 0..rounds {
            for turn in 0..Relay::ALL.len() {
                let relay = Relay::ALL[(round + turn) % Relay::ALL.len()];
                let figures = measure(relay)?;
                println!("round {round}: {:<16} {}", relay.name(), show(&figures));
                samples.push(Sample { round, relay, figures });
            }
        }
        Ok(Self(samples))
    }

    /// One figure of one relay, in the order of the rounds.
    pub fn of(&self, relay: Relay, figure: impl Fn(&T) -> f64) -> Vec<f64> {
        let own = self.0.iter().filter(|sample| sample.relay == relay);
        own.map(|sample| figure(&sample.figures)).collect()
    }

    /// The median of one figure.
    pub fn median(&self, relay: Relay, figure: impl Fn(&T) -> f64) -> f64 {
        Spread::of(self.of(relay, figure)).median
    }

    /// The median of one figure's ratio to rtpengine's in the same round.
    pub fn ratio(&self, relay: Relay, figure: impl Fn(&T) -> f64) -> f64 {
        Spread::ratio(&self.of(relay, &figure), &self.of(Relay::Rtpengine, &figure)).median
    }
}

/// A figure that an issue asks for, held against its target.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// What was asked.
    pub figure: String,
    /// What was measured.
    pub measured: f64,
    /// The bound.
    pub target: f64,
    /// True when more is better.
    pub at_least: bool,
    /// Whether the bound is met.
    pub met: bool,
}

impl Verdict {
    /// `measured` must not exceed `target`.
    pub fn at_most(figure: impl Into<String>, measured: f64, target: f64) -> Self {
        let figure = figure.into();
        Self { figure, measured, target, at_least: false, met: measured <= target }
    }

    /// `measured` must reach `target`.
    pub fn at_least(figure: impl Into<String>, measured: f64, target: f64) -> Self {
        let figure = figure.into();
        Self { figure, measured, target, at_least: true, met: measured >= target }
    }

    fn print(&self) {
        let (mark, relation) =
            (if self.met { "met   " } else { "MISSED" }, if self.at_least { "≥" } else { "≤" });
        // Three digits of a bound that was measured, none after a whole number.
        let target = (1e3 * self.target).round() / 1e3;
        println!("  {mark} {:<82} {:>9.3} {relation} {target}", self.figure, self.measured);
    }
}

/// The committed form of one bench.
#[derive(Serialize)]
struct File<'a, T> {
    schema_version: u32,
    bench: &'a str,
    machine: Machine,
    verdicts: &'a [Verdict],
    rounds: &'a T,
}

/// Prints the verdicts and writes `<directory>/<bench>.json`.
pub fn finish<T: Serialize>(
    bench: &str,
    directory: &Path,
    verdicts: &[Verdict],
    rounds: &T,
) -> Result<()> {
    println!("\n{bench}:");
    verdicts.iter().for_each(Verdict::print);
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let path = directory.join(format!("{bench}.json"));
    let file = File { schema_version: 1, bench, machine: Machine::read(), verdicts, rounds };
    fs::write(&path, serde_json::to_string_pretty(&file)? + "\n")
        .with_context(|| format!("writing {}", path.display()))?;
    println!("  written to {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
    }

    #[test]
    fn a_quartile_lies_between_its_neighbours_in_proportion() {
        let quartiles = Quartiles::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(quartiles, Quartiles { lower: 1.75, median: 2.5, upper: 3.25 });
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let spread = Spread::ratio(&[1.0, 4.0], &[2.0, 4.0]);
        assert_eq!((spread.min, spread.median, spread.max), (0.5, 0.75, 1.0));
    }
}
