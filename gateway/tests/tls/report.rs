//! testssl.sh's opinion of a terminating listener: no finding above LOW.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::dialogue::Dialogue;
use crate::gateway::Gateway;
use crate::pki::{Authority, Key, Leaf};
use crate::scene::{Scene, demand, wait_for_listener, wait_up_to};
use crate::upstream::{Answer, Upstream};

/// What is above LOW and no fault of the listener.
const ACCEPTED: [(&str, &str); 3] = [
    ("cert_chain_of_trust", "the test's authority is in no browser's store"),
    ("cert_revocation", "the test's certificate names no place to ask whether it is revoked"),
    ("cert_validityPeriod", "the test's certificate holds longer than any run of it"),
];

/// What has to be among the findings, and good: a report that lacks them looked at nothing.
const DEMANDED: [(&str, &str); 16] = [
    ("SSLv2", "OK"),
    ("SSLv3", "OK"),
    ("TLS1_2", "OK"),
    ("TLS1_3", "OK"),
    ("cipherlist_NULL", "OK"),
    ("cipherlist_EXPORT", "OK"),
    ("cipherlist_STRONG", "OK"),
    ("PFS", "OK"),
    ("cert_trust", "OK"),
    ("cipher_order", "OK"),
    ("heartbleed", "OK"),
    ("CCS", "OK"),
    ("secure_renego", "OK"),
    ("secure_client_renego", "OK"),
    ("CRIME_TLS", "OK"),
    (RESUMPTION, "INFO"),
];

/// Its client asks for a ticket and, its input being at an end, may leave before TLS 1.3's has
/// come. Then it has no session to resume and calls that a connect problem: asked again, alone.
const RESUMPTION: &str = "sessionresumption_ticket";
/// Times that it is asked again.
const TRIES: usize = 5;

/// Run side by side: it waits for time-outs more than it computes.
const PARTS: [&[&str]; 4] = [&["-p", "-s"], &["-f"], &["-P", "-S"], &["-U"]];

#[test]
fn testssl_finds_nothing_above_low() {
    demand("testssl", &["testssl"], |scene| {
        let authority = Authority::new(&scene.folder, "authority")?;
        authority.sign(Leaf::new("ecdsa", 1, &["sip.example.com", "127.0.0.1"]))?;
        let rsa =
            Leaf { key: Key::Rsa2048, ..Leaf::new("rsa", 2, &["sip.example.com", "127.0.0.1"]) };
        authority.sign(rsa)?;
        let _upstream = Upstream::start("127.0.0.1:5060", Answer::HangUp)?;
        let listeners = listener(5061, "ecdsa") + &listener(5062, "rsa");
        let _gateway = Gateway::start(scene, &format!("[tls]\n{listeners}"))?;
        wait_for_listener(5062)?;
        let mut runs = Vec::new();
        for (index, arguments) in PARTS.into_iter().enumerate() {
            let name = format!("testssl-{index}");
            runs.push((Dialogue::start(scene, &name, &mut testssl(&name, arguments, 5061))?, name));
        }
        // What an RSA key could make worse.
        let name = "testssl-rsa".to_owned();
        runs.push((Dialogue::start(scene, &name, &mut testssl(&name, &["-U", "-s"], 5062))?, name));

        let mut findings = BTreeMap::new();
        for (run, name) in &mut runs {
            wait_up_to(ALL, "end of testssl", || run.ended()).with_context(|| run.said())?;
            read_report(scene, name, &mut findings)?;
        }
        let again = |attempt| format!("testssl-again-{attempt}");
        for name in (1..=TRIES).map(again) {
            if findings.get(RESUMPTION).is_none_or(|(severity, _)| severity != "WARN") {
                break;
            }
            let mut run = Dialogue::start(scene, &name, &mut testssl(&name, &["-S"], 5061))?;
            wait_up_to(ALL, "end of testssl", || run.ended()).with_context(|| run.said())?;
            read_report(scene, &name, &mut findings)?;
        }
        println!("testssl: {} findings", findings.len());
        for (id, severity) in DEMANDED {
            let (found, text) = findings.get(id).with_context(|| format!("no finding {id}"))?;
            ensure!(found == severity, "{id}: {found}: {text}");
        }
        Ok(())
    });
}

/// Adds a run's findings; fails at the first that is above LOW and not accepted.
fn read_report(
    scene: &Scene,
    name: &str,
    findings: &mut BTreeMap<String, (String, String)>,
) -> Result<()> {
    let text = fs::read_to_string(scene.path(&format!("{name}.json")))?;
    let report: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    for finding in report.as_array().context("not a list")? {
        let field = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        let (id, severity, text) = (field("id"), field("severity"), field("finding"));
        match severity.as_str() {
            "OK" | "INFO" | "LOW" => {}
            // It asks what speaks HTTP, and a SIP server does not.
            "DEBUG" if id == "service" => {}
            "WARN" if id == RESUMPTION => {}
            _ if ACCEPTED.iter().any(|(accepted, _)| *accepted == id) => {}
            _ => bail!("{name}: {severity} {id}: {text}"),
        }
        findings.insert(id, (severity, text));
    }
    Ok(())
}

fn testssl(name: &str, arguments: &[&str], port: u16) -> Command {
    let mut command = Command::new("testssl");
    // Seconds that it waits for an HTTP server's answer to be complete.
    command.env("HEADER_MAXSLEEP", "1");
    command.args(["--quiet", "--warnings", "off", "--nodns", "none", "--color", "0"]);
    command.args(["--connect-timeout", "5", "--openssl-timeout", "5"]);
    command.args(["--jsonfile", &format!("{name}.json")]).args(arguments);
    command.arg(format!("127.0.0.1:{port}"));
    command
}

fn listener(port: u16, stem: &str) -> String {
    format!(
        r#"[[tls.listener]]
name = "{stem}"
mode = "terminate"
listen = "127.0.0.1:{port}"
upstream = ["127.0.0.1:5060"]
certificate = [{{ names = [], chain = "{stem}.pem", key = "{stem}.key" }}]
"#
    )
}

/// For all parts together, each about half a minute on quiet cores.
const ALL: Duration = Duration::from_secs(120);
