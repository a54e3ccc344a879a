//! Tables and times for people. Programs get `--json`.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};

use crate::{Failure, output};

/// A table without frames, which `cut` and eyes both like.
pub(crate) fn table<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Prints it, without the blanks at the ends of lines.
pub(crate) fn print(table: &Table) -> Result<(), Failure> {
    let lines: Vec<_> = table.lines().collect();
    lines.iter().try_for_each(|line| output::line(line.trim_end()))
}

/// The two largest units: `3d 4h`, `12m 5s`, `850ms`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let Some(first) = units.iter().position(|(unit, _)| seconds >= *unit) else {
        return format!("{}ms", time.as_millis());
    };
    let (unit, name) = units[first];
    let rest = units.get(first + 1).map(|(smaller, name)| (seconds % unit / smaller, name));
    match rest {
        Some((count @ 1.., smaller)) => format!("{}{name} {count}{smaller}", seconds / unit),
        _ => format!("{}{name}", seconds / unit),
    }
}

/// With a decimal and a unit of 1,024: `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units_at_most() {
        assert_eq!(time(Duration::from_millis(850)), "850ms");
        assert_eq!(time(Duration::from_secs(60)), "1m");
        assert_eq!(time(Duration::from_secs(725)), "12m 5s");
        assert_eq!(time(Duration::from_secs(3 * 86_400 + 4 * 3_600 + 59)), "3d 4h");
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1_572_864), "1.5 MiB");
    }
}
