//! `keymgr tls list`: what listeners serve with, and where their connections are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crypto_offload::Direction;
use gateway_control::{
    TlsCertificate, TlsConnection, TlsListenerState, TlsListenerStatus, TlsPlacementCount,
    TlsStatus, path,
};

use crate::{
    Failure, cli, clock,
    gateway::Gateway,
    output,
    table::{bytes, print, table, time},
};

pub(super) async fn list(gateway: &Gateway, asked: &cli::List) -> Result<(), Failure> {
    let status = all(gateway, asked).await?;
    match gateway.json() {
        true => crate::print_json(&status)?,
        false => show(&status, asked)?,
    }
    if !asked.check {
        return Ok(());
    }
    let problems: Vec<_> =
        status.listeners.iter().flat_map(|listener| problems(listener, now())).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::undone(problems.join("; "))),
    }
}

/// Everything, connections page by page.
async fn all(gateway: &Gateway, asked: &cli::List) -> Result<TlsStatus, Failure> {
    let mut query = match asked.connections {
        true => format!("?connections=true&limit={PAGE}"),
        false => "?connections=false".to_owned(),
    };
    if let Some(name) = &asked.listener {
        // A name that is no name needs no encoding: it is refused for what it is.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(Failure::usage(format!("\"{name}\" is no listener's name")));
        }
        query.push_str(&format!("&listener={name}"));
    }
    let mut status: TlsStatus = gateway.get(&format!("{}{query}", path::TLS)).await?;
    while status.more {
        let Some(last) = status.connections.last() else { break };
        let page = format!("{}{query}&after={}", path::TLS, last.id);
        let page: TlsStatus = gateway.get(&page).await?;
        status.more = page.more && !page.connections.is_empty();
        status.connections.extend(page.connections);
    }
    Ok(status)
}

fn show(status: &TlsStatus, asked: &cli::List) -> Result<(), Failure> {
    if status.listeners.is_empty() {
        return output::line("no TLS listeners: add [[tls.listener]] to the configuration");
    }
    show_listeners(status)?;
    show_certificates(status)?;
    show_upstreams(status)?;
    show_placements(status)?;
    if let Some(problem) = &status.kernel_problem {
        output::line(format_args!("\nno connection can be in the kernel: {problem}"))?;
    }
    if asked.connections { show_connections(&status.connections) } else { Ok(()) }
}

fn show_listeners(status: &TlsStatus) -> Result<(), Failure> {
    let mut lines =
        table(["LISTENER", "MODE", "LISTEN", "STATE", "CONNECTIONS", "HANDSHAKES", "WHY"]);
    for listener in &status.listeners {
        lines.add_row([
            listener.name.clone(),
            listener.mode.name().to_owned(),
            listener.listen.to_string(),
            listener.state.name().to_owned(),
            listener.connections.to_string(),
            listener.handshakes.to_string(),
            listener.problem.clone().unwrap_or_default(),
        ]);
    }
    print(&lines)
}

fn show_certificates(status: &TlsStatus) -> Result<(), Failure> {
    let mut lines =
        table(["LISTENER", "CERTIFICATE", "EXPIRES", "IN", "FINGERPRINT", "KEY", "OCSP", "FROM"]);
    for listener in &status.listeners {
        for certificate in &listener.certificates {
            lines.add_row([
                listener.name.clone(),
                names(certificate),
                day(certificate.not_after),
                until(certificate.not_after, now()),
                certificate.fingerprint.chars().take(FINGERPRINT).collect(),
                certificate.key.clone(),
                certificate.ocsp_until.map_or_else(|| "-".to_owned(), |at| until(at, now())),
                certificate.source.clone(),
            ]);
        }
    }
    section(&lines)
}

fn names(certificate: &TlsCertificate) -> String {
    match certificate.names.as_slice() {
        [] => "-".to_owned(),
        names => names.join(","),
    }
}

fn show_upstreams(status: &TlsStatus) -> Result<(), Failure> {
    let mut lines = table(["LISTENER", "UPSTREAM", "STATE", "CONNECTIONS", "FAILURES", "WHY"]);
    for listener in &status.listeners {
        for upstream in &listener.upstreams {
            lines.add_row([
                listener.name.clone(),
                upstream.address.to_string(),
                if upstream.up { "up" } else { "down" }.to_owned(),
                upstream.connections.to_string(),
                upstream.failures.to_string(),
                upstream.reason.clone().unwrap_or_default(),
            ]);
        }
    }
    section(&lines)
}

