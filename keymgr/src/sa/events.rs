//! `keymgr sa watch`: events as they happen.

use std::time::Duration;

use gateway_control::Event;

use crate::{Failure, gateway::Gateway, output};

pub(super) async fn watch(gateway: &Gateway, past: bool) -> Result<(), Failure> {
    let mut after = 0;
    if !past {
        let known = gateway.events(0, Duration::ZERO).await?;
        after = known.events.last().map_or(0, |event| event.seq);
    }
    loop {
        let list = gateway.events(after, Duration::MAX).await?;
        for event in &list.events {
            after = event.seq;
            print_event(gateway, event)?;
        }
    }
}

fn print_event(gateway: &Gateway, event: &Event) -> Result<(), Failure> {
    if gateway.json() {
        return crate::print_json_line(event);
    }
    let change = match (event.from.as_str(), event.to.as_str()) {
        ("", "") => String::new(),
        ("", to) => format!(" {to}"),
        (from, to) => format!(" {from} → {to}"),
    };
    let time = crate::clock::utc(event.time);
    let (kind, object, reason) = (event.kind.name(), &event.object, &event.reason);
    output::line(format_args!("{time} {kind} {object}{change}: {reason}"))
}
