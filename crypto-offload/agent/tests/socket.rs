//! The socket: who gets an answer, and what a bad client can do to the others.
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

mod support;

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use gateway_control::agent::{AGENT_VERSION, AgentErrorCode, MAX_MESSAGE, Request, Response};
use offload_agent::{Allowed, Server};
use support::{
    agent::{World, expect_ok, life, pair, refused},
    client::{Client, hello},
};

/// An agent that serves in this process until it is dropped.
struct Serving {
    world: World,
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn start(allowed: Allowed) -> Self {
        let world = World::new();
        let socket = world.directory.0.join("agent.sock");
        let mut server = Server::bind(&socket, allowed).expect("listens");
        server.accept(Arc::clone(&world.events)).expect("a thread");
        let mut pairs = world.start();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = move || server.serve(&mut pairs, || stopped.load(Ordering::Acquire));
        Self { world, socket, stop, thread: Some(thread::spawn(serve)) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

#[test]
fn a_pairs_life_over_the_socket() {
    let agent = Serving::start(Allowed::default());
    let client = Client::greet(&agent.socket);
    for request in life(1) {
        expect_ok(client.ask(&request));
    }
    let Response::Pairs(list) = client.ask(&Request::List { after: None, limit: 10 }) else {
        panic!("no list");
    };
    assert_eq!((list.pairs.len(), list.total, list.more), (1, 1, false));
}

#[test]
fn a_file_that_is_no_socket_is_not_removed_for_one() {
    let world = World::new();
    let path = world.directory.0.join("precious");
    fs::write(&path, "data").expect("writes");
    let error = Server::bind(&path, Allowed::default()).err().expect("refused").to_string();
    assert!(error.contains("precious") && error.contains("in the way"), "{error}");
    assert_eq!(fs::read(&path).expect("still there"), b"data");
    let link = world.directory.0.join("link");
    std::os::unix::fs::symlink(&path, &link).expect("links");
    assert!(Server::bind(&link, Allowed::default()).is_err());
    assert!(link.is_symlink() && path.exists());
}

#[test]
fn a_bad_message_ends_its_connection_with_a_reason_and_no_other() {
    let agent = Serving::start(Allowed::default());
    let good = Client::greet(&agent.socket);
    let wrong_version = serde_json::to_vec(&hello(AGENT_VERSION + 1)).expect("serializes");
    let messages: [(&[u8], AgentErrorCode, &str); 5] = [
        (&wrong_version, AgentErrorCode::VersionMismatch, "speaks version 1, not 2"),
        (b"\xff\x00garbage", AgentErrorCode::Invalid, "not a request"),
        (b"{\"request\": \"reboot\"}", AgentErrorCode::Invalid, "unknown variant"),
        (b"{\"request\": \"probe\"}", AgentErrorCode::Invalid, "begins with hello"),
        (&[b' '; MAX_MESSAGE + 1], AgentErrorCode::Invalid, "131073 bytes"),
    ];
    for (message, code, said) in messages {
        let bad = Client::connect(&agent.socket).expect("connects");
        bad.send(message).expect("sent");
        let answer = serde_json::from_slice(&bad.receive().expect("an answer"));
        let error = refused(answer.expect("a response"));
        assert_eq!(error.code, code);
        assert!(error.message.contains(said), "{}", error.message);
        assert!(bad.receive().expect("closed").is_empty());
        expect_ok(good.ask(&Request::Capabilities));
    }
}

#[test]
fn a_client_that_takes_no_answers_keeps_nobody_waiting() {
    let agent = Serving::start(Allowed::default());
    let good = Client::greet(&agent.socket);
    let deaf = Client::greet(&agent.socket);
    let question = serde_json::to_vec(&Request::Capabilities).expect("serializes");
    let flood = thread::spawn(move || while deaf.send(&question).is_ok() {});
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(500) {
        let asked = Instant::now();
        expect_ok(good.ask(&Request::Capabilities));
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
    // Its connection is closed once it had its time, which ends its sending.
    flood.join().expect("no panic");
}

#[test]
fn waiting_for_events_is_ended_by_one_and_keeps_nobody_else_waiting() {
    let agent = Serving::start(Allowed::default());
    agent.world.xfrm.come_out_as(Some(crypto_offload::Placement::InlineCrypto));
    let listener = Client::greet(&agent.socket);
    let waiting = thread::spawn(move || {
        let started = Instant::now();
        (listener.ask(&Request::Events { after: 0, wait_ms: 20_000 }), started.elapsed())
    });
    thread::sleep(Duration::from_millis(50));
    let client = Client::greet(&agent.socket);
    expect_ok(client.ask(&Request::Define { pair: Box::new(pair(1)) }));
    for request in support::agent::keys(1, 1) {
        expect_ok(client.ask(&request));
    }
    let (response, waited) = waiting.join().expect("no panic");
    let Response::Events { events } = response else { panic!("no events") };
    assert_eq!(events[0].kind.name(), "placement.fallback");
    assert!(waited < Duration::from_secs(10), "{waited:?}");
}

#[test]
fn the_socket_is_for_those_who_were_named() {
    let mode = |allowed: Allowed| {
        let agent = Serving::start(allowed);
        fs::metadata(&agent.socket).expect("there").permissions().mode() & 0o777
    };
    assert_eq!(mode(Allowed::default()), 0o600);
    let group = rustix::process::getgid().as_raw();
    assert_eq!(mode(Allowed { users: vec![], groups: vec![group] }), 0o660);
}

#[test]
fn another_user_is_refused_unless_named() {
    if !rustix::process::getuid().is_root() {
        eprintln!(
            "SKIPPED another_user_is_refused_unless_named: only root can become another user"
        );
        return;
    }
    // Two users, so that the file lets everybody through and credentials decide.
    let stranger = Serving::start(Allowed { users: vec![1, 2], groups: vec![] });
    assert_eq!(as_nobody(&stranger.socket), "no answer");
    let friend = Serving::start(Allowed { users: vec![1, NOBODY], groups: vec![] });
    assert_eq!(as_nobody(&friend.socket), "answered");
    let member = Serving::start(Allowed { users: vec![], groups: vec![NOBODY] });
    assert_eq!(as_nobody(&member.socket), "answered");
}

/// Asks from a process of another user: this program again, from where that user may read it.
fn as_nobody(socket: &std::path::Path) -> String {
    let directory = socket.parent().expect("has one");
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("opened");
    let program = directory.join("client");
    fs::copy("/proc/self/exe", &program).expect("copied");
    let output = Command::new(&program)
        .args(["--exact", "speaks_for_another_user", "--ignored", "--nocapture"])
        .env("AGENT_SOCKET", socket)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer = said.lines().find_map(|line| line.split("result: ").nth(1).map(str::to_owned));
    answer.unwrap_or(said)
}

#[test]
#[ignore = "the child of another_user_is_refused_unless_named"]
fn speaks_for_another_user() {
    let Some(socket) = env::var_os("AGENT_SOCKET").map(PathBuf::from) else { return };
    let answer = Client::connect(&socket).and_then(|client| client.try_ask(&hello(AGENT_VERSION)));
    let answered = matches!(answer, Ok(Response::Hello(_)));
    println!("result: {}", if answered { "answered" } else { "no answer" });
}

const NOBODY: u32 = 65534;
