//! The incumbent's families, so that a dashboard made for it goes on working.
//!
//! Only what we measure: its MOS, jitter, round-trip and transcoding families are absent rather
//! than zero, since a zero would be read as a measurement.

use super::Figures;
use super::ledger::{Ending, Verb};
use super::text::{Kind, Labels, Page};
use crate::relay::drop_reason::DropReason;

pub(super) fn write(figures: &Figures, page: &mut Page) {
    sessions(figures, page);
    packets(figures, page);
    durations(figures, page);
    ports(figures, page);
    requests(figures, page);
}

fn sessions(figures: &Figures, page: &mut Page) {
    use Kind::{Counter, Gauge};
    let name = "rtpengine_sessions";
    page.family(name, Gauge, "Calls up now.");
    page.sample(name, &[("type", &"own")], figures.calls);
    page.sample(name, &[("type", &"foreign")], 0);
    page.single("rtpengine_sessions_total", Counter, "Calls made.", figures.ledger.calls);
    let name = "rtpengine_closed_sessions_total";
    page.family(name, Counter, "Calls ended, by reason.");
    for ending in Ending::ALL {
        page.sample(name, &[("reason", &ending.name())], figures.ledger.ended_by(ending));
    }
    let name = "rtpengine_mediastreams";
    page.family(name, Gauge, "Streams up now.");
    let streams = figures.total(|snapshot| snapshot.streams as u64);
    for (place, value) in [("userspace", streams), ("kernel", 0), ("mixed", 0)] {
        page.sample(name, &[("type", &place)], value);
    }
    let uptime = figures.uptime.as_secs();
    page.single("rtpengine_uptime_seconds", Gauge, "Time since the start.", uptime);
}

fn packets(figures: &Figures, page: &mut Page) {
    let dropped = figures.total(|snapshot| {
        // Loss in the kernel's queue is no error of a packet that was relayed.
        snapshot.drops.iter().sum::<u64>() - snapshot.drops[DropReason::KernelReceiveQueue as usize]
    });
    let families = [
        ("rtpengine_packets_total", "Packets relayed.", figures.total(|s| s.packets_out)),
        ("rtpengine_bytes_total", "Bytes relayed.", figures.total(|s| s.bytes_out)),
        ("rtpengine_packet_errors_total", "Packets dropped.", dropped),
    ];
    for (name, help, value) in families {
        page.family(name, Kind::Counter, help);
        page.sample(name, &[("type", &"userspace")], value);
        page.sample(name, &[("type", &"kernel")], 0);
    }
    let ledger = &figures.ledger;
    let singles = [
        (
            "rtpengine_zero_packet_streams_total",
            "Streams of ended calls that got no packet.",
            ledger.zero_packet_streams,
        ),
        (
            "rtpengine_one_way_sessions_total",
            "Ended calls in which only one party sent.",
            ledger.one_way_calls,
        ),
        (
            "rtpengine_packets_lost",
            "RTP packets that ended calls never received.",
            ledger.packets_lost,
        ),
    ];
    for (name, help, value) in singles {
        page.single(name, Kind::Counter, help, value);
    }
}

fn durations(figures: &Figures, page: &mut Page) {
    let ledger = &figures.ledger;
    let ended: u64 = Ending::ALL
        .into_iter()
        .filter(|ending| *ending != Ending::Rejected)
        .map(|ending| ledger.ended_by(ending))
        .sum();
    let average = if ended == 0 { 0.0 } else { ledger.duration_seconds / ended as f64 };
    let name = "rtpengine_call_duration_avg";
    page.single(name, Kind::Gauge, "Mean duration of ended calls, seconds.", average);
    let name = "rtpengine_call_duration_total";
    page.single(name, Kind::Counter, "Durations of ended calls, seconds.", ledger.duration_seconds);
    let name = "rtpengine_call_duration2_total";
    page.single(name, Kind::Counter, "Their squares.", ledger.duration_squared);
}

fn ports(figures: &Figures, page: &mut Page) {
    type Read = fn(usize, usize) -> usize;
    let families: [(&str, &str, Read); 3] = [
        ("rtpengine_ports", "Media ports in the range.", |total, _| total),
        ("rtpengine_ports_free", "Media ports not open.", |total, used| total - used),
        ("rtpengine_ports_used", "Media ports open now.", |_, used| used),
    ];
    for (name, help, read) in families {
        page.family(name, Kind::Gauge, help);
        for usage in &figures.ports {
            let labels: Labels<'_> = &[("name", &usage.interface), ("address", &usage.bind)];
            page.sample(name, labels, read(usage.total, usage.used));
        }
    }
}

fn requests(figures: &Figures, page: &mut Page) {
    let name = "rtpengine_requests_total";
    page.family(name, Kind::Counter, "ng requests, by client and command.");
    for (proxy, client) in figures.ledger.clients() {
        for verb in Verb::ALL {
            let labels: Labels<'_> = &[("proxy", proxy), ("request", &verb.name())];
            page.sample(name, labels, client.requests(verb).0);
        }
    }
    let name = "rtpengine_request_seconds_total";
    page.family(name, Kind::Counter, "Time spent on ng requests.");
    for (proxy, client) in figures.ledger.clients() {
        for verb in Verb::ALL {
            let labels: Labels<'_> = &[("proxy", proxy), ("request", &verb.name())];
            page.sample(name, labels, client.requests(verb).1.as_secs_f64());
        }
    }
    let name = "rtpengine_errors_total";
    page.family(name, Kind::Counter, "ng requests answered with an error.");
    for (proxy, client) in figures.ledger.clients() {
        page.sample(name, &[("proxy", proxy)], client.errors);
    }
}
