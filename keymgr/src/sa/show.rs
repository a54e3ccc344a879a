//! `keymgr sa show`: all that is known of one pair.

use crypto_offload::{Direction, PairName};
use gateway_control::{PairStatus, SaStatus, path};

use super::list::placement;
use crate::{
    Failure,
    gateway::Gateway,
    output,
    table::{bytes, print, table, time},
};

pub(super) async fn show(gateway: &Gateway, name: &PairName) -> Result<(), Failure> {
    let status = pair(gateway, name).await?;
    if gateway.json() {
        return crate::print_json(&status);
    }
    print_pair(&status)?;
    for epoch in &status.epochs {
        let used = if status.active == Some(epoch.epoch) { ", in use" } else { "" };
        output::line(format_args!("\nepoch {}{used}", epoch.epoch))?;
        let both = [(Direction::Inbound, &epoch.inbound), (Direction::Outbound, &epoch.outbound)];
        for (direction, sa) in both {
            if let Some(sa) = sa {
                print_sa(direction, sa)?;
            }
        }
    }
    Ok(())
}

/// One pair, as the gateway has it.
pub(super) async fn pair(gateway: &Gateway, name: &PairName) -> Result<PairStatus, Failure> {
    gateway.get(&path::SA.replace("{name}", name.as_str())).await
}

fn print_pair(status: &PairStatus) -> Result<(), Failure> {
    let pair = &status.pair;
    let any = || "-".to_owned();
    let mut lines = table(["pair", pair.name.as_str()]);
    let limits = |limits: crypto_offload::Limits| {
        let parts = [
            limits.packets.map(|packets| format!("{packets} packets")),
            limits.bytes.map(bytes),
            limits.seconds.map(|seconds| time(std::time::Duration::from_secs(seconds))),
        ];
        let set: Vec<_> = parts.into_iter().flatten().collect();
        if set.is_empty() { "none".to_owned() } else { set.join(", ") }
    };
    lines.add_row(["peer", &pair.peer.clone().unwrap_or_else(|| "none: keys by hand".to_owned())]);
    lines.add_row(["group", &pair.group.clone().unwrap_or_else(any)]);
    lines.add_row(["outer", &format!("{} to {}", pair.local, pair.remote)]);
    lines.add_row(["traffic", &pair.outbound_selector().to_string()]);
    lines.add_row(["mode", &format!("{:?}", pair.mode).to_lowercase()]);
    lines.add_row(["algorithm", pair.aead.name()]);
    lines.add_row(["replay window", &format!("{} packets", pair.replay_window)]);
    lines.add_row(["soft limits", &limits(pair.lifetimes.soft)]);
    lines.add_row(["hard limits", &limits(pair.lifetimes.hard)]);
    let allowed: Vec<_> = pair.placement.allowed().iter().map(ToString::to_string).collect();
    lines.add_row(["placement", &allowed.join(", then ")]);
    lines.add_row(["device", &pair.device.clone().unwrap_or_else(any)]);
    let clear = status.unguarded.as_ref().map(|reason| format!("may pass: {reason}"));
    lines.add_row(["clear text", &clear.unwrap_or_else(|| "blocked both ways".to_owned())]);
    print(&lines)
}

fn print_sa(direction: Direction, sa: &SaStatus) -> Result<(), Failure> {
    let mut lines = table([
        match direction {
            Direction::Inbound => "  inbound",
            Direction::Outbound => "  outbound",
        },
        &sa.spi.to_string(),
    ]);
    lines.add_row(["  placement", &placement(&sa.placement)]);
    lines.add_row(["  why", sa.placement.reason.as_deref().unwrap_or("as requested")]);
    lines.add_row(["  engine", &sa.engine]);
    lines.add_row(["  key", &format!("{} (fingerprint)", sa.key)]);
    lines.add_row(["  age", &time(sa.usage.age)]);
    let used =
        sa.usage.in_use.map_or_else(|| "never".to_owned(), |time_| format!("for {}", time(time_)));
    lines.add_row(["  used", &used]);
    lines.add_row(["  packets", &sa.usage.packets.to_string()]);
    lines.add_row(["  bytes", &bytes(sa.usage.bytes)]);
    lines.add_row(["  sequence", &sa.usage.sequence.to_string()]);
    let drops = format!(
        "{} replayed, {} late, {} forged",
        sa.usage.replayed, sa.usage.late, sa.usage.forged
    );
    lines.add_row(["  drops", &drops]);
    if sa.resumed {
        lines.add_row(["  resumed", "taken over from before a restart: a rotation is due"]);
    }
    print(&lines)
}
