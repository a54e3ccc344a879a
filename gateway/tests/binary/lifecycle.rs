//! Signals: SIGINT, SIGTERM, SIGHUP.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::media::{Party, plain_call};
use crate::process::{Gateway, own_address};

#[test]
fn the_log_of_the_start_names_interfaces_and_ports_beside_the_listeners() {
    let gateway = Gateway::start(&["--ports", "20000-20099"]);
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("relaying")).unwrap();
    let interface = format!("default/{}", gateway.address);
    for part in ["ng=", "http=", "admin=", &interface, "ports=20000-20099"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn sigint_ends_within_a_second_whatever_is_up() {
    let mut gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    let (caller, callee) = (Party::new(gateway.address, 1), Party::new(gateway.address, 2));
    plain_call(&mut ng, "up", &caller, &callee);
    let begun = Instant::now();
    gateway.signal(Signal::INT);
    let status = gateway.wait(Duration::from_secs(3)).expect("it did not end");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0));
    assert!(!gateway.file("admin.sock").exists());
}

#[test]
fn sigterm_refuses_new_calls_and_ends_with_the_last_one() {
    let mut gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    let (mut caller, callee) = (Party::new(gateway.address, 1), Party::new(gateway.address, 2));
    let [towards_callee, _] = plain_call(&mut ng, "old", &caller, &callee);
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("drain.started");
    assert!(gateway.log().contains("SIGTERM; 1 call is up"), "{}", gateway.log());

    let mut offer = json!({
        "command": "offer", "call-id": "new", "from-tag": "a", "sdp": caller.sdp("RTP/AVP", ""),
    });
    assert_eq!(ng.ask(&offer)["error-reason"], "Parallel session limit reached");
    offer["supports"] = json!(["load limit"]);
    assert_eq!(ng.ask(&offer)["result"], "load limit");
    let (code, body) = gateway.http("/readyz");
    assert_eq!((code, body.as_str()), (503, "draining\n"));
    assert_eq!(gateway.http("/healthz").0, 200);

    let packet = caller.packet();
    caller.socket.send_to(&packet, towards_callee).unwrap();
    assert_eq!(callee.receive(), packet);
    offer["call-id"] = json!("old");
    offer["to-tag"] = json!("b");
    assert_eq!(ng.ask(&offer)["result"], "ok", "a re-INVITE of a call that is up");

    let delete = json!({"command": "delete", "call-id": "old", "delete-delay": 0});
    assert_eq!(ng.ask(&delete)["result"], "ok");
    let status = gateway.wait(Duration::from_secs(2)).expect("it did not end");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_drain_without_calls_ends_at_once() {
    let mut gateway = Gateway::start(&[]);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(Duration::from_secs(2)).and_then(|status| status.code()), Some(0));
}

#[test]
fn sighup_takes_what_can_change_and_names_what_cannot() {
    let address = own_address();
    let directory = std::env::temp_dir().join(format!("postern-test-{address}"));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("gateway.toml");
    fs::write(&file, "[limits]\nmax_calls = 1\n").unwrap();
    let gateway = Gateway::start_at(address, &["--config", file.to_str().unwrap()]);
    let mut ng = gateway.ng();
    let caller = Party::new(gateway.address, 1);
    let offer = |id: &str| {
        json!({
            "command": "offer", "call-id": id, "from-tag": "a", "sdp": caller.sdp("RTP/AVP", ""),
        })
    };
    assert_eq!(ng.ask(&offer("1"))["result"], "ok");
    assert_eq!(ng.ask(&offer("2"))["error-reason"], "Parallel session limit reached");

    fs::write(&file, "[limits]\nmax_cals = 2\n").unwrap();
    gateway.signal(Signal::HUP);
    gateway.wait_for_log("config.refused");
    assert!(gateway.log().contains("did you mean \"max_calls\"?"), "{}", gateway.log());
    assert_eq!(ng.ask(&offer("2"))["error-reason"], "Parallel session limit reached");

    fs::write(&file, "[limits]\nmax_calls = 2\nng_connections = 3\n").unwrap();
    gateway.signal(Signal::HUP);
    gateway.wait_for_log("config.reloaded");
    assert!(gateway.log().contains("need a restart and stay: limits.ng_connections"));
    assert_eq!(ng.ask(&offer("2"))["result"], "ok");
}
