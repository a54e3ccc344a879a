//! Our families: prefix `postern_`, base units, labels worker, interface, direction and reason.

use std::collections::BTreeMap;

use super::Figures;
use super::histogram::Buckets;
use super::ledger::{Ending, Verb};
use super::text::{Kind, Page};
use crate::relay::command::WorkerSnapshot;
use crate::relay::drop_reason::DropReason;
use crate::weakness;

pub(super) fn write(figures: &Figures, page: &mut Page) {
    process(figures, page);
    calls(figures, page);
    srtp(figures, page);
    ports(figures, page);
    packets(figures, page);
    residence(figures, page);
    workers(figures, page);
}

fn process(figures: &Figures, page: &mut Page) {
    use Kind::{Counter, Gauge};
    let uptime = figures.uptime.as_secs_f64();
    page.single("postern_uptime_seconds", Gauge, "Time since the start.", uptime);
    let draining = u8::from(figures.draining);
    page.single("postern_draining", Gauge, "1 while no new calls are taken.", draining);

    let clients = figures.ledger.clients();
    let (mut requests, mut seconds, mut errors) = (0, 0.0, 0);
    for (_, client) in clients {
        errors += client.errors;
        for (count, took) in Verb::ALL.map(|verb| client.requests(verb)) {
            requests += count;
            seconds += took.as_secs_f64();
        }
    }
    page.single("postern_ng_requests_total", Counter, "ng requests answered.", requests);
    let name = "postern_ng_request_seconds_total";
    page.single(name, Counter, "Time spent on ng requests.", seconds);
    page.single("postern_ng_errors_total", Counter, "ng requests refused.", errors);
}

fn calls(figures: &Figures, page: &mut Page) {
    page.single("postern_calls", Kind::Gauge, "Calls up now.", figures.calls);
    page.single("postern_calls_total", Kind::Counter, "Calls made.", figures.ledger.calls);
    let name = "postern_calls_ended_total";
    page.family(name, Kind::Counter, "Calls ended or refused, by reason.");
    for ending in Ending::ALL {
        page.sample(name, &[("reason", &ending.name())], figures.ledger.ended_by(ending));
    }
}

fn srtp(figures: &Figures, page: &mut Page) {
    let name = "postern_srtp_key_switches_total";
    let help = "Times that we went on to another of our keys that a party knows by its MKI.";
    page.single(name, Kind::Counter, help, figures.ledger.key_switches);
    let name = "postern_srtp_weakened_legs_total";
    page.family(name, Kind::Counter, "Legs agreed that go without something, by what it is.");
    for weakness in weakness::ALL {
        let reason = weakness::name(weakness);
        page.sample(name, &[("reason", &reason)], figures.ledger.weakened_by(weakness));
    }
}

/// By logical interface: its addresses added up.
fn ports(figures: &Figures, page: &mut Page) {
    let mut sums: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for usage in &figures.ports {
        let (total, used) = sums.entry(&usage.interface).or_default();
        *total += usage.total;
        *used += usage.used;
    }
    page.family("postern_ports", Kind::Gauge, "Media ports in the range.");
    for (interface, (total, _)) in &sums {
        page.sample("postern_ports", &[("interface", interface)], total);
    }
    page.family("postern_ports_used", Kind::Gauge, "Media ports open now.");
    for (interface, (_, used)) in &sums {
        page.sample("postern_ports_used", &[("interface", interface)], used);
    }
}

fn packets(figures: &Figures, page: &mut Page) {
    type Read = fn(&WorkerSnapshot) -> [(&'static str, u64); 2];
    let families: [(&str, &str, Read); 2] = [
        ("postern_packets_total", "Packets received and sent.", |s| {
            [("in", s.packets_in), ("out", s.packets_out)]
        }),
        ("postern_bytes_total", "Bytes of UDP payload received and sent.", |s| {
            [("in", s.bytes_in), ("out", s.bytes_out)]
        }),
    ];
    for (name, help, read) in families {
        page.family(name, Kind::Counter, help);
        for snapshot in figures.snapshots() {
            for (direction, value) in read(snapshot) {
                let labels: [(&str, &dyn std::fmt::Display); 2] =
                    [("worker", &snapshot.worker), ("direction", &direction)];
                page.sample(name, &labels, value);
            }
        }
    }
    let name = "postern_dropped_packets_total";
    page.family(name, Kind::Counter, "Packets that went no further, by reason.");
    for snapshot in figures.snapshots() {
        for reason in DropReason::ALL {
            let value = snapshot.drops[reason as usize];
            page.sample(name, &[("worker", &snapshot.worker), ("reason", &reason.name())], value);
        }
    }
}

fn residence(figures: &Figures, page: &mut Page) {
    let name = "postern_residence_seconds";
    let help = "Time from the kernel's receive timestamp to after the batch's sends.";
    page.family(name, Kind::Histogram, help);
    for snapshot in figures.snapshots() {
        BUCKETS.write(name, &[("worker", &snapshot.worker)], [&snapshot.residence], page);
    }
    let gauges: [(&str, f64); 4] = [
        ("postern_residence_p50_seconds", 0.5),
        ("postern_residence_p99_seconds", 0.99),
        ("postern_residence_p999_seconds", 0.999),
        ("postern_residence_max_seconds", 1.0),
    ];
    let sum = figures.residence();
    for (name, quantile) in gauges {
        let nanoseconds = sum.as_ref().map_or(0, |sum| match quantile {
            1.0 => sum.max(),
            quantile => sum.value_at_quantile(quantile),
        });
        let help = "Residence time of all workers since the start, from the summed histogram.";
        page.single(name, Kind::Gauge, help, nanoseconds as f64 / 1e9);
    }
    let name = "postern_residence_clock_steps_total";
    page.family(name, Kind::Counter, "Packets not measured because the clock was stepped.");
    for snapshot in figures.snapshots() {
        page.sample(name, &[("worker", &snapshot.worker)], snapshot.clock_steps);
    }
}

fn workers(figures: &Figures, page: &mut Page) {
    page.family("postern_worker_stalled", Kind::Gauge, "1 while a worker does not answer.");
    for (worker, snapshot) in figures.workers.iter().enumerate() {
        let stalled = u8::from(snapshot.is_none());
        page.sample("postern_worker_stalled", &[("worker", &worker)], stalled);
    }
    type Read = fn(&WorkerSnapshot) -> u64;
    let families: [(&str, Kind, &str, Read); 3] = [
        ("postern_worker_calls", Kind::Gauge, "Calls of a worker.", |s| s.calls as u64),
        ("postern_worker_streams", Kind::Gauge, "Streams of a worker.", |s| s.streams as u64),
        ("postern_worker_wakeups_total", Kind::Counter, "Wake-ups of a worker.", |s| s.wakeups),
    ];
    for (name, kind, help, read) in families {
        page.family(name, kind, help);
        for snapshot in figures.snapshots() {
            page.sample(name, &[("worker", &snapshot.worker)], read(snapshot));
        }
    }
}

/// Of nanoseconds: three a decade, from a bare relay's best to a second.
const BUCKETS: Buckets = Buckets { unit: 1e-9, bounds: &BOUNDS };
const BOUNDS: [(u64, &str); 19] = [
    (1_000, "0.000001"),
    (2_500, "0.0000025"),
    (5_000, "0.000005"),
    (10_000, "0.00001"),
    (25_000, "0.000025"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
];
