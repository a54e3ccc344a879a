//! `keymgr tls keyupdate`.

use gateway_control::{TlsKeyUpdateReport, TlsKeyUpdateRequest, path};

use crate::{Failure, cli, gateway::Gateway, output};

pub(super) async fn update(gateway: &Gateway, asked: &cli::KeyUpdate) -> Result<(), Failure> {
    let request = TlsKeyUpdateRequest {
        listener: asked.listener.clone(),
        connection: asked.connection,
        dry_run: asked.dry_run,
    };
    let report: TlsKeyUpdateReport = gateway.post(path::TLS_KEYUPDATE, &request).await?;
    if gateway.json() {
        return crate::print_json(&report);
    }
    output::line(said(report, asked.dry_run))
}

fn said(report: TlsKeyUpdateReport, dry_run: bool) -> String {
    let TlsKeyUpdateReport { updated, not_possible } = report;
    let updated = match dry_run {
        true => format!("new keys would be for {updated} connections"),
        false => format!("new keys for {updated} connections"),
    };
    let kept = match not_possible {
        0 => String::new(),
        count => format!("; {count} of TLS 1.2 keep theirs, which has no KeyUpdate"),
    };
    format!("{updated}{kept}{}", if dry_run { "; nothing was changed" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_keep_their_keys_are_told_with_the_reason() {
        let report = TlsKeyUpdateReport { updated: 3, not_possible: 2 };
        let text = said(report, false);
        assert_eq!(
            text,
            "new keys for 3 connections; 2 of TLS 1.2 keep theirs, which has no KeyUpdate"
        );
        assert!(said(report, true).ends_with("nothing was changed"));
    }
}
