//! The figures as tables, for a terminal or for `docs/decisions.md`.

use srtp::Profile;

use super::{Figures, PAYLOADS, PROFILES, Row, TARGET_PAYLOAD, WORKS};
use crate::contest::{Peer, Work};
use crate::figures::Tables;

/// Prints them.
pub(super) fn print(figures: &Figures, tables: Tables) {
    plain(figures);
    if tables == Tables::Markdown {
        markdown(figures);
    }
}

fn plain(figures: &Figures) {
    println!(
        "\nns per packet: median (quartiles) of {} rounds; {}",
        figures.rounds, figures.backend
    );
    for profile in PROFILES {
        for work in WORKS {
            println!("{profile} {work}");
            for peer in Peer::ALL {
                let cells: Vec<String> = PAYLOADS
                    .iter()
                    .filter_map(|payload| cell(figures, profile, work, *payload, peer))
                    .map(|Row { payload, ns, .. }| {
                        let range = format!("({:.0} to {:.0})", ns.lower, ns.upper);
                        format!("{payload:>6} B {:>7.1} {range:<14}", ns.median)
                    })
                    .collect();
                if !cells.is_empty() {
                    println!("  {peer:<26}{}", cells.join(""));
                }
            }
        }
    }
    println!(
        "\nstreams (of them busy): ns per packet, protecting {TARGET_PAYLOAD} bytes one by one"
    );
    for time in &figures.streams.time {
        let (ns, streams) = (time.ns, format!("{} ({})", time.streams, time.visited));
        println!("  {:<24} {:<24} {streams:>13} {:>8.1}", time.profile, time.layout, ns.median);
    }
    for memory in &figures.streams.memory {
        println!(
            "  {:<24} {:.0} bytes per direction with a stream, {:.0} per further stream",
            memory.profile, memory.direction, memory.further_stream
        );
    }
}

/// Protect / open at the size that the targets are for, a row per contestant.
fn markdown(figures: &Figures) {
    println!(
        "\n| ns per packet, protect / open, {TARGET_PAYLOAD} bytes | {} |",
        PROFILES.map(Profile::name).join(" | ")
    );
    println!("|---|{}", "---|".repeat(PROFILES.len()));
    for peer in Peer::ALL {
        let cells = PROFILES.map(|profile| {
            let [protect, open] = WORKS.map(|work| {
                cell(figures, profile, work, TARGET_PAYLOAD, peer)
                    .map_or_else(|| "–".to_owned(), |row| format!("{:.0}", row.ns.median))
            });
            if protect == open && protect == "–" {
                protect
            } else {
                format!("{protect} / {open}")
            }
        });
        println!("| {} | {} |", peer.name(), cells.join(" | "));
    }
    println!();
}

fn cell(
    figures: &Figures,
    profile: Profile,
    work: Work,
    payload: usize,
    peer: Peer,
) -> Option<&Row> {
    figures.cases.iter().find(|row| {
        (row.profile, row.work, row.payload, row.peer) == (profile.name(), work, payload, peer)
    })
}
