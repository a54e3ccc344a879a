//! `keymgr sa log`: the last rotations.

use gateway_control::{RotationLog, RotationRecord, path};

use crate::{
    Failure,
    gateway::Gateway,
    table::{print, table},
};

pub(super) async fn log(gateway: &Gateway, limit: usize) -> Result<(), Failure> {
    let log: RotationLog = gateway.get(&format!("{}?limit={limit}", path::ROTATIONS)).await?;
    if gateway.json() {
        return crate::print_json(&log);
    }
    let mut lines =
        table(["TIME", "NAME", "WHO", "WHY", "EPOCHS", "OLD SPIS", "NEW SPIS", "SECONDS", "LOST"]);
    for record in &log.rotations {
        lines.add_row(line(record));
    }
    print(&lines)
}

fn line(record: &RotationRecord) -> [String; 9] {
    let unknown = || "?".to_owned();
    let spis = |(inbound, outbound)| format!("{inbound} in, {outbound} out");
    [
        crate::clock::utc(record.time),
        record.name.to_string(),
        record.who.clone(),
        record.why.clone(),
        format!(
            "{} → {}",
            record.from.map_or_else(|| "none".to_owned(), |e| e.to_string()),
            record.to
        ),
        record.old_spis.map_or_else(|| "none".to_owned(), spis),
        spis(record.new_spis),
        format!("{:.2}", record.seconds),
        record.lost.map_or_else(unknown, |lost| lost.to_string()),
    ]
}
