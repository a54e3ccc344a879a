//! DTLS and ICE. No label names a call or a party; every one is a word of this program.

use std::collections::BTreeMap;

use super::histogram::Buckets;
use super::text::{Kind, Labels, Page};
use crate::webrtc::figures::{AgentDrop, Figures};

pub(super) fn write(threads: &[Option<Figures>], page: &mut Page) {
    if threads.is_empty() {
        return;
    }
    let name = "postern_webrtc_thread_stalled";
    page.family(name, Kind::Gauge, "1 while an agents' thread does not answer.");
    for (index, figures) in threads.iter().enumerate() {
        page.sample(name, &[("thread", &index)], u8::from(figures.is_none()));
    }
    let all: Vec<&Figures> = threads.iter().flatten().collect();
    legs(&all, page);
    handshakes(&all, page);
    handshake_time(&all, page);
    budget(&all, page);
    checks(&all, page);
    datagrams(&all, page);
}

fn legs(all: &[&Figures], page: &mut Page) {
    let families: [(&str, &str, Words); 2] = [
        ("postern_ice_legs", "Legs with ICE, by where it stands.", |figures| &figures.ice),
        ("postern_dtls_legs", "Legs with DTLS, by where it stands.", |figures| &figures.dtls),
    ];
    for (name, help, of) in families {
        page.family(name, Kind::Gauge, help);
        for (state, count) in summed(all, of) {
            page.sample(name, &[("state", &state)], count);
        }
    }
}

fn handshakes(all: &[&Figures], page: &mut Page) {
    let name = "postern_dtls_handshakes_total";
    page.family(name, Kind::Counter, "DTLS handshakes that ended, by how.");
    let mut sums = BTreeMap::new();
    for (outcome, count) in all.iter().flat_map(|figures| &figures.handshakes) {
        *sums.entry(outcome).or_insert(0) += count;
    }
    for (outcome, count) in sums {
        let labels: Labels<'_> =
            &[("result", &outcome.result), ("profile", &outcome.profile), ("role", &outcome.role)];
        page.sample(name, labels, count);
    }
}

/// Of all threads together.
fn handshake_time(all: &[&Figures], page: &mut Page) {
    let name = "postern_dtls_handshake_seconds";
    let help = "Time from a handshake's first step to its keys.";
    page.family(name, Kind::Histogram, help);
    BUCKETS.write(name, &[], all.iter().map(|figures| &figures.handshake_time), page);
}

fn budget(all: &[&Figures], page: &mut Page) {
    use Kind::{Counter, Gauge};
    type Read = fn(&Figures) -> f64;
    let families: [(&str, Kind, &str, Read); 5] = [
        ("postern_dtls_handshaking", Gauge, "DTLS handshakes that the party answered.", |one| {
            one.handshaking as f64
        }),
        (
            "postern_dtls_handshakes_waiting",
            Gauge,
            "Datagrams and handshakes that wait for time or a place.",
            |one| one.waiting as f64,
        ),
        (
            "postern_dtls_budget_waits_total",
            Counter,
            "How often handshakes had to wait for time or a place.",
            |one| one.waits as f64,
        ),
        (
            "postern_dtls_budget_wait_seconds_total",
            Counter,
            "Time during which some handshake waited for time or a place.",
            |one| one.wait_seconds,
        ),
        (
            "postern_dtls_handshake_cpu_seconds_total",
            Counter,
            "Time that steps of handshakes took.",
            |one| one.handshake_seconds,
        ),
    ];
    for (name, kind, help, of) in families {
        page.single(name, kind, help, all.iter().map(|figures| of(figures)).sum::<f64>());
    }
}

fn checks(all: &[&Figures], page: &mut Page) {
    type Read = fn(&Figures) -> u64;
    let families: [(&str, &str, Read); 4] = [
        ("postern_ice_checks_sent_total", "Checks sent, for consent too.", |one| one.checks.sent),
        ("postern_ice_checks_answered_total", "Checks of parties answered.", |one| {
            one.checks.answered
        }),
        ("postern_ice_answers_total", "Authentic answers to our checks.", |one| one.checks.answers),
        ("postern_ice_role_conflicts_total", "Role conflicts seen.", |one| {
            one.checks.role_conflicts
        }),
    ];
    for (name, help, of) in families {
        page.single(name, Kind::Counter, help, all.iter().map(|one| of(one)).sum::<u64>());
    }
    let name = "postern_ice_refused_total";
    page.family(name, Kind::Counter, "STUN messages that changed nothing, by reason.");
    for (reason, count) in summed(all, |figures| &figures.refused) {
        page.sample(name, &[("reason", &reason)], count);
    }
}

fn datagrams(all: &[&Figures], page: &mut Page) {
    let sent = all.iter().map(|figures| figures.sent).sum::<u64>();
    let name = "postern_webrtc_sent_total";
    page.single(name, Kind::Counter, "Datagrams of DTLS and ICE sent.", sent);
    let name = "postern_webrtc_dropped_total";
    let help = "Datagrams of DTLS and ICE that went no further, by reason; what workers hold back \
                is among postern_dropped_packets_total.";
    page.family(name, Kind::Counter, help);
    for reason in AgentDrop::ALL {
        let count = all.iter().map(|figures| figures.drops[reason as usize]).sum::<u64>();
        page.sample(name, &[("reason", &reason.name())], count);
    }
}

/// Counts by a word of this program.
type Words = fn(&Figures) -> &BTreeMap<&'static str, u64>;

fn summed(all: &[&Figures], of: Words) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for (word, count) in all.iter().flat_map(|figures| of(figures)) {
        *sums.entry(*word).or_insert(0) += count;
    }
    sums
}

/// Of microseconds: from a neighbour's handshake to RFC 6347's patience.
const BUCKETS: Buckets = Buckets { unit: 1e-6, bounds: &BOUNDS };
const BOUNDS: [(u64, &str); 12] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (5_000_000, "5"),
    (30_000_000, "30"),
];
