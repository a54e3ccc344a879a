//! The HTTP listener and the admin API.

use std::os::unix::fs::PermissionsExt;

use gateway_control::{
    API_VERSION, ApiError, CallDetail, CallList, ErrorCode, Event, EventKind, EventList, Status,
    VERSION_HEADER,
};
use serde_json::json;
use srtp::Profile;

use crate::media::{Party, limited_call, plain_call, secure_call};
use crate::process::Gateway;

#[test]
fn health_and_readiness_are_told_to_whoever_restarts_us() {
    let gateway = Gateway::start(&[]);
    assert_eq!(gateway.http("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(gateway.http("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(gateway.http("/v1/status").0, 404);
}

#[test]
fn the_status_names_each_workers_driver_and_why() {
    let gateway = Gateway::start(&["--io", "epoll", "--workers", "2"]);
    let (_, body) = gateway.admin("/v1/status");
    let status: Status = serde_json::from_str(&body).unwrap();
    assert_eq!(status.workers.len(), 2);
    for worker in status.workers {
        assert_eq!(worker.driver, "epoll");
        assert_eq!(worker.reason, "epoll was asked for");
    }
}

#[test]
fn only_our_user_may_open_the_admin_socket() {
    let gateway = Gateway::start(&[]);
    let mode = std::fs::metadata(gateway.file("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[test]
fn another_version_of_the_api_is_refused() {
    let gateway = Gateway::start(&[]);
    let (code, body) = gateway.admin_with("/v1/status", "postern-api-version: 999\r\n");
    let error: ApiError = serde_json::from_str(&body).unwrap();
    assert_eq!((code, error.code), (400, ErrorCode::VersionMismatch));
    let ours = format!("{VERSION_HEADER}: {API_VERSION}\r\n");
    assert_eq!(gateway.admin_with("/v1/status", &ours).0, 200);
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    let gateway = Gateway::start(&[]);
    for (path, expected) in [
        ("/v1/nothing", ErrorCode::NotFound),
        ("/v1/calls/none", ErrorCode::UnknownCall),
        ("/v1/calls?limit=many", ErrorCode::BadParameter),
    ] {
        let (code, body) = gateway.admin(path);
        let error: ApiError = serde_json::from_str(&body).unwrap();
        assert_eq!(error.code, expected, "{path}");
        assert!(code >= 400 && !error.message.is_empty() && !error.hint.is_empty(), "{body}");
    }
}

#[test]
fn a_call_is_listed_and_shown_with_what_it_did() {
    let gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    let mut caller = Party::new(gateway.address, 1);
    let callee = Party::new(gateway.address, 2);
    let [towards_callee, _] = plain_call(&mut ng, "a@b c", &caller, &callee);
    let packet = caller.packet();
    caller.socket.send_to(&packet, towards_callee).unwrap();
    assert_eq!(callee.receive(), packet);

    let list: CallList = serde_json::from_str(&gateway.admin("/v1/calls").1).unwrap();
    assert_eq!((list.total, list.calls[0].call_id.as_str()), (1, "a@b c"));
    let (code, body) = gateway.admin("/v1/calls/a@b%20c");
    assert_eq!(code, 200, "{body}");
    let call: CallDetail = serde_json::from_str(&body).unwrap();
    assert_eq!(call.streams.len(), 2);
    let packets: u64 = call.streams.iter().map(|stream| stream.rtp_in.packets).sum();
    assert_eq!(packets, 1);
}

#[test]
fn metrics_have_our_names_and_the_incumbents() {
    let gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    let mut caller = Party::new(gateway.address, 1);
    let callee = Party::new(gateway.address, 2);
    let [towards_callee, _] = plain_call(&mut ng, "m", &caller, &callee);
    for _ in 0..3 {
        let packet = caller.packet();
        caller.socket.send_to(&packet, towards_callee).unwrap();
        callee.receive();
    }
    caller.socket.send_to(b"\x80garbage", towards_callee).unwrap();
    let counted = |name: &str| gateway.metric(name);
    while counted("postern_dropped_packets_total{worker=\"0\",reason=\"malformed\"}") < 1.0 {
        std::thread::yield_now();
    }
    assert_eq!(counted("postern_calls"), 1.0);
    assert_eq!(counted("postern_packets_total{worker=\"0\",direction=\"out\"}"), 3.0);
    assert_eq!(counted("postern_residence_seconds_count{worker=\"0\"}"), 3.0);
    assert!(counted("postern_residence_p99_seconds") > 0.0);
    assert_eq!(counted("postern_ports_used{interface=\"default\"}"), 4.0);
    assert_eq!(counted("rtpengine_sessions{type=\"own\"}"), 1.0);
    assert_eq!(counted("rtpengine_packets_total{type=\"userspace\"}"), 3.0);
    ng.ask(&json!({"command": "delete", "call-id": "m", "delete-delay": 0}));
    assert_eq!(counted("rtpengine_closed_sessions_total{reason=\"terminated\"}"), 1.0);
    assert_eq!(counted("postern_ports_used{interface=\"default\"}"), 0.0);
}

#[test]
fn a_leg_that_goes_without_encryption_is_told_counted_and_shown() {
    let gateway = Gateway::start(&["--ng-compat", "rtpengine"]);
    let mut ng = gateway.ng();
    let caller = Party::new(gateway.address, 1);
    let callee = Party::new(gateway.address, 2);
    secure_call(&mut ng, "weak", &caller, &callee, Profile::NullHmacSha1_80);
    let metric = "postern_srtp_weakened_legs_total{reason=\"null-cipher\"}";
    assert_eq!(gateway.metric(metric), 1.0);
    let events = gateway.admin("/v1/events").1;
    let events: EventList = serde_json::from_str(&events).unwrap();
    let told = events.events.iter().find(|event| event.kind == EventKind::SrtpWeakened).unwrap();
    assert_eq!(told.to, "null-cipher");
    let call: CallDetail = serde_json::from_str(&gateway.admin("/v1/calls/weak").1).unwrap();
    let [caller, callee] = &call.streams[..] else { panic!("two streams") };
    assert_eq!((&caller.suite, caller.weaknesses.len()), (&None, 0));
    assert_eq!(callee.suite.as_deref(), Some("NULL_HMAC_SHA1_80"));
    assert_eq!(callee.weaknesses, ["null-cipher"]);
}

#[test]
fn a_peer_at_the_end_of_its_own_lifetime_is_told_and_then_refused() {
    let gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    let (caller, mut callee) = (Party::new(gateway.address, 1), Party::new(gateway.address, 2));
    let ([_, towards_caller], mut protection) =
        limited_call(&mut ng, "limited", [&caller, &callee], 16);
    let mut send = |count| {
        for _ in 0..count {
            let packet = callee.packet();
            callee.socket.send_to(&protection.protect(&packet), towards_caller).unwrap();
        }
    };
    send(16);
    (0..16).for_each(|_| drop(caller.receive()));
    assert_eq!(awaited(&gateway, EventKind::SrtpRekeyDue).owner, "signalling");
    send(4);
    assert_eq!(awaited(&gateway, EventKind::LimitReached).owner, "signalling");
    assert!(caller.try_receive().is_none());
    let refused = |worker| {
        let labels = format!("worker=\"{worker}\",reason=\"key_exhausted\"");
        gateway.metric(&format!("postern_dropped_packets_total{{{labels}}}"))
    };
    assert_eq!((0..gateway.status.workers.len()).map(refused).sum::<f64>(), 4.0);
}

/// The first event of this kind, once there is one.
fn awaited(gateway: &Gateway, kind: EventKind) -> Event {
    let mut after = 0;
    loop {
        let (_, body) = gateway.admin(&format!("/v1/events?after={after}&wait=10"));
        let events: EventList = serde_json::from_str(&body).unwrap();
        after = events.events.last().expect("an event within ten seconds").seq;
        if let Some(event) = events.events.into_iter().find(|event| event.kind == kind) {
            return event;
        }
    }
}
