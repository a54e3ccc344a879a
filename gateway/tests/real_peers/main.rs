//! Real peers: calls that a real SBC sets up and whose media independent code checks.
//!
//! Debian's Kamailio, with its rtpengine module, stands between two sipp agents; one party of each
//! call speaks RTP/AVP, the other SDES-SRTP by libsrtp. For each of five suites twenty calls of
//! 30 s run at one time, with a hold, a resume and a restart of the plain source's sequence, and
//! every packet sent has to come out at the other side as it went in. The calls are the same for
//! our gateway over each I/O driver and for rtpengine-daemon, which shows that the test is fair.
//! In other calls libsrtp knows several keys of ours by their MKIs, and keymgr has the gateway change
//! from one to the next.
//!
//! `make test` runs these; by hand `cargo test -p gateway --test real_peers -- --show-output`, with
//! POSTERN_GATEWAY naming a release build. They are no part of a plain `cargo test`: they need
//! root, several Debian packages and a minute.
//! What the peers said and logged is kept in target/real-peers/.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test says what it did")]

mod event;
mod isolation;
mod ledger;
#[path = "../../../srtp/tests/interop_libsrtp/sys.rs"]
mod libsrtp;
mod media;
mod packet;
mod party;
mod plan;
mod relay;
mod several_keys;
mod signalling;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use srtp::Profile;

use crate::media::{Restart, SuiteMedia, SuiteReport};
use crate::relay::{Io, Relay};
use crate::signalling::Agents;

#[test]
fn calls_pass_through_our_gateway_over_io_uring() {
    demand_calls(Relay::Gateway(Io::Uring));
}

#[test]
fn calls_pass_through_our_gateway_over_epoll() {
    demand_calls(Relay::Gateway(Io::Epoll));
}

#[test]
fn the_same_calls_pass_through_rtpengine() {
    demand_calls(Relay::Rtpengine);
}

/// Runs every call through `relay` and panics with everything that went wrong.
fn demand_calls(relay: Relay) {
    let lacking = lacking(relay).unwrap_or_else(|error| panic!("{relay}: {error:#}"));
    if let Some(reason) = lacking {
        println!("SKIPPED real_peers::{relay}: {reason}");
        return;
    }
    let faults = isolation::in_own_namespace(|| run(relay))
        .unwrap_or_else(|error| panic!("{relay}: {error:#}"));
    let shown = faults.iter().take(FAULTS_SHOWN).cloned().collect::<Vec<_>>().join("\n  ");
    assert!(faults.is_empty(), "{relay}: {} faults, the first of them:\n  {shown}", faults.len());
}

/// What this machine lacks for a run, if anything.
fn lacking(relay: Relay) -> Result<Option<String>> {
    let installed = |program: &&&str| {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder: PathBuf| folder.join(program).exists())
    };
    let programs = signalling::PROGRAMS.iter().chain(relay.programs());
    let missing: Vec<&str> = programs.filter(|program| !installed(program)).copied().collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Ok(Some(format!("not installed: {missing}; `make setup` installs them")));
    }
    match isolation::unavailable() {
        Some(reason) => Ok(Some(reason)),
        None => relay.unavailable(),
    }
}

/// One relay, one proxy, all suites at one time. Returns what went wrong with the calls.
fn run(relay: Relay) -> Result<Vec<String>> {
    let folder = fresh_folder(&relay.to_string())?;
    let mut running = relay.start(&folder, &[])?;
    let driver = running.driver()?;
    let mut proxy = signalling::start_proxy(&folder)?;

    let reports = call_under_every_suite(relay, &folder)?;
    print_reports(relay, &driver, &reports);
    let mut faults: Vec<String> = reports.into_iter().flat_map(|report| report.faults).collect();
    if let Err(error) = running.wait_until_free() {
        faults.push(format!("BYE frees ports: {error:#}"));
    }
    for peer in [running.peer(), &mut proxy] {
        if let Some(status) = peer.ended()? {
            faults.push(format!("{} died, {status}: {}", peer.name(), peer.last_words()));
        }
    }
    fs::write(folder.join("faults.txt"), faults.join("\n"))?;
    Ok(faults)
}

/// What is called under: what nearly every peer has, and counter mode under the longest key.
const SUITES: [Profile; 5] = [
    Profile::AeadAes256Gcm,
    Profile::AeadAes128Gcm,
    Profile::AesCm256HmacSha1_80,
    Profile::AesCm128HmacSha1_80,
    Profile::AesCm128HmacSha1_32,
];

/// Plays the calls of each suite on a thread of its own; they inherit the namespace.
fn call_under_every_suite(relay: Relay, folder: &Path) -> Result<Vec<SuiteReport>> {
    let mut suites = Vec::new();
    for (index, suite) in (0..).zip(SUITES) {
        let calls = plan::calls(suite, index);
        let agents = Agents::start(&calls, index, folder)?;
        suites.push((agents, calls));
    }
    thread::scope(|scope| {
        let runs: Vec<_> = suites
            .into_iter()
            .map(|(mut agents, calls)| {
                scope.spawn(move || {
                    let (caller_log, callee_log) = agents.event_logs();
                    let media = SuiteMedia::new(calls, relay.restart(), caller_log, callee_log)?;
                    agents.call()?;
                    let mut report = media.run()?;
                    if let Err(error) = agents.finish() {
                        report.faults.push(format!("{error:#}"));
                    }
                    Ok(report)
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().expect("the suite's thread")).collect()
    })
}

fn print_reports(relay: Relay, driver: &str, reports: &[SuiteReport]) {
    println!("{relay}, driver {driver}; packets received of those sent, and RTCP in brackets:");
    for report in reports {
        let [rtp, rtcp] = report.to_secure;
        let [back_rtp, back_rtcp] = report.to_plain;
        println!(
            "  {:24} {} calls, {} restarts  RTP to SRTP {}/{} ({}/{})  SRTP to RTP {}/{} ({}/{})",
            report.suite.name(),
            report.peak,
            report.restarts,
            rtp.received,
            rtp.sent,
            rtcp.received,
            rtcp.sent,
            back_rtp.received,
            back_rtp.sent,
            back_rtcp.received,
            back_rtcp.sent,
        );
    }
    if let Restart::Spared { because } = relay.restart() {
        println!("  not asked of it: to follow a source that restarts its sequence; {because}");
    }
}

/// An empty folder for everything this run writes.
fn fresh_folder(run: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("real-peers").join(run);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// All of them are in faults.txt beside the logs.
const FAULTS_SHOWN: usize = 40;
