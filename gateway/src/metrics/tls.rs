//! TLS listeners. Labels are of the configuration, of this program or bounded here: what peers send
//! (names, addresses) is in none of them.

use std::collections::BTreeMap;

use crypto_offload::{Direction, Placement};
use gateway_control::TlsListenerState;
use hdrhistogram::Histogram;
use tls_relay::{ListenerCounters, PlacementCount};

use super::histogram::Buckets;
use super::text::{Kind, Labels, Page};
use crate::tls::figures::Figures;

pub(super) fn write(figures: &Figures, page: &mut Page) {
    listeners(figures, page);
    certificates(figures, page);
    upstreams(figures, page);
    connections(figures, page);
    handshakes(figures, page);
    placements(figures, page);
    records(figures, page);
    handshake_time(figures, page);
    kernel(figures, page);
    let help = "Notices of TLS listeners that came too fast to become events.";
    page.single("postern_tls_notices_lost_total", Kind::Counter, help, figures.notices_lost);
}

fn listeners(figures: &Figures, page: &mut Page) {
    let name = "postern_tls_listener_up";
    page.family(name, Kind::Gauge, "1 while a listener takes connections.");
    for listener in &figures.status.listeners {
        let up = u8::from(listener.state == TlsListenerState::Serving);
        page.sample(name, &[("listener", &listener.name)], up);
    }
    let name = "postern_tls_listener_outdated";
    let help = "1 while a listener goes by what it had, as what it read last was refused.";
    page.family(name, Kind::Gauge, help);
    for listener in &figures.status.listeners {
        let serves = listener.state != TlsListenerState::Failed;
        let outdated = u8::from(serves && listener.problem.is_some());
        page.sample(name, &[("listener", &listener.name)], outdated);
    }
}

/// Those that expire first, where there are many.
fn certificates(figures: &Figures, page: &mut Page) {
    let mut soonest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for listener in &figures.status.listeners {
        for certificate in &listener.certificates {
            let of = certificate.names.first().map_or(certificate.source.as_str(), String::as_str);
            let not_after = soonest.entry((&listener.name, of)).or_insert(u64::MAX);
            *not_after = certificate.not_after.min(*not_after);
        }
    }
    let mut soonest: Vec<_> = soonest.into_iter().collect();
    soonest.sort_by_key(|(_, not_after)| *not_after);
    soonest.truncate(CERTIFICATES);
    let name = "postern_tls_certificate_not_after_seconds";
    let help = "When a certificate expires, in seconds since 1970; the 200 that do first.";
    page.family(name, Kind::Gauge, help);
    for ((listener, certificate), not_after) in soonest {
        page.sample(name, &[("listener", &listener), ("certificate", &certificate)], not_after);
    }
}

fn upstreams(figures: &Figures, page: &mut Page) {
    let name = "postern_tls_upstream_up";
    page.family(name, Kind::Gauge, "1 while an upstream is tried: it did not fail of late.");
    for listener in &figures.status.listeners {
        for upstream in &listener.upstreams {
            let labels: Labels<'_> =
                &[("listener", &listener.name), ("upstream", &upstream.address)];
            page.sample(name, labels, u8::from(upstream.up));
        }
    }
    let name = "postern_tls_upstream_connections_total";
    page.family(name, Kind::Counter, "Connections made to an upstream.");
    for counters in &figures.counters {
        for upstream in &counters.upstreams {
            let labels: Labels<'_> =
                &[("listener", &counters.listener), ("upstream", &upstream.address)];
            page.sample(name, labels, upstream.connected);
        }
    }
    let name = "postern_tls_upstream_failures_total";
    page.family(name, Kind::Counter, "Connections that an upstream did not take, by reason.");
    for counters in &figures.counters {
        for upstream in &counters.upstreams {
            for (reason, count) in &upstream.failures {
                let labels: Labels<'_> = &[
                    ("listener", &counters.listener),
                    ("upstream", &upstream.address),
                    ("reason", reason),
                ];
                page.sample(name, labels, count);
            }
        }
    }
}

