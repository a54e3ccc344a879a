//! What a run says: a table for people, JSON for programs, `.hgrm` for plots.

mod hgrm;
mod json;
mod table;

pub use hgrm::write_hgrm;
pub use json::write_json;
pub use table::print_table;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::measure::Direction;
use crate::media::Measured;

/// A finished run with what is needed to read its numbers.
pub struct Run {
    /// The relay's ng address.
    pub relay: String,
    /// What the relay says it is and how it does its I/O, where known.
    pub relay_details: Option<String>,
    /// Calls.
    pub calls: usize,
    /// Seconds of media.
    pub seconds: f64,
    /// Milliseconds per packet.
    pub ptime_ms: u64,
    /// SRTP profile of the answering leg.
    pub profile: String,
    /// Set-up time of each call (offer and answer), nanoseconds.
    pub setup_ns: Histogram<u64>,
    /// The measurement.
    pub measured: Measured,
}

impl Run {
    /// Both directions with their names.
    pub fn directions(&self) -> [(&'static str, &Direction); 2] {
        [("RTP → SRTP", &self.measured.forward), ("SRTP → RTP", &self.measured.backward)]
    }

    /// Whether the relay lost or damaged anything.
    pub fn is_lossless(&self) -> bool {
        self.directions().iter().all(|(_, direction)| {
            direction.sent > 0
                && direction.lost() == 0
                && direction.undecryptable == 0
                && direction.mismatched == 0
        })
    }

    /// Why the generator, not the relay, made these numbers; empty when it did not.
    pub fn invalid_because(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let late = self.measured.lateness_ns.value_at_quantile(0.99);
        if late > MAX_OWN_LATENESS_NS {
            reasons.push(format!(
                "loadgen itself sent late: p99 {:.1} ms, at most {} ms is expected",
                late as f64 / 1e6,
                MAX_OWN_LATENESS_NS / 1_000_000
            ));
        }
        if self.measured.own_receive_drops > 0 {
            reasons.push(format!(
                "loadgen's own sockets dropped {} packets",
                self.measured.own_receive_drops
            ));
        }
        reasons
    }
}

/// A generator later than a quarter of the packet interval shapes the result.
const MAX_OWN_LATENESS_NS: u64 = 5_000_000;

/// The percentiles that every form of the report shows, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "each is the percentile of its name")]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p999: f64,
    #[serde(rename = "p99.99")]
    pub p9999: f64,
    pub max: f64,
}

impl Percentiles {
    /// Of a histogram in nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: if histogram.is_empty() { 0.0 } else { histogram.max() as f64 / 1e3 },
        }
    }
}
