//! The relay on kernels that take TLS records: 6.12, which cannot renew keys, so TLS 1.3 stays in
//! user space there, and 7, which takes both. Peers are rustls in user space.
#![cfg(test)]

#[expect(dead_code, reason = "the tests of the relay use the rest")]
#[path = "../relay/support.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crypto_offload::Placement;
use gateway_control::{TlsConnection, TlsKeyUpdateRequest};
use kernel_tls::TlsStatistics;
use rustls::{ConnectionCommon, SideData, StreamOwned};

use support::{
    BOTH, Client, Pki, Relay, Version, accept, accept_tls, eventually, pattern, read_exactly, sbc,
    until,
};

/// What the VM's kernel does with a version's records, and why not more.
fn expected(version: Version) -> (Placement, Option<&'static str>) {
    let kernel = std::env::var("POSTERN_VM").expect("run in the VM");
    match (kernel.as_str(), version.version) {
        ("6.12", rustls::ProtocolVersion::TLSv1_3) => (Placement::UserSpace, Some("key")),
        _ => (Placement::KernelSoftware, None),
    }
}

fn listed(relay: &Relay) -> TlsConnection {
    eventually("the connection is up", || relay.relay.status(1, 0).connections.pop())
}

fn assert_placed(connection: &TlsConnection, version: Version) {
    let (placement, reason) = expected(version);
    for direction in [&connection.inbound, &connection.outbound] {
        assert_eq!(direction.effective, placement, "{connection:?}");
        let said = direction.reason.as_deref();
        assert_eq!(said.is_some(), reason.is_some(), "{connection:?}");
        assert!(reason.is_none_or(|word| said.unwrap().contains(word)), "{connection:?}");
    }
}

/// Much in one direction, while the other side reads it.
fn pour(from: &mut (impl Write + Send), to: &mut (impl Read + Send), count: usize) {
    let sent = pattern(count);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            from.write_all(&sent).unwrap();
            from.flush().unwrap();
        });
        assert!(read_exactly(to, count) == sent, "bytes were lost, doubled or swapped");
    });
}

fn end<S: SideData, C>(tls: &mut StreamOwned<C, TcpStream>)
where
    C: std::ops::DerefMut<Target = ConnectionCommon<S>>,
{
    tls.conn.send_close_notify();
    tls.flush().unwrap();
}

#[test]
fn data_is_the_same_both_ways_in_bulk_and_in_messages_and_each_end_is_heard() {
    let pki = Pki::new();
    // Other targets of this boot have counted there before.
    let errors = || TlsStatistics::read().unwrap().counter("TlsDecryptError");
    let before = errors();
    for version in BOTH {
        let (listener, address) = sbc();
        let relay = Relay::start(vec![pki.terminate(&[address])]);
        let mut client: Client = pki.connect(version, relay.address(0));
        let mut sbc = accept(&listener);
        client.write_all(b"\r\n\r\n").unwrap();
        assert_eq!(read_exactly(&mut sbc, 4), b"\r\n\r\n");
        assert_placed(&listed(&relay), version);
        pour(&mut client, &mut sbc, 3 << 20);
        pour(&mut sbc, &mut client, 3 << 20);
        for _ in 0..50 {
            pour(&mut client, &mut sbc, 500);
            pour(&mut sbc, &mut client, 500);
        }
        // Half-close, the SBC's answer, then its end.
        client.write_all(b"last words").unwrap();
        end(&mut client);
        let mut heard = Vec::new();
        sbc.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"last words");
        pour(&mut sbc, &mut client, 200_000);
        sbc.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "close_notify");
        until("it is counted", || relay.ended("closed") == 1);
        let counters = relay.counters();
        assert_eq!(counters.bytes_in, (3 << 20) + 4 + 50 * 500 + 10);
        assert_eq!(counters.bytes_out, (3 << 20) + 50 * 500 + 200_000);
        drop(relay);
        assert!(before.is_some() && errors() == before, "{before:?}");
    }
}

#[test]
fn a_connection_to_a_carrier_is_the_kernels_too() {
    let pki = Pki::new();
    let own = pki.issue("localhost");
    for version in BOTH {
        let (listener, address) = sbc();
        let config = pki.server_config(version, &own);
        let relay = Relay::start(vec![pki.originate(&[address])]);
        let carrier = std::thread::spawn(move || {
            let mut server = accept_tls(&listener, &config);
            let received = read_exactly(&mut server, 1 << 20);
            server.write_all(&received).unwrap();
            end(&mut server);
            server
        });
        let mut client = TcpStream::connect(relay.address(0)).unwrap();
        let sent = pattern(1 << 20);
        client.write_all(&sent).unwrap();
        assert_placed(&listed(&relay), version);
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert!(back == sent);
        drop(carrier.join().unwrap());
    }
}

#[test]
fn keys_are_renewed_from_both_sides_while_data_is_spliced() {
    let pki = Pki::new();
    let version = &rustls::version::TLS13;
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let mut client = pki.connect(version, relay.address(0));
    let mut sbc = accept(&listener);
    assert_placed(&listed(&relay), version);
    for round in 1..=8 {
        let report = relay.relay.update_keys(&TlsKeyUpdateRequest::default()).unwrap();
        assert_eq!(report.updated, 1);
        pour(&mut client, &mut sbc, 300_000);
        pour(&mut sbc, &mut client, 300_000);
        client.conn.refresh_traffic_keys().unwrap();
        pour(&mut client, &mut sbc, 300_000);
        pour(&mut sbc, &mut client, 300_000);
        until("our KeyUpdate is counted", || relay.counters().key_updates_sent >= round);
    }
    // Eight of its own, and an answer to each of ours.
    until("the client's are counted", || relay.counters().key_updates_received >= 16);
    end(&mut client);
    assert_eq!(sbc.read(&mut [0; 1]).unwrap(), 0, "a FIN");
}

#[test]
fn a_client_that_is_cut_off_is_a_reset_to_the_sbc() {
    let pki = Pki::new();
    for version in BOTH {
        let (listener, address) = sbc();
        let relay = Relay::start(vec![pki.terminate(&[address])]);
        let mut client = pki.connect(version, relay.address(0));
        let mut sbc = accept(&listener);
        pour(&mut client, &mut sbc, 100_000);
        client.sock.shutdown(Shutdown::Write).unwrap();
        let error = sbc.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        until("it is counted", || relay.ended("truncated") == 1);
    }
}

#[test]
fn a_slow_reader_slows_its_writer_down_through_the_pipe_too() {
    const ALL: usize = 12 << 20;
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let mut client = pki.connect(&rustls::version::TLS12, relay.address(0));
    let mut sbc = accept(&listener);
    let sent = pattern(ALL);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&sent).unwrap();
            end(&mut client);
        });
        let mut moved = 0;
        until("the relay stops reading", || {
            std::thread::sleep(std::time::Duration::from_millis(500));
            let before = std::mem::replace(&mut moved, relay.counters().bytes_in);
            before == moved && moved > 0
        });
        let mut received = Vec::with_capacity(ALL);
        sbc.read_to_end(&mut received).unwrap();
        assert!(received == sent);
    });
}
