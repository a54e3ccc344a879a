//! How connections end: each side learns what the other did.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use crypto_offload::Direction;
use tls_relay::AlertCount;

use crate::support::{BOTH, Pki, Relay, accept, read_exactly, sbc, until};

#[test]
fn close_notify_becomes_a_fin_and_the_other_way_goes_on() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    for version in BOTH {
        let mut client = pki.connect(version, relay.address(0));
        let mut sbc = accept(&listener);
        client.write_all(b"last words").unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        let mut heard = Vec::new();
        sbc.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"last words");
        sbc.write_all(b"an answer").unwrap();
        assert_eq!(read_exactly(&mut client, 9), b"an answer");
        drop(sbc);
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "close_notify");
    }
    until("both are counted", || relay.ended("closed") == 2);
    assert_eq!(relay.relay.connections(), 0);
}

#[test]
fn a_fin_becomes_close_notify_and_the_other_way_goes_on() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    for version in BOTH {
        let mut client = pki.connect(version, relay.address(0));
        let mut sbc = accept(&listener);
        sbc.write_all(b"last words").unwrap();
        sbc.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        // rustls takes an end without close_notify for an error.
        client.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"last words");
        client.write_all(b"an answer").unwrap();
        assert_eq!(read_exactly(&mut sbc, 9), b"an answer");
        client.conn.send_close_notify();
        client.flush().unwrap();
        assert_eq!(sbc.read(&mut [0; 1]).unwrap(), 0);
    }
    until("both are counted", || relay.ended("closed") == 2);
}

#[test]
fn a_client_that_is_cut_off_is_a_reset_to_the_sbc_after_all_it_said() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
    let mut sbc = accept(&listener);
    client.write_all(b"half a sen").unwrap();
    assert_eq!(read_exactly(&mut sbc, 10), b"half a sen");
    client.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(sbc.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    until("it is counted", || relay.ended("truncated") == 1);
}

#[test]
fn a_reset_by_the_sbc_is_no_proper_end_to_the_client() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
    let sbc = accept(&listener);
    socket2::SockRef::from(&sbc).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(sbc);
    assert!(client.read(&mut [0; 1]).is_err());
    until("it is counted", || relay.ended("plain_reset") == 1);
}

#[test]
fn a_record_that_does_not_open_ends_in_an_alert_and_a_reset() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
    let mut sbc = accept(&listener);
    client.sock.write_all(&[23, 3, 3, 0, 32]).unwrap();
    client.sock.write_all(&[7; 32]).unwrap();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    assert_eq!(sbc.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    until("it is counted", || relay.ended("protocol") == 1);
    let alerts = relay.counters().alerts;
    let bad_record_mac = AlertCount { direction: Direction::Outbound, code: 20, count: 1 };
    assert_eq!(alerts, [bad_record_mac], "so is the alert, once");
}
