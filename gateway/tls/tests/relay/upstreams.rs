//! Which upstream serves.

use std::io::{Read, Write};
use std::time::Duration;

use gateway_control::EventKind;

use crate::support::{BOTH, Pki, Relay, accept, accept_tls, nobody, read_exactly, sbc, until};

#[test]
fn the_next_upstream_serves_where_the_first_refuses_and_the_first_again_when_it_is_back() {
    let pki = Pki::new();
    let first = nobody();
    let (second, second_address) = sbc();
    let mut settings = pki.terminate(&[first, second_address]);
    settings.limits.upstream_retry = Duration::from_millis(500);
    let mut relay = Relay::start(vec![settings]);
    let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
    client.write_all(b"not lost").unwrap();
    assert_eq!(read_exactly(&mut accept(&second), 8), b"not lost");
    let upstreams = relay.relay.status(0, 0).listeners.remove(0).upstreams;
    assert!(!upstreams[0].up && upstreams[1].up, "{upstreams:?}");
    let kinds: Vec<_> = std::iter::from_fn(|| relay.notices.try_recv().ok()).collect();
    assert!(kinds.iter().any(|notice| notice.kind == EventKind::TlsUpstreamDown
        && notice.object.contains(&first.to_string())
        && notice.reason.contains("refused")));

    let back = std::net::TcpListener::bind(first).unwrap();
    back.set_nonblocking(true).unwrap();
    until("the first serves again", || {
        let _client = pki.connect(&rustls::version::TLS13, relay.address(0));
        std::thread::sleep(Duration::from_millis(50));
        back.accept().is_ok()
    });
    let kinds: Vec<_> = std::iter::from_fn(|| relay.notices.try_recv().ok()).collect();
    assert!(kinds.iter().any(|notice| notice.kind == EventKind::TlsUpstreamUp));
}

#[test]
fn an_upstream_that_does_not_answer_is_left_after_its_time() {
    let pki = Pki::new();
    // A queue that is full: the kernel drops what knocks.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&crate::support::any_port().into()).unwrap();
    silent.listen(0).unwrap();
    let silent_address = silent.local_addr().unwrap().as_socket().unwrap();
    let full: Vec<_> = (0..2)
        .map(|_| std::net::TcpStream::connect_timeout(&silent_address, Duration::from_millis(200)))
        .collect();
    let (second, second_address) = sbc();
    let mut settings = pki.terminate(&[silent_address, second_address]);
    settings.limits.connect_timeout = Duration::from_millis(300);
    let relay = Relay::start(vec![settings]);
    let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
    client.write_all(b"not lost").unwrap();
    assert_eq!(read_exactly(&mut accept(&second), 8), b"not lost");
    let upstreams = relay.counters().upstreams;
    assert_eq!(upstreams[0].failures, [("timeout", 1)]);
    drop(full);
}

#[test]
fn a_client_is_closed_properly_where_no_upstream_is_up() {
    let pki = Pki::new();
    let relay = Relay::start(vec![pki.terminate(&[nobody(), nobody()])]);
    for version in BOTH {
        let mut client = pki.connect(version, relay.address(0));
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "close_notify");
    }
    until("they are counted", || relay.ended("no_upstream") == 2);
}

#[test]
fn a_carrier_whose_certificate_is_wrong_is_passed_over() {
    let pki = Pki::new();
    let (wrong, wrong_address) = sbc();
    let (right, right_address) = sbc();
    let stranger = pki.server_config(&rustls::version::TLS13, &pki.issue("stranger.example"));
    let relay = Relay::start(vec![pki.originate(&[wrong_address, right_address])]);
    let known = pki.server_config(&rustls::version::TLS13, &pki.issue("localhost"));
    std::thread::spawn(move || {
        let socket = accept(&wrong);
        let connection = rustls::ServerConnection::new(stranger).unwrap();
        let mut server = rustls::StreamOwned::new(connection, socket);
        let _refused = server.read(&mut [0; 1]);
    });
    let carrier = std::thread::spawn(move || {
        let mut server = accept_tls(&right, &known);
        read_exactly(&mut server, 8)
    });
    let mut client = std::net::TcpStream::connect(relay.address(0)).unwrap();
    client.write_all(b"not lost").unwrap();
    assert_eq!(carrier.join().unwrap(), b"not lost");
    assert_eq!(relay.counters().upstreams[0].failures, [("handshake", 1)]);
}