fn show_placements(status: &TlsStatus) -> Result<(), Failure> {
    let mut lines = table(["LISTENER", "DIRECTION", "PLACEMENT", "CONNECTIONS", "WHY"]);
    for listener in &status.listeners {
        for TlsPlacementCount { direction, placement, reason, connections } in &listener.placements
        {
            lines.add_row([
                listener.name.clone(),
                word(*direction).to_owned(),
                placement.to_string(),
                connections.to_string(),
                reason.clone().unwrap_or_else(|| "as requested".to_owned()),
            ]);
        }
    }
    section(&lines)
}

fn show_connections(connections: &[TlsConnection]) -> Result<(), Failure> {
    let mut lines = table([
        "ID",
        "LISTENER",
        "PEER",
        "UPSTREAM",
        "AGE",
        "VERSION",
        "SUITE",
        "NAME",
        "ALPN",
        "IN",
        "OUT",
        "BYTES IN",
        "BYTES OUT",
        "KEY UPDATES",
    ]);
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for connection in connections {
        lines.add_row([
            connection.id.to_string(),
            connection.listener.clone(),
            connection.peer.to_string(),
            connection.upstream.to_string(),
            time(Duration::from_secs_f64(connection.seconds.max(0.0))),
            format!("{}{}", connection.version, if connection.resumed { " resumed" } else { "" }),
            connection.suite.clone(),
            or_none(&connection.server_name),
            or_none(&connection.alpn),
            connection.inbound.effective.to_string(),
            connection.outbound.effective.to_string(),
            bytes(connection.bytes_in),
            bytes(connection.bytes_out),
            connection.key_updates.to_string(),
        ]);
    }
    section(&lines)
}

/// A table after another one, if there is something in it.
fn section(lines: &comfy_table::Table) -> Result<(), Failure> {
    if lines.row_count() == 0 {
        return Ok(());
    }
    output::line("")?;
    print(lines)
}

/// What needs somebody.
fn problems(listener: &TlsListenerStatus, now: u64) -> Vec<String> {
    let name = &listener.name;
    let mut problems = Vec::new();
    match (listener.state, &listener.problem) {
        (TlsListenerState::Failed, problem) => {
            let why = problem.as_deref().unwrap_or("for a reason that is not known");
            problems.push(format!("{name} does not serve: {why}"));
        }
        (_, Some(problem)) => problems.push(format!("{name}: {problem}")),
        _ => {}
    }
    for certificate in &listener.certificates {
        if certificate.not_after < now + SOON {
            let (of, end) = (names(certificate), left(certificate.not_after, now));
            problems.push(format!("{name}: the certificate of {of}: {end}"));
        }
    }
    problems
}

/// The time to `at`, or that it is over.
fn until(at: u64, now: u64) -> String {
    match at.checked_sub(now) {
        Some(left) if left > 0 => time(Duration::from_secs(left)),
        _ => "expired".to_owned(),
    }
}

fn left(at: u64, now: u64) -> String {
    let until = until(at, now);
    if at > now { format!("{until} left") } else { until }
}

fn day(seconds: u64) -> String {
    clock::utc(seconds.saturating_mul(1000)).chars().take(DAY).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "in",
        Direction::Outbound => "out",
    }
}

/// The most that the gateway answers with.
const PAGE: usize = 1_000;

/// Characters of a fingerprint that tell certificates apart; all of them are in the JSON.
const FINGERPRINT: usize = 16;

/// Of `2026-11-21T18:51:00Z`.
const DAY: usize = "2026-11-21".len();

/// Seconds: two weeks, in which a renewal that failed can be mended.
const SOON: u64 = 14 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> TlsListenerStatus {
        serde_json::from_value(serde_json::json!({
            "name": "sip", "mode": "terminate", "listen": "127.0.0.1:5061", "state": "serving",
            "problem": null, "upstreams": [], "connections": 0, "handshakes": 0, "placements": [],
            "certificates": [{
                "names": ["sip.example.com"], "not_before": 0, "not_after": 2_000_000,
                "fingerprint": "00", "source": "sip.pem", "key": "ECDSA P-256", "ocsp_until": null,
            }],
        }))
        .unwrap()
    }

    #[test]
    fn a_listener_that_serves_with_a_fresh_certificate_needs_nobody() {
        assert_eq!(problems(&listener(), 2_000_000 - SOON), [""; 0]);
    }

    #[test]
    fn what_needs_somebody_is_told_with_the_listeners_name() {
        let mut broken = listener();
        broken.problem = Some("sip.pem: cut off".to_owned());
        assert_eq!(problems(&broken, 0), ["sip: sip.pem: cut off"]);
        broken.state = TlsListenerState::Failed;
        assert_eq!(problems(&broken, 0), ["sip does not serve: sip.pem: cut off"]);
        let near = 2_000_000 - 86_400;
        assert_eq!(
            problems(&listener(), near),
            ["sip: the certificate of sip.example.com: 1d left"]
        );
        assert!(problems(&listener(), 2_000_001)[0].ends_with("sip.example.com: expired"));
    }
}