fn connections(figures: &Figures, page: &mut Page) {
    type Read = fn(&ListenerCounters) -> u64;
    let families: [(&str, Kind, &str, Read); 4] = [
        ("postern_tls_connections", Kind::Gauge, "Connections up now.", |c| c.open),
        ("postern_tls_handshaking", Kind::Gauge, "Handshakes under way.", |c| c.handshaking),
        ("postern_tls_accepted_total", Kind::Counter, "Connections accepted.", |c| c.accepted),
        (
            "postern_tls_resumptions_total",
            Kind::Counter,
            "Handshakes that went on from an earlier one's keys.",
            |c| c.resumed,
        ),
    ];
    for (name, kind, help, read) in families {
        page.family(name, kind, help);
        for counters in &figures.counters {
            page.sample(name, &[("listener", &counters.listener)], read(counters));
        }
    }
    type List = fn(&ListenerCounters) -> &[(&'static str, u64)];
    let families: [(&str, &str, List); 2] = [
        ("postern_tls_refused_total", "Connections closed at once, by the limit that did.", |c| {
            &c.refused
        }),
        ("postern_tls_ended_total", "Connections that ended after their handshake, by how.", |c| {
            &c.ended
        }),
    ];
    for (name, help, list) in families {
        page.family(name, Kind::Counter, help);
        for counters in &figures.counters {
            for (reason, count) in list(counters) {
                page.sample(name, &[("listener", &counters.listener), ("reason", reason)], count);
            }
        }
    }
}

fn handshakes(figures: &Figures, page: &mut Page) {
    let name = "postern_tls_handshakes_total";
    page.family(name, Kind::Counter, "Handshakes that ended, by result and version.");
    for counters in &figures.counters {
        for one in &counters.handshakes {
            let labels: Labels<'_> = &[
                ("listener", &counters.listener),
                ("reason", &one.result),
                ("version", &one.version),
            ];
            page.sample(name, labels, one.count);
        }
    }
}

fn placements(figures: &Figures, page: &mut Page) {
    type Read = fn(&PlacementCount) -> u64;
    let families: [(&str, Kind, &str, Read); 2] = [
        (
            "postern_tls_placements",
            Kind::Gauge,
            "Connections up now, by where their records are and why not in a better place.",
            |one| one.open,
        ),
        ("postern_tls_placements_total", Kind::Counter, "The same since the start.", |one| {
            one.opened
        }),
    ];
    for (name, kind, help, read) in families {
        page.family(name, kind, help);
        for counters in &figures.counters {
            for ((direction, placement, reason), count) in by_reason(&counters.placements, read) {
                let labels: Labels<'_> = &[
                    ("listener", &counters.listener),
                    ("direction", &direction),
                    ("placement", &placement),
                    ("reason", &reason),
                ];
                page.sample(name, labels, count);
            }
        }
    }
}

/// Reasons are words of the kernel's and ours, few in fact: beyond [`REASONS`] they are one.
fn by_reason(
    placements: &[PlacementCount],
    read: fn(&PlacementCount) -> u64,
) -> BTreeMap<(&'static str, &'static str, &str), u64> {
    let mut sums = BTreeMap::new();
    for one in placements {
        let place = (direction(one.direction), Placement::name(one.placement));
        // The remedy behind it is for people.
        let reason = one.reason.split(';').next().unwrap_or_default();
        let known = sums.contains_key(&(place.0, place.1, reason)) || sums.len() < REASONS;
        let reason = if known { reason } else { "other" };
        *sums.entry((place.0, place.1, reason)).or_insert(0) += read(one);
    }
    sums
}

