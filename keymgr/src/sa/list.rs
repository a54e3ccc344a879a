//! `keymgr sa list`: a line for each SA, with where it is and why.

use std::time::Duration;

use crypto_offload::{Direction, Effective};
use gateway_control::{ForeignList, PairList, PairStatus, SaStatus, path};

use crate::{
    Failure,
    gateway::Gateway,
    output,
    table::{bytes, print, table, time},
};

pub(super) async fn list(gateway: &Gateway, group: Option<&str>) -> Result<(), Failure> {
    let mut pairs = all(gateway).await?;
    pairs.retain(|pair| group.is_none() || pair.pair.group.as_deref() == group);
    if gateway.json() {
        return crate::print_json(&pairs);
    }
    if pairs.is_empty() {
        let of_group = group.map(|group| format!(" in group {group}")).unwrap_or_default();
        return output::line(format_args!("no SA pairs{of_group}"));
    }
    let mut lines = table([
        "NAME",
        "EPOCH",
        "DIRECTION",
        "SPI",
        "PLACEMENT",
        "AGE",
        "PACKETS",
        "BYTES",
        "TO SOFT",
        "WHY",
    ]);
    for pair in &pairs {
        for line in lines_of(pair) {
            lines.add_row(line);
        }
    }
    print(&lines)
}

/// Every pair, page by page.
pub(super) async fn all(gateway: &Gateway) -> Result<Vec<PairStatus>, Failure> {
    let mut pairs: Vec<PairStatus> = Vec::new();
    loop {
        let after = pairs.last().map(|last| format!("&after={}", last.pair.name));
        let page = format!("{}?limit={PAGE}{}", path::SAS, after.unwrap_or_default());
        let mut list: PairList = gateway.get(&page).await?;
        let more = list.more && !list.pairs.is_empty();
        pairs.append(&mut list.pairs);
        if !more {
            return Ok(pairs);
        }
    }
}

pub(super) async fn list_foreign(gateway: &Gateway) -> Result<(), Failure> {
    let mut sas = Vec::new();
    loop {
        let list: ForeignList = gateway.get(&foreign_page(sas.last())).await?;
        let more = list.more && !list.sas.is_empty();
        sas.extend(list.sas);
        if !more {
            break;
        }
    }
    if gateway.json() {
        return crate::print_json(&sas);
    }
    let mut lines =
        table(["SPI", "FROM", "TO", "ALGORITHM", "PLACEMENT", "AGE", "PACKETS", "REQID"]);
    for sa in &sas {
        lines.add_row([
            sa.id.spi.to_string(),
            sa.source.to_string(),
            sa.id.destination.to_string(),
            sa.algorithm.clone(),
            sa.placement.to_string(),
            time(sa.usage.age),
            sa.usage.packets.to_string(),
            sa.reqid.to_string(),
        ]);
    }
    print(&lines)?;
    let said = "SAs that are not ours: shown and watched, never touched";
    output::line(format_args!("{} {said}", sas.len()))
}

fn foreign_page(last: Option<&crypto_offload::InstalledSa>) -> String {
    let after = last.map(|sa| format!("&after={},{}", sa.id.destination, sa.id.spi.value()));
    format!("{}?limit={PAGE}{}", path::FOREIGN_SAS, after.unwrap_or_default())
}

fn lines_of(status: &PairStatus) -> Vec<[String; 10]> {
    let mut lines = Vec::new();
    for epoch in &status.epochs {
        let both = [(Direction::Inbound, &epoch.inbound), (Direction::Outbound, &epoch.outbound)];
        for (direction, sa) in both {
            let Some(sa) = sa else { continue };
            let used = status.active == Some(epoch.epoch);
            let epoch = format!("{}{}", epoch.epoch, if used { "*" } else { "" });
            lines.push(line(status, epoch, direction, sa));
        }
    }
    if lines.is_empty() {
        let mut line: [String; 10] = std::array::from_fn(|_| "-".to_owned());
        line[0] = status.pair.name.to_string();
        line[9] = without_keys(status);
        lines.push(line);
    }
    lines
}

fn line(status: &PairStatus, epoch: String, direction: Direction, sa: &SaStatus) -> [String; 10] {
    let to_soft = sa.seconds_to_soft.map(|seconds| time(Duration::from_secs_f64(seconds.max(0.0))));
    let reason = sa.placement.reason.clone();
    [
        status.pair.name.to_string(),
        epoch,
        match direction {
            Direction::Inbound => "in".to_owned(),
            Direction::Outbound => "out".to_owned(),
        },
        sa.spi.to_string(),
        placement(&sa.placement),
        time(sa.usage.age),
        sa.usage.packets.to_string(),
        bytes(sa.usage.bytes),
        to_soft.unwrap_or_else(|| "-".to_owned()),
        reason.unwrap_or_else(|| "as requested".to_owned()),
    ]
}

/// What becomes of the traffic of a pair without keys.
fn without_keys(status: &PairStatus) -> String {
    let keys = if status.highest.0 == 0 { "no keys yet" } else { "no keys" };
    match &status.unguarded {
        None => format!("blocked: {keys}"),
        Some(reason) => format!("{keys}, and clear text may pass: {reason}"),
    }
}

/// `inline-crypto → kernel-software`, or one word where it went where it should.
pub(super) fn placement(placement: &Effective) -> String {
    if placement.requested == placement.effective {
        return placement.effective.to_string();
    }
    format!("{} → {}", placement.requested, placement.effective)
}

/// The gateway may answer with fewer.
const PAGE: usize = 1_000;
