//! What goes in comes out.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::support::{
    BOTH, Pki, Relay, accept, accept_tls, echo, pattern, read_exactly, sbc, until,
};

#[test]
fn data_is_the_same_on_both_sides_whatever_the_version_and_the_direction_of_tls() {
    let pki = Pki::new();
    let own = pki.issue("localhost");
    for version in BOTH {
        let ((plain, sbc_address), (carrier, carrier_address)) = (sbc(), sbc());
        let relay =
            Relay::start(vec![pki.terminate(&[sbc_address]), pki.originate(&[carrier_address])]);
        echo(plain);
        let config = pki.server_config(version, &own);
        let carrier = std::thread::spawn(move || {
            let mut server = accept_tls(&carrier, &config);
            let mut buffer = vec![0; 30_000];
            while let Ok(count) = server.read(&mut buffer)
                && count > 0
            {
                server.write_all(&buffer[..count]).unwrap();
            }
            server.conn.send_close_notify();
            server.flush().unwrap();
        });
        let mut inward = pki.connect(version, relay.address(0));
        exchange(&mut inward);
        let mut outward = std::net::TcpStream::connect(relay.address(1)).unwrap();
        exchange(&mut outward);
        outward.shutdown(Shutdown::Write).unwrap();
        assert_eq!(outward.read(&mut [0; 1]).unwrap(), 0);
        carrier.join().unwrap();
    }
}

/// Writes of all sizes, and what comes back.
fn exchange(peer: &mut (impl Read + Write)) {
    let sent = pattern(300_000);
    let mut rest = sent.as_slice();
    for size in [1, 2, 500, 16_384, 16_385, 1, 65_536, 100_000].into_iter().cycle() {
        let (now, later) = rest.split_at(size.min(rest.len()));
        peer.write_all(now).unwrap();
        assert_eq!(read_exactly(peer, now.len()), now);
        rest = later;
        if rest.is_empty() {
            return;
        }
    }
}

#[test]
fn keep_alives_pass_untouched_and_at_once() {
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    for version in BOTH {
        let mut client = pki.connect(version, relay.address(0));
        let mut sbc = accept(&listener);
        // RFC 5626 section 4.4.1: a double CRLF is the ping, a single one the pong.
        client.write_all(b"\r\n\r\n").unwrap();
        assert_eq!(read_exactly(&mut sbc, 4), b"\r\n\r\n");
        sbc.write_all(b"\r\n").unwrap();
        assert_eq!(read_exactly(&mut client, 2), b"\r\n");
    }
}

#[test]
fn a_slow_reader_slows_its_writer_down_and_loses_nothing() {
    const ALL: usize = 48 << 20;
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
    let mut sbc = accept(&listener);
    let sent = pattern(ALL);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            client.write_all(&sent).unwrap();
            client.conn.send_close_notify();
            client.flush().unwrap();
        });
        // Nobody reads: what is on the way fills the kernel's buffers, and the relay stops.
        let mut moved = 0;
        until("the relay stops reading", || {
            std::thread::sleep(Duration::from_millis(200));
            let before = std::mem::replace(&mut moved, relay.counters().bytes_in);
            before == moved && moved > 0
        });
        assert!(moved < ALL as u64 / 2, "{moved} bytes were read for nobody");
        assert!(!writer.is_finished());
        let mut received = Vec::with_capacity(ALL);
        sbc.read_to_end(&mut received).unwrap();
        assert!(received == sent);
    });
}

#[test]
fn a_slow_tls_reader_slows_the_sbc_down_and_loses_nothing() {
    const ALL: usize = 48 << 20;
    let pki = Pki::new();
    let (listener, address) = sbc();
    let relay = Relay::start(vec![pki.terminate(&[address])]);
    let mut client = pki.connect(&rustls::version::TLS13, relay.address(0));
    let mut sbc = accept(&listener);
    let sent = pattern(ALL);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sbc.write_all(&sent).unwrap();
            sbc.shutdown(Shutdown::Write).unwrap();
        });
        let mut moved = 0;
        until("the relay stops reading", || {
            std::thread::sleep(Duration::from_millis(200));
            let before = std::mem::replace(&mut moved, relay.counters().bytes_out);
            before == moved && moved > 0
        });
        assert!(moved < ALL as u64 / 2, "{moved} bytes were read for nobody");
        let mut received = Vec::with_capacity(ALL);
        client.read_to_end(&mut received).unwrap();
        assert!(received == sent);
    });
}
