//! Calls from offer to delete, with media both ways, through each driver that this kernel has.

use std::time::{Duration, Instant};

use gateway::session::settings::SUITES;
use serde_json::json;
use srtp::Profile;

use crate::media::{Party, plain_call, secure_call};
use crate::process::{Gateway, own_address};

/// A gateway on this driver, or `None` where the kernel has it not.
fn on(io: &str) -> Option<Gateway> {
    let report = String::from_utf8(crate::process::gateway(&["probe"]).stdout).unwrap();
    let name = if io == "uring" { "io_uring" } else { io };
    let line = report.lines().find(|line| line.starts_with(&format!("driver {name} "))).unwrap();
    if line.split_whitespace().nth(2) != Some("yes") {
        println!("SKIPPED relays_rtp_to_srtp_and_back over {name}: {line}");
        return None;
    }
    let gateway = Gateway::start(&["--io", io]);
    assert_eq!(gateway.status.workers[0].driver, name);
    Some(gateway)
}

fn relays_rtp_to_srtp_and_back(io: &str) {
    let Some(gateway) = on(io) else { return };
    let mut ng = gateway.ng();
    for profile in SUITES {
        let mut caller = Party::new(gateway.address, 1);
        let mut callee = Party::new(gateway.address, 2);
        let id = profile.name();
        let ([towards_callee, towards_caller], mut protection) =
            secure_call(&mut ng, id, &caller, &callee, profile);
        for _ in 0..20 {
            let packet = caller.packet();
            caller.socket.send_to(&packet, towards_callee).unwrap();
            assert_eq!(protection.open(callee.receive()), packet, "{profile} to the callee");
            let packet = callee.packet();
            let protected = protection.protect(&packet);
            callee.socket.send_to(&protected, towards_caller).unwrap();
            assert_eq!(caller.receive(), packet, "{profile} to the caller");
        }
        let reply = ng.ask(&json!({"command": "query", "call-id": id}));
        assert_eq!(reply["totals"]["RTP"]["packets"], 40, "{reply}");
        let media = &reply["tags"]["b"]["medias"][0];
        assert_eq!(media["streams"][0]["crypto suite"], profile.name());
        assert_eq!(media["flags"], json!(["initialized", "send", "recv", "SDES"]));
        assert_eq!(reply["postern"]["residence"]["count"], 40, "{reply}");
        let delete = json!({"command": "delete", "call-id": id, "delete-delay": 0});
        let reply = ng.ask(&delete);
        assert_eq!(
            (&reply["result"], &reply["totals"]["RTP"]["packets"]),
            (&json!("ok"), &json!(40))
        );
    }
    assert_eq!(gateway.metric("postern_calls"), 0.0);
    assert_eq!(gateway.metric("postern_ports_used{interface=\"default\"}"), 0.0);
}

#[test]
fn io_uring_relays_rtp_to_srtp_and_back_under_each_suite() {
    relays_rtp_to_srtp_and_back("uring");
}

#[test]
fn epoll_relays_rtp_to_srtp_and_back_under_each_suite() {
    relays_rtp_to_srtp_and_back("epoll");
}

#[test]
fn forged_replayed_and_garbage_packets_are_counted_and_go_nowhere() {
    let gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    let caller = Party::new(gateway.address, 1);
    let mut callee = Party::new(gateway.address, 2);
    let ([_, towards_caller], mut protection) =
        secure_call(&mut ng, "bad", &caller, &callee, Profile::AeadAes128Gcm);
    let good = protection.protect(&callee.packet());
    callee.socket.send_to(&good, towards_caller).unwrap();
    caller.receive();

    let mut forged = protection.protect(&callee.packet());
    forged[20] ^= 1;
    let truncated = &good[..8];
    for bad in [&good[..], &forged, truncated, b"\x00nothing that media starts with"] {
        callee.socket.send_to(bad, towards_caller).unwrap();
    }
    let dropped = |reason: &str| {
        gateway
            .metric(&format!("postern_dropped_packets_total{{worker=\"0\",reason=\"{reason}\"}}"))
    };
    let reasons = ["replayed", "authentication_failed", "malformed", "unexpected_protocol"];
    let deadline = Instant::now() + Duration::from_secs(5);
    while reasons.iter().any(|reason| dropped(reason) < 1.0) {
        assert!(Instant::now() < deadline, "{:?}", reasons.map(dropped));
    }
    let next = callee.packet();
    callee.socket.send_to(&protection.protect(&next), towards_caller).unwrap();
    assert_eq!(caller.receive(), next, "only what is genuine arrives");
}

