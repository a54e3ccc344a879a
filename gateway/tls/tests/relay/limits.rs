//! What is too much, too slow or too silent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use gateway_control::EventKind;

use crate::support::{PATIENCE, Pki, Relay, accept, echo, read_exactly, sbc, until};

fn closed(mut socket: &TcpStream) -> bool {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    !matches!(socket.read(&mut [0; 1]), Ok(1..))
}

#[test]
fn beyond_max_connections_the_next_is_closed_and_a_place_that_comes_free_is_given_again() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let mut settings = pki.terminate(&[address]);
    settings.limits.max_connections = 2;
    let mut relay = Relay::start(vec![settings]);
    let served = || {
        let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
        client.write_all(b"served").unwrap();
        assert_eq!(read_exactly(&mut client, 6), b"served");
        client
    };
    let (first, _second) = (served(), served());
    for _ in 0..3 {
        assert!(closed(&TcpStream::connect(relay.address(0)).unwrap()));
    }
    assert!(relay.counters().refused.contains(&("max_connections", 3)));
    drop(first);
    until("a place comes free", || relay.relay.connections() < 2);
    drop(served());
    let told = std::iter::from_fn(|| relay.notices.try_recv().ok())
        .filter(|notice| notice.kind == EventKind::LimitReached)
        .count();
    assert_eq!(told, 1, "once in a while");
}

#[test]
fn beyond_max_handshakes_the_next_is_closed_and_established_ones_do_not_count() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let mut settings = pki.terminate(&[address]);
    settings.limits.max_handshakes = 2;
    let relay = Relay::start(vec![settings]);
    let _up: Vec<_> =
        (0..4).map(|_| pki.connect(&rustls::version::TLS13, relay.address(0))).collect();
    // A client is done a flight before the server is.
    until("all are up", || relay.counters().open == 4 && relay.counters().handshaking == 0);
    let _half: Vec<_> = (0..2).map(|_| TcpStream::connect(relay.address(0)).unwrap()).collect();
    until("two are under way", || relay.counters().handshaking == 2);
    assert!(closed(&TcpStream::connect(relay.address(0)).unwrap()));
    assert!(relay.counters().refused.contains(&("max_handshakes", 1)));
    drop(listener);
}

#[test]
fn a_handshake_has_one_time_limit_however_its_bytes_come() {
    let pki = Pki::new();
    let (_listener, address) = sbc();
    let mut settings = pki.terminate(&[address]);
    settings.limits.handshake_timeout = Duration::from_millis(600);
    let relay = Relay::start(vec![settings]);
    let begun = Instant::now();
    let silent = TcpStream::connect(relay.address(0)).unwrap();
    let mut slow = TcpStream::connect(relay.address(0)).unwrap();
    // A record that says it is long, byte by byte: always something new, never done.
    let _header = slow.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
    while begun.elapsed() < Duration::from_millis(1500) && slow.write_all(&[7]).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(closed(&silent) && closed(&slow));
    until("both are counted", || {
        let handshakes = relay.counters().handshakes;
        handshakes.iter().any(|one| one.result == "timeout" && one.count == 2)
    });
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[test]
fn an_idle_connection_is_closed_properly_and_a_talking_one_is_not() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let mut settings = pki.terminate(&[address]);
    settings.limits.idle_timeout = Some(Duration::from_millis(800));
    let relay = Relay::start(vec![settings]);
    let mut idle = pki.connect(&rustls::version::TLS13, relay.address(0));
    let mut idle_sbc = accept(&listener);
    let mut talking = pki.connect(&rustls::version::TLS13, relay.address(0));
    let mut talking_sbc = accept(&listener);
    for _ in 0..10 {
        talking.write_all(b"\r\n\r\n").unwrap();
        assert_eq!(read_exactly(&mut talking_sbc, 4), b"\r\n\r\n");
        std::thread::sleep(Duration::from_millis(150));
    }
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "close_notify");
    assert_eq!(idle_sbc.read(&mut [0; 1]).unwrap(), 0, "a FIN");
    assert_eq!((relay.ended("idle"), relay.counters().open), (1, 1));
}

#[test]
fn a_failed_handshake_ends_in_an_alert_that_is_counted() {
    let pki = Pki::new();
    let (_listener, address) = sbc();
    let mut settings = pki.terminate(&[address]);
    settings.identity.versions.tls12 = false;
    let relay = Relay::start(vec![settings]);
    let config = std::sync::Arc::new(pki.client_config(&rustls::version::TLS12));
    let error = crate::support::connect(config, relay.address(0)).unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    until("it is counted", || {
        relay.counters().alerts.iter().any(|alert| alert.code == 70 && alert.count == 1)
    });
    // A port scan is no failed handshake of anybody's.
    drop(TcpStream::connect(relay.address(0)).unwrap());
    until("it is counted apart", || {
        relay.counters().handshakes.iter().any(|one| one.result == "silent")
    });
}

#[test]
fn one_that_goes_on_sending_after_its_refusal_is_closed_and_holds_nobody_up() {
    let pki = Pki::new();
    let (_listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let mut flood = TcpStream::connect(relay.address(0)).unwrap();
    flood.set_write_timeout(Some(PATIENCE)).unwrap();
    flood.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let megabyte = vec![b'x'; 1 << 20];
    let sent = (0..256).take_while(|_| flood.write_all(&megabyte).is_ok()).count();
    assert!(sent < 32, "{sent} MiB were listened to");
}

#[test]
fn an_end_in_the_middle_of_data_does_not_look_like_a_proper_one() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let mut settings = pki.terminate(&[address]);
    settings.limits.idle_timeout = Some(Duration::from_millis(500));
    let relay = Relay::start(vec![settings]);
    let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
    let mut sbc = accept(&listener);
    client.sock.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while client.write_all(&[7; 1 << 16]).is_ok() {}
    until("the SBC that reads nothing costs the connection", || relay.ended("idle") == 1);
    let end = std::io::copy(&mut sbc, &mut std::io::sink());
    assert!(end.is_err(), "a FIN after {end:?} bytes of more");
}
