//! `keymgr tls` as people and scripts meet it: what it prints, and how it ends. The gateway is a
//! stand-in that answers as the admin API does; what the real one answers is tested in the gateway.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here is the test; clippy.toml only knows functions marked as tests"
)]

mod stand_in;

use std::process::Command;

use gateway_control::TlsStatus;
use serde_json::{Value, json};
use stand_in::StandIn;

fn status(state: &str, problem: Option<&str>, not_after: u64) -> Value {
    json!({
        "threads": 1, "kernel": "auto", "kernel_problem": "kernel TLS: no",
        "listeners": [{
            "name": "sip", "mode": "terminate", "listen": "192.0.2.1:5061", "state": state,
            "problem": problem, "connections": 1, "handshakes": 0,
            "certificates": [{
                "names": ["sip.example.com"], "not_before": 0, "not_after": not_after,
                "fingerprint": "0123456789abcdef0123", "source": "/etc/postern/sip.pem",
                "key": "ECDSA P-256", "ocsp_until": null,
            }],
            "upstreams": [{
                "address": "10.0.0.10:5060", "up": false, "connections": 0, "failures": 3,
                "reason": "Connection refused",
            }],
            "placements": [{
                "direction": "inbound", "placement": "user-space", "reason": "kernel TLS: no",
                "connections": 1,
            }],
        }],
        "connections": [],
    })
}

/// The year 2100.
const FAR: u64 = 4_102_444_800;

/// Placements and directions as the types write them, which are another crate's.
fn typed(mut status: Value) -> Value {
    use crypto_offload::{Direction, Placement};
    let placement = &mut status["listeners"][0]["placements"][0];
    placement["direction"] = serde_json::to_value(Direction::Inbound).unwrap();
    placement["placement"] = serde_json::to_value(Placement::UserSpace).unwrap();
    status
}

#[test]
fn a_list_shows_listeners_certificates_upstreams_and_places() {
    let stand_in = StandIn::new(200, &typed(status("serving", None, FAR)));
    let (code, out, err) = stand_in.keymgr(&["tls", "list"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for word in [
        "192.0.2.1:5061",
        "serving",
        "sip.example.com",
        "2100-01-01",
        "0123456789abcdef",
        "10.0.0.10:5060",
        "down",
        "Connection refused",
        "user-space",
        "no connection can be in the kernel: kernel TLS: no",
    ] {
        assert!(out.contains(word), "{word}: {out}");
    }
    assert!(out.lines().all(|line| line == line.trim_end()), "{out}");
}

#[test]
fn json_is_the_admin_apis_own_document() {
    let expected = typed(status("serving", None, FAR));
    let stand_in = StandIn::new(200, &expected);
    let (code, out, _) =
        stand_in.keymgr(&["tls", "--json", "list", "--connections", "--listener", "sip"]);
    assert_eq!(code, 0);
    let printed: TlsStatus = serde_json::from_str(&out).unwrap();
    assert_eq!(printed, serde_json::from_value(expected).unwrap());
    let (request, _) = stand_in.asked();
    assert_eq!(request, "GET /v1/tls?connections=true&limit=1000&listener=sip");
}

#[test]
fn a_check_fails_where_something_needs_somebody_and_says_what() {
    let fine = StandIn::new(200, &typed(status("serving", None, FAR)));
    assert_eq!(fine.keymgr(&["tls", "list", "--check"]).0, 0);
    for (answer, expected) in [
        (status("failed", Some("no such file"), FAR), "sip does not serve: no such file"),
        (status("serving", Some("sip.pem: cut off"), FAR), "sip: sip.pem: cut off"),
        (status("serving", None, 1), "sip: the certificate of sip.example.com: expired"),
    ] {
        let (code, _, err) = StandIn::new(200, &typed(answer)).keymgr(&["tls", "list", "--check"]);
        assert_eq!(code, 5, "{err}");
        assert!(err.contains(expected), "{err}");
    }
}

#[test]
fn a_reload_that_is_refused_is_a_failure_and_a_dry_run_says_that_nothing_was_changed() {
    let answer = json!({"listeners": [
        {"listener": "sip", "result": "reloaded", "reason": "a new certificate"},
        {"listener": "carrier", "result": "refused", "reason": "carrier-ca.pem: empty"},
    ]});
    let stand_in = StandIn::new(200, &answer);
    let (code, out, err) = stand_in.keymgr(&["tls", "reload", "--dry-run"]);
    assert_eq!(code, 5);
    assert!(out.contains("carrier-ca.pem: empty") && out.contains("nothing was changed"), "{out}");
    assert!(err.contains("1 of 2 listeners"), "{err}");
    let (request, body) = stand_in.asked();
    assert_eq!(request, "POST /v1/tls/reload");
    assert_eq!(body, json!({"listener": null, "dry_run": true}));
}

#[test]
fn tickets_and_keys_are_asked_for_as_said() {
    let answer = json!({"listeners": ["sip"], "old_opens_for": 21_600});
    let stand_in = StandIn::new(200, &answer);
    let (code, out, _) = stand_in.keymgr(&["tls", "rotate-tickets"]);
    assert_eq!((code, out.as_str()), (0, "new ticket key: sip; the last one opens for 6h\n"));
    assert_eq!(stand_in.asked().1, json!({"dry_run": false}));

    let stand_in = StandIn::new(200, &json!({"updated": 2, "not_possible": 1}));
    let (code, out, _) = stand_in.keymgr(&["tls", "keyupdate", "--listener", "sip"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("new keys for 2 connections; 1 of TLS 1.2"), "{out}");
    let expected = json!({"listener": "sip", "connection": null, "dry_run": false});
    assert_eq!(stand_in.asked(), ("POST /v1/tls/keyupdate".to_owned(), expected));
    assert_eq!(stand_in.keymgr(&["tls", "keyupdate"]).0, 2, "whose keys?");
    assert_eq!(stand_in.keymgr(&["tls", "keyupdate", "--all", "--connection", "1"]).0, 2);
}

#[test]
fn a_refusal_is_told_with_its_hint_and_its_own_exit_code() {
    let answer = json!({
        "code": "unknown_listener", "message": "no TLS listener has this name", "where": "spi",
        "hint": "GET /v1/tls lists those that there are",
    });
    let stand_in = StandIn::new(404, &answer);
    let (code, out, err) = stand_in.keymgr(&["tls", "reload", "--listener", "spi"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("spi") && err.contains("no TLS listener"), "{err}");
    assert_eq!(stand_in.keymgr(&["tls", "list", "--listener", "a/b"]).0, 2);
}

#[test]
fn no_gateway_is_an_exit_code_of_its_own() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keymgr"));
    let output = command.args(["--admin", "/nonexistent.sock", "tls", "list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn completions_know_the_commands() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keymgr"));
    let output = command.args(["completions", "bash"]).output().unwrap();
    let script = String::from_utf8(output.stdout).unwrap();
    for word in ["rotate-tickets", "keyupdate", "--connections"] {
        assert!(script.contains(word), "{word}");
    }
}
