//! The program itself, as root in a network namespace of its own: privileges, signals, the
//! supervisor, and user-space SAs over a SIGKILL.
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use gateway_control::agent::{AGENT_VERSION, AgentHello, Request, Response};
use rustix::process::{Pid, Signal, kill_process};
use support::{
    agent::{Directory, expect_ok, keys, name, pair},
    client::{Client, hello},
};

/// An agent that ends with the test.
struct Agent {
    child: Child,
    directory: Directory,
}

impl Agent {
    /// `None`, said, where we may not have a network namespace.
    fn start(test: &str, arguments: &[&str]) -> Option<Self> {
        if !rustix::process::getuid().is_root() {
            println!("SKIPPED {test}: a network namespace needs root");
            return None;
        }
        let directory = Directory::new();
        let child = command(&directory.0).args(arguments).spawn().expect("unshare of util-linux");
        Some(Self { child, directory })
    }

    fn socket(&self) -> PathBuf {
        self.directory.0.join("agent.sock")
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", env!("CARGO_BIN_EXE_offload-agent"), "run", "--log", "warn"]);
    for (option, name) in
        [("--socket", "agent.sock"), ("--state-dir", "state"), ("--runtime-dir", "run")]
    {
        command.arg(option).arg(directory.join(name));
    }
    command.stdin(Stdio::null());
    command
}

fn greeting(client: &Client) -> AgentHello {
    match client.ask(&hello(AGENT_VERSION)) {
        Response::Hello(hello) => hello,
        other => panic!("no hello: {other:?}"),
    }
}

fn send(process: u32, signal: Signal) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("ours");
}

/// A line of `/proc/PID/status`.
fn status_line(process: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/status")).expect("alive");
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.expect("there").trim_start_matches(':').trim().to_owned()
}

#[test]
fn it_keeps_three_capabilities_and_gains_none() {
    let Some(agent) = Agent::start("it_keeps_three_capabilities_and_gains_none", &[]) else {
        return;
    };
    let process = greeting(&Client::greet(&agent.socket())).pid;
    // CAP_NET_BIND_SERVICE 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13 (linux/capability.h).
    let most = 1_u64 << 10 | 1 << 12 | 1 << 13;
    for field in ["CapEff", "CapPrm", "CapBnd"] {
        let set = u64::from_str_radix(&status_line(process, field), 16).expect("a number");
        assert_eq!(set & !most, 0, "{field}");
    }
    assert_eq!(status_line(process, "NoNewPrivs"), "1");
    for thread in fs::read_dir(format!("/proc/{process}/task")).expect("alive").flatten() {
        let text = fs::read_to_string(thread.path().join("status")).expect("alive");
        let line = text.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("there");
        assert_eq!(u64::from_str_radix(line.trim(), 16).expect("a number") & !most, 0);
    }
}

#[test]
fn told_to_end_it_ends_well_and_a_second_one_is_told_why_not() {
    let test = "told_to_end_it_ends_well_and_a_second_one_is_told_why_not";
    let Some(mut agent) = Agent::start(test, &[]) else { return };
    Client::greet(&agent.socket());
    let second = command(&agent.directory.0).output().expect("runs");
    assert_eq!(second.status.code(), Some(75));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another agent has"), "{said}");
    // The first one's socket is untouched.
    Client::greet(&agent.socket());
    send(agent.child.id(), Signal::TERM);
    assert_eq!(agent.wait().code(), Some(0));
    assert!(!agent.socket().exists());
}

