//! SAs and their rotations. No label names an SA, and none more than so many pairs: there may be
//! thousands.

use super::text::{Kind, Labels, Page};
use crate::ipsec::tally::Figures;
use crate::ipsec::traffic::Row;

pub(super) fn write(figures: &Figures, page: &mut Page) {
    use Kind::{Counter, Gauge};
    let up = u8::from(figures.agent_up);
    page.single("postern_ipsec_agent_up", Gauge, "1 while the offload agent answers.", up);
    let name = "postern_ipsec_sas";
    page.family(name, Gauge, "SAs installed, by where they really are.");
    for ((placement, direction), count) in &figures.census.sas {
        page.sample(name, &[("placement", placement), ("direction", direction)], count);
    }
    if let Some(least) = figures.census.seconds_to_soft {
        let name = "postern_ipsec_seconds_to_soft";
        page.single(name, Gauge, "Least time to a soft limit of any SA in use.", least);
    }
    let name = "postern_ipsec_fallbacks_total";
    page.family(name, Counter, "SAs in a lesser place than asked for, by class of reason.");
    for (reason, count) in &figures.fallbacks {
        page.sample(name, &[("reason", reason)], count);
    }
    rotations(figures, page);
    traffic(figures, page);
    let name = "postern_ipsec_engine_total";
    page.family(name, Counter, "Counters of the engines, by engine and the engine's own name.");
    for (engine, counter, value) in &figures.statistics {
        page.sample(name, &[("reason", &format_args!("{engine}:{counter}"))], value);
    }
}

fn rotations(figures: &Figures, page: &mut Page) {
    let name = "postern_ipsec_rotations_total";
    page.family(name, Kind::Counter, "Rotations that ended, by how.");
    for (result, count) in [("rotated", figures.rotated), ("failed", figures.failed)] {
        page.sample(name, &[("reason", &result)], count);
    }
    let name = "postern_ipsec_rotation_seconds_total";
    page.single(name, Kind::Counter, "Time that rotations took, the overlap too.", figures.seconds);
    let name = "postern_ipsec_rotation_lost_packets_total";
    let help = "Packets lost in rotations: sealed by the peer and not opened by us.";
    page.single(name, Kind::Counter, help, figures.lost);
}

fn traffic(figures: &Figures, page: &mut Page) {
    let mut family = |name, help, value: fn(&Row) -> u64| {
        page.family(name, Kind::Counter, help);
        for row in &figures.traffic {
            let labels: Labels<'_> = &[("pair", &row.pair), ("direction", &row.direction)];
            page.sample(name, labels, value(row));
        }
    };
    let help = "Packets of a pair's SAs.";
    family("postern_ipsec_packets_total", help, |row| row.amount.packets);
    let help = "Bytes of a pair's SAs, as their engine counts them.";
    family("postern_ipsec_bytes_total", help, |row| row.amount.bytes);
}