fn records(figures: &Figures, page: &mut Page) {
    type Read = fn(&ListenerCounters) -> [(&'static str, u64); 2];
    let families: [(&str, &str, Read); 2] = [
        ("postern_tls_bytes_total", "Application data opened and sealed.", |c| {
            [("in", c.bytes_in), ("out", c.bytes_out)]
        }),
        ("postern_tls_key_updates_total", "KeyUpdates that peers sent, and that we did.", |c| {
            [("in", c.key_updates_received), ("out", c.key_updates_sent)]
        }),
    ];
    for (name, help, read) in families {
        page.family(name, Kind::Counter, help);
        for counters in &figures.counters {
            for (direction, count) in read(counters) {
                let labels: Labels<'_> =
                    &[("listener", &counters.listener), ("direction", &direction)];
                page.sample(name, labels, count);
            }
        }
    }
    let name = "postern_tls_alerts_total";
    page.family(name, Kind::Counter, "Alerts that came and that we sent, by code (RFC 8446).");
    for counters in &figures.counters {
        for alert in &counters.alerts {
            let labels: Labels<'_> = &[
                ("listener", &counters.listener),
                ("direction", &direction(alert.direction)),
                ("code", &alert.code),
            ];
            page.sample(name, labels, alert.count);
        }
    }
}

fn handshake_time(figures: &Figures, page: &mut Page) {
    let name = "postern_tls_handshake_seconds";
    let help = "Time of good handshakes, from the first byte's wait to their last step.";
    page.family(name, Kind::Histogram, help);
    for counters in &figures.counters {
        let listener: Labels<'_> = &[("listener", &counters.listener)];
        BUCKETS.write(name, listener, [&counters.handshake_time], page);
    }
    let sum = sum(&figures.counters);
    let gauges = [
        ("postern_tls_handshake_p50_seconds", 0.5),
        ("postern_tls_handshake_p99_seconds", 0.99),
        ("postern_tls_handshake_p999_seconds", 0.999),
        ("postern_tls_handshake_max_seconds", 1.0),
    ];
    for (name, quantile) in gauges {
        let microseconds = sum.as_ref().map_or(0, |sum| match quantile {
            1.0 => sum.max(),
            quantile => sum.value_at_quantile(quantile),
        });
        let help = "Time of all listeners' good handshakes since the start.";
        page.single(name, Kind::Gauge, help, microseconds as f64 / 1e6);
    }
}

fn sum(counters: &[ListenerCounters]) -> Option<Histogram<u64>> {
    let mut all = counters.iter().map(|counters| &counters.handshake_time);
    let mut sum = all.next()?.clone();
    for one in all {
        // All have the same bounds.
        let _ = sum.add(one);
    }
    Some(sum)
}

/// `/proc/net/tls_stat`: what is now, then what was.
fn kernel(figures: &Figures, page: &mut Page) {
    let (now, total): (Vec<_>, Vec<_>) =
        figures.kernel.iter().partition(|(name, _)| name.starts_with("TlsCurr"));
    let families = [
        ("postern_tls_kernel_sockets", Kind::Gauge, "TLS sockets in the kernel", now),
        ("postern_tls_kernel_total", Kind::Counter, "The kernel's counters of TLS", total),
    ];
    for (name, kind, help, counters) in families {
        let help = format!("{help}, all programs of this network namespace.");
        page.family(name, kind, &help);
        for (counter, value) in counters {
            page.sample(name, &[("reason", counter)], value);
        }
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "in",
        Direction::Outbound => "out",
    }
}

/// Certificates that are told one by one.
const CERTIFICATES: usize = 200;

/// Places and reasons of one listener that are told one by one.
const REASONS: usize = 32;

/// Of microseconds: three a decade, from the fastest resumption to a minute.
const BUCKETS: Buckets = Buckets { unit: 1e-6, bounds: &BOUNDS };
const BOUNDS: [(u64, &str); 17] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
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
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (60_000_000, "60"),
];

#[cfg(test)]
mod tests {
    use gateway_control::{TlsCertificate, TlsListenerStatus, TlsMode};
    use tls_relay::{AlertCount, HandshakeCount, Mode};

    use super::*;

    fn placement(reason: &str) -> PlacementCount {
        PlacementCount {
            direction: Direction::Inbound,
            placement: Placement::UserSpace,
            reason: reason.to_owned(),
            opened: 2,
            open: 1,
        }
    }

