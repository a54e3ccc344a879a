//! ng over UDP and TCP: replies, duplicates, errors.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::media::{Party, plain_call};
use crate::process::Gateway;

#[test]
fn ping_is_answered_in_the_encoding_it_came_in() {
    let gateway = Gateway::start(&[]);
    let ng = gateway.ng();
    assert_eq!(ng.exchange(b"1_1 d7:command4:pinge"), b"1_1 d6:result4:ponge");
    assert_eq!(ng.exchange(b"1_2 {\"command\":\"ping\"}"), b"1_2 {\"result\":\"pong\"}");
}

#[test]
fn malformed_requests_get_the_incumbents_words() {
    let gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    assert_eq!(
        ng.exchange(b"2_1 nonsense"),
        b"2_1 d6:result5:error12:error-reason22:Invalid NG data formate"
    );
    for (request, reason) in [
        (json!({}), "Dictionary contains no key \"command\""),
        (json!({"command": "foo"}), "Unrecognized command"),
        (json!({"command": "query", "call-id": "none"}), "Unknown call-id"),
        (json!({"command": "offer", "call-id": "x", "from-tag": "a"}), "No SDP body in message"),
        (
            json!({"command": "offer", "call-id": "x", "from-tag": "a", "sdp": "garbage"}),
            "Failed to parse SDP",
        ),
    ] {
        let reply = ng.ask(&request);
        assert_eq!(reply["result"], "error", "{request}");
        assert_eq!(reply["error-reason"], reason, "{request}");
    }
    let reply = ng.ask(&json!({"command": "delete", "call-id": "none"}));
    assert_eq!(reply["warning"], "Call-ID not found or tags didn't match");
    assert_eq!(ng.ask(&json!({"command": "list"}))["calls"], json!([]));
}

#[test]
fn a_datagram_without_a_cookie_gets_no_reply_and_harms_nothing() {
    let gateway = Gateway::start(&[]);
    let ng = gateway.ng();
    for datagram in [&b"d7:command4:pinge"[..], b"", b" ", &[0xff; 60_000]] {
        ng.socket.send(datagram).unwrap();
    }
    assert_eq!(ng.exchange(b"3_1 d7:command4:pinge"), b"3_1 d6:result4:ponge");
}

#[test]
fn tcp_takes_messages_back_to_back_and_in_pieces() {
    let gateway = Gateway::start(&[]);
    let mut stream = TcpStream::connect(gateway.status.ng).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"4_1 d7:command4:pinge4_2 d7:command4:ping").unwrap();
    let expected = b"4_1 d6:result4:ponge4_2 d6:result4:ponge";
    let mut reply = vec![0; expected.len()];
    stream.read_exact(&mut reply[..expected.len() / 2]).unwrap();
    stream.write_all(b"e").unwrap();
    stream.read_exact(&mut reply[expected.len() / 2..]).unwrap();
    assert_eq!(reply, expected);
}

#[test]
fn a_tcp_client_that_stops_sending_still_gets_its_reply() {
    let gateway = Gateway::start(&[]);
    let mut stream = TcpStream::connect(gateway.status.ng).unwrap();
    stream.write_all(b"5_1 d7:command10:statisticse").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    assert!(reply.starts_with(b"5_1 d6:result2:ok"), "{}", String::from_utf8_lossy(&reply));
}

#[test]
fn a_duplicate_is_answered_alike_and_done_once_from_any_socket() {
    let gateway = Gateway::start(&[]);
    let (first, second) = (gateway.ng(), gateway.ng());
    let caller = Party::new(gateway.address, 1);
    let offer = json!({
        "command": "offer", "call-id": "twice", "from-tag": "a", "sdp": caller.sdp("RTP/AVP", ""),
    });
    let datagram = format!("6_1 {offer}");
    let reply = first.exchange(datagram.as_bytes());
    assert_eq!(first.exchange(datagram.as_bytes()), reply);
    assert_eq!(second.exchange(datagram.as_bytes()), reply);
    assert_eq!(gateway.metric("postern_calls_total"), 1.0);
    assert_eq!(gateway.metric("postern_ng_requests_total"), 1.0);
}

