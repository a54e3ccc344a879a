//! The table.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use super::{Percentiles, Run};

/// Prints the run to standard output.
pub fn print_table(run: &Run) {
    println!(
        "\n{} calls, {:.0} s, {} ms packets, {} through {}{}",
        run.calls,
        run.seconds,
        run.ptime_ms,
        run.profile,
        run.relay,
        run.relay_details.as_ref().map_or(String::new(), |details| format!(" ({details})")),
    );
    println!("{}", latencies(run));
    println!("{}", counts(run));
    let late = Percentiles::of(&run.measured.lateness_ns);
    println!(
        "loadgen's own lateness, part of the latencies above: p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs",
        late.p50, late.p99, late.max
    );
    for reason in run.invalid_because() {
        println!("INVALID: {reason}");
    }
}

fn latencies(run: &Run) -> Table {
    let mut table = new_table(["µs", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
    let setup = ("call set-up".to_owned(), &run.setup_ns);
    let media = run.directions().into_iter().flat_map(|(name, direction)| {
        [
            (format!("{name} latency"), &direction.latency_ns),
            (format!("{name} jitter"), &direction.jitter_ns),
        ]
    });
    for (name, histogram) in media.chain([setup]) {
        let Percentiles { p50, p90, p99, p999, p9999, max } = Percentiles::of(histogram);
        let figures = [p50, p90, p99, p999, p9999, max].map(|figure| format!("{figure:.0}"));
        table.add_row([name].into_iter().chain(figures));
    }
    align(table)
}

fn counts(run: &Run) -> Table {
    let mut table =
        new_table(["packets", "sent", "received", "lost", "reordered", "duplicate", "damaged"]);
    for (name, direction) in run.directions() {
        let figures = [
            direction.sent,
            direction.received,
            direction.lost(),
            direction.reordered,
            direction.duplicates,
            direction.undecryptable + direction.mismatched,
        ];
        table.add_row([name.to_owned()].into_iter().chain(figures.map(|count| count.to_string())));
    }
    align(table)
}

fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

fn align(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
