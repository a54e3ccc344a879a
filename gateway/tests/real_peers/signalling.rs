//! The SIP side: Debian's Kamailio with its rtpengine module, and two sipp agents for each suite.
//!
//! The scenarios beside this file are templates in two things only, the suite's name and the three
//! re-INVITEs that differ in a few words; all else is as sipp reads it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use srtp::Profile;

use crate::event::EventLog;
use crate::isolation::{Peer, bound_udp_ports};
use crate::plan::{self, CALLS_PER_SUITE, CallPlan};

/// The agents of one suite: the callee listens from the start, the caller calls when told.
pub(crate) struct Agents {
    suite: Profile,
    folder: PathBuf,
    caller_port: u16,
    callee_port: u16,
    callee: Peer,
    caller: Option<Peer>,
}

/// Programs that must be installed.
pub(crate) const PROGRAMS: [&str; 3] = ["kamailio", "sipp", "ip"];

/// Starts Kamailio in this thread's namespace and waits until it listens.
pub(crate) fn start_proxy(folder: &Path) -> Result<Peer> {
    let config = folder.join("kamailio.cfg");
    fs::write(&config, include_str!("kamailio.cfg"))?;
    let mut command = Command::new("kamailio");
    command.args(["-DD", "-E", "-f"]).arg(&config);
    command.arg("-w").arg(folder).arg("-Y").arg(folder);
    let mut proxy = Peer::start("kamailio", &mut command, folder)?;
    proxy.wait_until(|| Ok(bound_udp_ports()?.contains(&PROXY_PORT)))?;
    Ok(proxy)
}

impl Agents {
    /// Writes the scenarios for `calls`, all of one suite, and starts the callee.
    pub(crate) fn start(calls: &[CallPlan], index: u16, folder: &Path) -> Result<Self> {
        let suite = calls[0].suite;
        let folder = folder.join(suite.name());
        fs::create_dir_all(&folder)?;
        let caller = expand_reinvites(include_str!("caller.xml"), include_str!("reinvite.xml"))?;
        fs::write(folder.join("caller.xml"), caller.replace("@SUITE@", suite.name()))?;
        let callee = include_str!("callee.xml").replace("@SUITE@", suite.name());
        fs::write(folder.join("callee.xml"), callee)?;
        fs::write(folder.join("calls.csv"), plan::injection_file(calls))?;

        let callee_port = FIRST_AGENT_PORT + 2 * index;
        let mut callee = Peer::start("callee", &mut sipp("callee", callee_port, &folder), &folder)?;
        callee.wait_until(|| Ok(bound_udp_ports()?.contains(&callee_port)))?;
        let caller_port = callee_port + 1;
        Ok(Self { suite, folder, caller_port, callee_port, callee, caller: None })
    }

    /// The logs that the agents write: caller's, callee's.
    pub(crate) fn event_logs(&self) -> (EventLog, EventLog) {
        let log = |agent: &str| EventLog::new(self.folder.join(format!("{agent}.events")));
        (log("caller"), log("callee"))
    }

    /// Starts the calls, ten a second.
    pub(crate) fn call(&mut self) -> Result<()> {
        let mut command = sipp("caller", self.caller_port, &self.folder);
        command.arg("-inf").arg(self.folder.join("calls.csv"));
        command.args(["-key", "callee_port", &self.callee_port.to_string()]);
        command.args(["-r", "10", "-l", &CALLS_PER_SUITE.to_string()]);
        command.arg(format!("127.0.0.1:{PROXY_PORT}"));
        self.caller = Some(Peer::start("caller", &mut command, &self.folder)?);
        Ok(())
    }

    /// Waits for both agents to end by themselves, and fails if either counts a failed call.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        for agent in [self.caller.as_mut(), Some(&mut self.callee)].into_iter().flatten() {
            let status = loop {
                match agent.ended()? {
                    Some(status) => break status,
                    None if Instant::now() > deadline => {
                        bail!("{}: the {} has calls left", self.suite, agent.name())
                    }
                    None => thread::sleep(Duration::from_millis(50)),
                }
            };
            if !status.success() {
                let errors = self.folder.join(format!("{}.errors", agent.name()));
                let errors = fs::read_to_string(errors).unwrap_or_default();
                bail!("{}: sipp's {} ended with {status}: {errors}", self.suite, agent.name());
            }
        }
        Ok(())
    }
}

/// sipp with its logs beside its scenario, for as many calls as a suite has.
fn sipp(agent: &str, port: u16, folder: &Path) -> Command {
    let file = |kind: &str| folder.join(format!("{agent}.{kind}"));
    let mut command = Command::new("sipp");
    command.arg("-nostdin").arg("-sf").arg(file("xml"));
    command.args(["-i", "127.0.0.1", "-p", &port.to_string(), "-m", &CALLS_PER_SUITE.to_string()]);
    command.arg("-trace_logs").arg("-log_file").arg(file("events"));
    command.arg("-trace_err").arg("-error_file").arg(file("errors"));
    command.arg("-trace_msg").arg("-message_file").arg(file("messages"));
    command
}

/// Replaces each `@REINVITE cseq step asked given@` line by `reinvite` with those words in it.
fn expand_reinvites(caller: &str, reinvite: &str) -> Result<String> {
    let mut text = String::new();
    for line in caller.lines() {
        match line.strip_prefix("@REINVITE ").and_then(|rest| rest.strip_suffix('@')) {
            Some(words) => {
                let words: Vec<&str> = words.split_whitespace().collect();
                let [cseq, step, asked, given] = words[..] else {
                    bail!("`{line}` of caller.xml needs four words");
                };
                let reinvite = reinvite.replace("@CSEQ@", cseq).replace("@STEP@", step);
                text.push_str(&reinvite.replace("@ASKED@", asked).replace("@GIVEN@", given));
            }
            None => text.push_str(line),
        }
        text.push('\n');
    }
    Ok(text)
}

const PROXY_PORT: u16 = 5060;
const FIRST_AGENT_PORT: u16 = 5070;

#[test]
fn each_reinvite_line_becomes_a_reinvite() {
    let text = expand_reinvites("a\n@REINVITE 2 hold sendonly recvonly@\nb", "@CSEQ@ @ASKED@");
    assert_eq!(text.context("expanded").expect("text"), "a\n2 sendonly\nb\n");
}
