//! The JSON form: schema version, machine facts, validity, then the numbers.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{Percentiles, Run};
use crate::machine::Machine;
use crate::measure::Direction;

/// Raised when a reader of an older version would misread the file.
const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document {
    schema_version: u32,
    tool: &'static str,
    version: &'static str,
    machine: Machine,
    relay: Relay,
    load: Load,
    validity: Validity,
    call_setup_us: Percentiles,
    generator_lateness_us: Percentiles,
    rtp_to_srtp: Media,
    srtp_to_rtp: Media,
}

#[derive(Serialize)]
struct Relay {
    ng: String,
    details: Option<String>,
}

#[derive(Serialize)]
struct Load {
    calls: usize,
    seconds: f64,
    ptime_ms: u64,
    profile: String,
}

#[derive(Serialize)]
struct Validity {
    valid: bool,
    reasons: Vec<String>,
}

#[derive(Serialize)]
struct Media {
    sent: u64,
    received: u64,
    lost: u64,
    loss_ratio: f64,
    reordered: u64,
    duplicates: u64,
    undecryptable: u64,
    mismatched: u64,
    latency_us: Percentiles,
    jitter_us: Percentiles,
}

impl Media {
    fn of(direction: &Direction) -> Self {
        Self {
            sent: direction.sent,
            received: direction.received,
            lost: direction.lost(),
            loss_ratio: direction.loss_ratio(),
            reordered: direction.reordered,
            duplicates: direction.duplicates,
            undecryptable: direction.undecryptable,
            mismatched: direction.mismatched,
            latency_us: Percentiles::of(&direction.latency_ns),
            jitter_us: Percentiles::of(&direction.jitter_ns),
        }
    }
}

/// Writes the run to `path`.
pub fn write_json(run: &Run, path: &Path) -> Result<()> {
    let reasons = run.invalid_because();
    let document = Document {
        schema_version: SCHEMA_VERSION,
        tool: "loadgen",
        version: env!("CARGO_PKG_VERSION"),
        machine: Machine::read(),
        relay: Relay { ng: run.relay.clone(), details: run.relay_details.clone() },
        load: Load {
            calls: run.calls,
            seconds: run.seconds,
            ptime_ms: run.ptime_ms,
            profile: run.profile.clone(),
        },
        validity: Validity { valid: reasons.is_empty(), reasons },
        call_setup_us: Percentiles::of(&run.setup_ns),
        generator_lateness_us: Percentiles::of(&run.measured.lateness_ns),
        rtp_to_srtp: Media::of(&run.measured.forward),
        srtp_to_rtp: Media::of(&run.measured.backward),
    };
    let text = serde_json::to_string_pretty(&document)? + "\n";
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
