//! `keymgr tls reload`.

use gateway_control::{TlsReloadReport, TlsReloadRequest, TlsReloadResult, path};

use crate::{
    Failure, cli,
    gateway::Gateway,
    output,
    table::{print, table},
};

pub(super) async fn reload(gateway: &Gateway, asked: &cli::Reload) -> Result<(), Failure> {
    let request = TlsReloadRequest { listener: asked.listener.clone(), dry_run: asked.dry_run };
    let report: TlsReloadReport = gateway.post(path::TLS_RELOAD, &request).await?;
    if gateway.json() {
        crate::print_json(&report)?;
    } else {
        show(&report, asked.dry_run)?;
    }
    let refused = |one: &&_| is_refused(one);
    match report.listeners.iter().filter(refused).count() {
        0 => Ok(()),
        count => Err(Failure::undone(format!(
            "{count} of {} listeners refused what they read, and go on as before",
            report.listeners.len()
        ))),
    }
}

fn is_refused(one: &gateway_control::TlsReloaded) -> bool {
    one.result == TlsReloadResult::Refused
}

fn show(report: &TlsReloadReport, dry_run: bool) -> Result<(), Failure> {
    if report.listeners.is_empty() {
        return output::line("no TLS listeners");
    }
    let mut lines = table(["LISTENER", if dry_run { "WOULD BE" } else { "RESULT" }, "WHY"]);
    for one in &report.listeners {
        lines.add_row([one.listener.as_str(), one.result.name(), one.reason.as_str()]);
    }
    print(&lines)?;
    if dry_run { output::line("nothing was changed") } else { Ok(()) }
}