#[test]
fn duplicates_of_a_request_in_progress_wait_for_its_reply() {
    let gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    let caller = Party::new(gateway.address, 1);
    let callee = Party::new(gateway.address, 2);
    plain_call(&mut ng, "busy", &caller, &callee);
    // A query waits for the worker, so that all of these arrive before its reply is known.
    let datagram = b"7_1 {\"command\":\"query\",\"call-id\":\"busy\"}";
    for _ in 0..3 {
        ng.socket.send(datagram).unwrap();
    }
    let replies: Vec<_> = (0..3).map(|_| ng.receive().expect("a reply for each")).collect();
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    assert_eq!(
        gateway.metric(
            "rtpengine_requests_total{proxy=\"{}\",request=\"query\"}"
                .replace("{}", &gateway.address.to_string())
                .as_str()
        ),
        1.0
    );
}

#[test]
fn unknown_keys_and_flags_are_ignored_and_warned_of_once() {
    let gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    for _ in 0..2 {
        let reply = ng.ask(&json!({"command": "ping", "xyzzy": 1, "flags": ["plugh"]}));
        assert_eq!(reply["result"], "pong");
    }
    gateway.wait_for_log("plugh");
    assert_eq!(gateway.log().matches("\"xyzzy\"").count(), 1, "{}", gateway.log());
    assert_eq!(gateway.log().matches("\"plugh\"").count(), 1, "{}", gateway.log());
}

#[test]
fn an_exhausted_port_range_has_the_words_that_controllers_fail_over_on() {
    let gateway = Gateway::start(&["--ports", "20000-20007"]);
    let mut ng = gateway.ng();
    let caller = Party::new(gateway.address, 1);
    let offer = |id: &str| {
        json!({
            "command": "offer", "call-id": id, "from-tag": "a", "sdp": caller.sdp("RTP/AVP", ""),
        })
    };
    let replies: Vec<_> = ["1", "2", "3", "4", "5"].iter().map(|id| ng.ask(&offer(id))).collect();
    let refused: Vec<_> = replies.iter().filter(|reply| reply["result"] == "error").collect();
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|reply| reply["error-reason"] == "Ran out of ports"));
    let up = 5 - refused.len();
    assert_eq!(gateway.metric("postern_calls"), up as f64);
    let (_, events) = gateway.admin("/v1/events");
    assert!(events.contains("limit.reached") && events.contains("--ports"), "{events}");
    let rejected = gateway.metric("rtpengine_closed_sessions_total{reason=\"rejected\"}");
    assert_eq!(rejected, refused.len() as f64);
    let log = gateway.log();
    assert!(log.contains("relay.ports (--ports) is 20000-20007: widen it"), "{log}");
    let event = log.lines().find(|line| line.contains("limit.reached")).unwrap();
    assert!(event.contains("WARN") && event.contains("are taken"), "{event}");

    ng.ask(&json!({"command": "delete", "call-id": "1", "delete-delay": 0}));
    assert_eq!(ng.ask(&offer("again"))["result"], "ok");
}

#[test]
fn what_is_odd_about_many_calls_is_in_each_reply_and_in_the_log_once() {
    let gateway = Gateway::start(&[]);
    let mut ng = gateway.ng();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
        gateway.address
    );
    let words = "direction names an unknown interface: the default one is used";
    for id in ["odd-1", "odd-2", "odd-3"] {
        let reply = ng.ask(&json!({
            "command": "offer", "call-id": id, "from-tag": "a", "sdp": sdp, "direction": ["nowhere"]
        }));
        assert_eq!(reply["warning"], words, "{reply}");
    }
    gateway.wait_for_log(words);
    let log = gateway.log();
    assert_eq!(log.matches(words).count(), 1, "{log}");
    assert!(log.contains("call_id=odd-1"), "{log}");
}