    fn counters() -> ListenerCounters {
        let mut handshake_time = Histogram::new_with_bounds(1, 120_000_000, 2).unwrap();
        handshake_time.record(2_000).unwrap();
        handshake_time.record(40_000).unwrap();
        ListenerCounters {
            listener: "sip".to_owned(),
            mode: Mode::Terminate,
            accepted: 5,
            refused: vec![("max_handshakes", 1)],
            handshakes: vec![
                HandshakeCount { result: "done", version: "1.3", count: 2 },
                HandshakeCount { result: "no_shared_cipher", version: "none", count: 1 },
            ],
            resumed: 1,
            handshaking: 1,
            open: 2,
            placements: vec![placement("kernel TLS: no; load the module")],
            ended: vec![("closed", 1)],
            key_updates_sent: 3,
            key_updates_received: 4,
            alerts: vec![AlertCount { direction: Direction::Outbound, code: 40, count: 1 }],
            bytes_in: 500,
            bytes_out: 600,
            upstreams: Vec::new(),
            handshake_time,
        }
    }

    fn page(figures: &Figures) -> String {
        let mut page = Page::default();
        write(figures, &mut page);
        page.finish()
    }

    #[test]
    fn what_is_counted_is_on_the_page_under_the_listeners_name() {
        let kernel = vec![("TlsCurrTxSw".to_owned(), 3), ("TlsDecryptError".to_owned(), 1)];
        let page = page(&Figures { counters: vec![counters()], kernel, ..Figures::default() });
        for line in [
            "postern_tls_handshakes_total{listener=\"sip\",reason=\"done\",version=\"1.3\"} 2",
            "postern_tls_handshakes_total{listener=\"sip\",reason=\"no_shared_cipher\",version=\"none\"} 1",
            "postern_tls_resumptions_total{listener=\"sip\"} 1",
            "postern_tls_refused_total{listener=\"sip\",reason=\"max_handshakes\"} 1",
            "postern_tls_key_updates_total{listener=\"sip\",direction=\"in\"} 4",
            "postern_tls_key_updates_total{listener=\"sip\",direction=\"out\"} 3",
            "postern_tls_alerts_total{listener=\"sip\",direction=\"out\",code=\"40\"} 1",
            "postern_tls_bytes_total{listener=\"sip\",direction=\"out\"} 600",
            "postern_tls_placements{listener=\"sip\",direction=\"in\",placement=\"user-space\",reason=\"kernel TLS: no\"} 1",
            "postern_tls_handshake_seconds_bucket{listener=\"sip\",le=\"0.0025\"} 1",
            "postern_tls_handshake_seconds_bucket{listener=\"sip\",le=\"0.05\"} 2",
            "postern_tls_handshake_seconds_count{listener=\"sip\"} 2",
            "postern_tls_kernel_sockets{reason=\"TlsCurrTxSw\"} 3",
            "postern_tls_kernel_total{reason=\"TlsDecryptError\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
    }

    #[test]
    fn reasons_are_bounded_and_no_connection_is_left_out() {
        let many: Vec<_> = (0..100).map(|number| placement(&format!("reason {number}"))).collect();
        let sums = by_reason(&many, |one| one.opened);
        assert_eq!(sums.len(), REASONS + 1);
        assert_eq!(sums.values().sum::<u64>(), 200);
        assert_eq!(sums[&("in", "user-space", "other")], 2 * (100 - REASONS as u64));
    }

    #[test]
    fn of_many_certificates_those_that_expire_first_are_told() {
        let certificate = |number: u64| TlsCertificate {
            names: vec![format!("{number}.example")],
            not_before: 0,
            not_after: 1_000 - number,
            fingerprint: String::new(),
            source: String::new(),
            key: String::new(),
            ocsp_until: None,
        };
        let listener = TlsListenerStatus {
            name: "sip".to_owned(),
            mode: TlsMode::Terminate,
            listen: ([127, 0, 0, 1], 5061).into(),
            state: TlsListenerState::Serving,
            problem: None,
            certificates: (0..500).map(certificate).collect(),
            upstreams: Vec::new(),
            connections: 0,
            handshakes: 0,
            placements: Vec::new(),
        };
        let mut figures = Figures::default();
        figures.status.listeners = vec![listener];
        let page = page(&figures);
        let family = "postern_tls_certificate_not_after_seconds{";
        assert_eq!(page.lines().filter(|line| line.starts_with(family)).count(), CERTIFICATES);
        assert!(page.contains("certificate=\"499.example\"} 501"), "{page}");
    }
}
