//! SIGKILL of an agent's process after every request: the next one knows the same. The model
//! kernel is a file here, so that it outlives the process as the real one does.
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use crypto_offload::{
    Placement,
    middleware::{Model, Operation, Recording},
};
use gateway_control::{
    PairStatus,
    agent::{Request, Response},
};
use offload_agent::{Allowed, Engines, EventLog, Pairs, Server, State};
use support::{
    agent::{Directory, expect_ok, life, name, places},
    client::Client,
};

/// An agent in a process of its own, killed when this is dropped.
struct Process(Child);

impl Process {
    fn start(directory: &Path) -> Self {
        let program = env::current_exe().expect("ourselves");
        let child = Command::new(program)
            .args(["--exact", "is_the_agent", "--ignored", "--nocapture"])
            .env("AGENT_DIRECTORY", directory)
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("starts"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the child of the other tests"]
fn is_the_agent() {
    let Some(directory) = env::var_os("AGENT_DIRECTORY").map(PathBuf::from) else { return };
    let engines = Engines::new(vec![Box::new(kernel(&directory.join("kernel.json")))]);
    let events = Arc::new(EventLog::default());
    let state = State::open(&places(&directory)).expect("opens");
    let mut pairs = Pairs::start(engines, state, Arc::clone(&events)).expect("starts");
    let socket = directory.join("agent.sock");
    let mut server = Server::bind(&socket, Allowed::default()).expect("listens");
    server.accept(events).expect("a thread");
    server.serve(&mut pairs, || false);
}

/// As its file says; the file follows each change.
fn kernel(file: &Path) -> Recording<Model> {
    let model = Model::new("xfrm", &[Placement::KernelSoftware]);
    if let Ok(text) = fs::read(file) {
        model.remember(serde_json::from_slice(&text).expect("as saved"));
    }
    let (same, file, new) = (model.clone(), file.to_owned(), file.with_extension("new"));
    Recording::new(model, move |call| {
        if Operation::CHANGES.contains(&call.operation) {
            let saved = serde_json::to_vec(&same.memory()).expect("serializes");
            fs::write(&new, saved).expect("written");
            fs::rename(&new, &file).expect("replaced");
        }
    })
}

fn status(client: &Client) -> Option<PairStatus> {
    match client.ask(&Request::Show { name: name(1) }) {
        Response::Pair(status) => Some(*status),
        _ => None,
    }
}

fn text(response: &Response) -> String {
    serde_json::to_string(response).expect("serializes")
}

#[test]
fn a_kill_after_any_request_changes_neither_state_nor_answers() {
    let directory = Directory::new();
    let socket = directory.0.join("agent.sock");
    for (request, again) in life(1).into_iter().zip(life(1)) {
        let (first, before) = {
            let _agent = Process::start(&directory.0);
            let client = Client::greet(&socket);
            let first = expect_ok(client.ask(&request));
            (first, status(&client))
        };
        let _agent = Process::start(&directory.0);
        let client = Client::greet(&socket);
        assert_eq!(status(&client), before, "after {request:?}");
        let second = expect_ok(client.ask(&again));
        assert_eq!(text(&second), text(&first), "after {request:?}");
    }
}

#[test]
fn a_kill_during_a_storm_of_requests_leaves_a_state_that_is_believed() {
    let directory = Directory::new();
    let socket = directory.0.join("agent.sock");
    for round in 0..12_u16 {
        let agent = Process::start(&directory.0);
        let client = Client::greet(&socket);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(3 * u64::from(round)));
            drop(agent);
        });
        // Until it is killed in the midst of one.
        for number in 0..200 {
            let pair = round * 20 + number % 20;
            if life(pair).iter().any(|request| client.try_ask(request).is_err()) {
                break;
            }
        }
        killer.join().expect("no panic");
    }
    let _agent = Process::start(&directory.0);
    let client = Client::greet(&socket);
    let hello = support::client::hello(gateway_control::agent::AGENT_VERSION);
    let Response::Hello(hello) = client.ask(&hello) else { panic!("no hello") };
    assert_eq!(hello.distrusted, None);
    assert_eq!(hello.generation, 13);
}
