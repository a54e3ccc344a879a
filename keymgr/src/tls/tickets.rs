//! `keymgr tls rotate-tickets`.

use std::time::Duration;

use gateway_control::{TlsTicketsReport, TlsTicketsRequest, path};

use crate::{Failure, gateway::Gateway, output, table::time};

pub(super) async fn rotate(gateway: &Gateway, dry_run: bool) -> Result<(), Failure> {
    let report: TlsTicketsReport =
        gateway.post(path::TLS_TICKETS, &TlsTicketsRequest { dry_run }).await?;
    if gateway.json() {
        return crate::print_json(&report);
    }
    if report.listeners.is_empty() {
        return output::line("no TLS listener seals tickets");
    }
    let listeners = report.listeners.join(", ");
    let opens = time(Duration::from_secs(report.old_opens_for));
    output::line(match dry_run {
        true => format!(
            "would seal tickets with a new key: {listeners}; the last one would open for {opens}; \
             nothing was changed"
        ),
        false => format!("new ticket key: {listeners}; the last one opens for {opens}"),
    })
}