#[test]
fn both_families_meet_in_one_call() {
    let gateway = Gateway::start(&["--interface", "six/::1"]);
    let mut ng = gateway.ng();
    let mut caller = Party::new(gateway.address, 1);
    let callee = std::net::UdpSocket::bind("[::1]:0").unwrap();
    callee.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let port = callee.local_addr().unwrap().port();
    let offer = ng.ask(&json!({
        "command": "offer", "call-id": "46", "from-tag": "a", "sdp": caller.sdp("RTP/AVP", ""),
        "direction": ["default", "six"],
    }));
    assert!(offer["sdp"].as_str().unwrap().contains("c=IN IP6 ::1"), "{offer}");
    let answer = ng.ask(&json!({
        "command": "answer", "call-id": "46", "from-tag": "a", "to-tag": "b",
        "sdp": format!(
            "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        ),
    }));
    let towards_callee = crate::media::told(&answer).rtp;
    assert!(towards_callee.is_ipv4());
    let packet = caller.packet();
    caller.socket.send_to(&packet, towards_callee).unwrap();
    let mut buffer = [0; 2048];
    let length = callee.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], packet);
}

/// A gateway whose `[relay]` section has this line.
fn with(setting: &str) -> Gateway {
    let address = own_address();
    let directory = std::env::temp_dir().join(format!("postern-test-{address}"));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("gateway.toml");
    std::fs::write(&file, format!("[relay]\n{setting}\n")).unwrap();
    Gateway::start_at(address, &["--config", file.to_str().unwrap()])
}

fn ends_by(setting: &str, reason: &str) {
    let gateway = with(setting);
    let mut ng = gateway.ng();
    let (caller, callee) = (Party::new(gateway.address, 1), Party::new(gateway.address, 2));
    plain_call(&mut ng, "silent", &caller, &callee);
    assert_eq!(gateway.metric("postern_ports_used{interface=\"default\"}"), 4.0);
    let deadline = Instant::now() + Duration::from_secs(5);
    while gateway.metric("postern_ports_used{interface=\"default\"}") > 0.0 {
        assert!(Instant::now() < deadline, "the call is still up");
        std::thread::sleep(Duration::from_millis(20));
    }
    let name = format!("postern_calls_ended_total{{reason=\"{reason}\"}}");
    assert_eq!(gateway.metric(&name), 1.0);
}

#[test]
fn a_call_without_packets_ends_by_the_timeout_and_frees_its_ports() {
    ends_by("timeout = \"500ms\"", "timeout");
}

#[test]
fn a_call_ends_by_the_final_timeout_whatever_it_does() {
    ends_by("final_timeout = \"300ms\"", "final_timeout");
}

#[test]
fn an_offer_without_an_answer_ends_by_the_offer_timeout() {
    let gateway = with("offer_timeout = \"300ms\"");
    let mut ng = gateway.ng();
    let caller = Party::new(gateway.address, 1);
    let offer = json!({
        "command": "offer", "call-id": "1", "from-tag": "a", "sdp": caller.sdp("RTP/AVP", ""),
    });
    assert_eq!(ng.ask(&offer)["result"], "ok");
    let deadline = Instant::now() + Duration::from_secs(5);
    while gateway.metric("postern_calls_ended_total{reason=\"offer_timeout\"}") < 1.0 {
        assert!(Instant::now() < deadline, "the call is still up");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_deleted_call_lives_on_for_the_delay_and_an_offer_brings_it_back() {
    let gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    let (caller, callee) = (Party::new(gateway.address, 1), Party::new(gateway.address, 2));
    plain_call(&mut ng, "back", &caller, &callee);
    let delete = json!({"command": "delete", "call-id": "back", "delete-delay": 1});
    assert_eq!(ng.ask(&delete)["result"], "ok");
    let offer = json!({
        "command": "offer", "call-id": "back", "from-tag": "a", "to-tag": "b",
        "sdp": caller.sdp("RTP/AVP", ""),
    });
    assert_eq!(ng.ask(&offer)["result"], "ok");
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(gateway.metric("postern_calls"), 1.0);
    assert_eq!(ng.ask(&delete)["result"], "ok");
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(gateway.metric("postern_calls"), 0.0);
}