/// Two agents would take each other's SAs for what a dead one left behind.
#[test]
fn a_second_agent_in_the_same_namespace_is_refused_whatever_its_directories() {
    let test = "a_second_agent_in_the_same_namespace_is_refused_whatever_its_directories";
    let Some(agent) = Agent::start(test, &[]) else { return };
    Client::greet(&agent.socket());
    let elsewhere = Directory::new();
    let second = || {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", agent.child.id()));
        command.args([env!("CARGO_BIN_EXE_offload-agent"), "run", "--log", "warn"]);
        for (option, name) in [("--state-dir", "state"), ("--runtime-dir", "run")] {
            command.arg(option).arg(elsewhere.0.join(name));
        }
        command.stdin(Stdio::null());
        command
    };
    let end = |command: &mut Command| {
        let output = command.output().expect("nsenter of util-linux");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = end(second().arg("--socket").arg(elsewhere.0.join("agent.sock")));
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains(&format!("process {}", agent.child.id())), "{said}");
    // Nor does it take the first one's socket away.
    let (code, said) = end(second().arg("--socket").arg(agent.socket()));
    assert_eq!(code, Some(73), "{said}");
    assert!(said.contains("something answers there"), "{said}");
    Client::greet(&agent.socket());
}

#[test]
fn a_killed_agent_is_back_at_once_with_its_user_space_sas() {
    let test = "a_killed_agent_is_back_at_once_with_its_user_space_sas";
    if fs::File::open("/dev/net/tun").is_err() {
        println!("SKIPPED {test}: no /dev/net/tun");
        return;
    }
    let Some(mut agent) = Agent::start(test, &["--supervise", "--engine", "user-space"]) else {
        return;
    };
    let mut client = Client::greet(&agent.socket());
    let mut pair = pair(1);
    pair.placement = serde_json::from_str(r#"{"require": "user-space"}"#).expect("a policy");
    expect_ok(client.ask(&Request::Define { pair: Box::new(pair) }));
    keys(1, 1).iter().for_each(|request| drop(expect_ok(client.ask(request))));
    for round in 0..5 {
        let process = greeting(&client).pid;
        assert_ne!(process, agent.child.id());
        send(process, Signal::KILL);
        let killed = Instant::now();
        client = Client::greet(&agent.socket());
        let gap = killed.elapsed();
        println!("back after {gap:?}");
        assert!(gap < Duration::from_secs(1), "{gap:?}");
        let now = greeting(&client);
        assert_eq!((now.generation, now.distrusted), (round + 2, None));
        let Response::Pair(status) = client.ask(&Request::Show { name: name(1) }) else {
            panic!("no status");
        };
        let outbound = status.epochs[0].outbound.clone().expect("resumed");
        let inbound = status.epochs[0].inbound.clone().expect("resumed");
        assert!(outbound.resumed && inbound.resumed && status.active.is_some());
        assert!(outbound.usage.sequence >= (round + 1) * 65_536, "{:?}", outbound.usage);
    }
    send(agent.child.id(), Signal::TERM);
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn without_the_capability_a_probe_does_not_promise_a_device() {
    let test = "without_the_capability_a_probe_does_not_promise_a_device";
    if !rustix::process::getuid().is_root() || fs::File::open("/dev/net/tun").is_err() {
        println!("SKIPPED {test}: it needs root, to give up a capability, and /dev/net/tun");
        return;
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    command.args([env!("CARGO_BIN_EXE_offload-agent"), "probe", "--engine", "user-space"]);
    let output = command.output().expect("setpriv of util-linux");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let engine = said.lines().find(|line| line.contains("Engine")).expect("a line of it");
    assert!(engine.contains("No") && engine.contains("needs CAP_NET_ADMIN"), "{said}");
}

#[test]
fn what_cannot_be_is_said_with_a_code_of_its_own() {
    let program = env!("CARGO_BIN_EXE_offload-agent");
    let code = |arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(code(&["run", "--engine", "magic"]).0, Some(2));
    let (status, said) = code(&["run", "--allow-gid", "no-such-group"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("/etc/group has no no-such-group"), "{said}");
    let (status, said) = code(&["run", "--state-dir", "/proc/nowhere"]);
    assert_eq!(status, Some(73));
    assert!(said.contains("/proc/nowhere"), "{said}");
    assert_eq!(said.matches("os error").count(), 1, "told once: {said}");
}
