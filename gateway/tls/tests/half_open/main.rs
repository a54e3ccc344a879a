//! Ten thousand peers that begin a handshake and say no more. Alone in its process, as it measures
//! its memory.
#![cfg(test)]

#[expect(dead_code, reason = "the tests of the relay use the rest")]
#[path = "../relay/support.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use crate::support::{Pki, Relay, accept, read_exactly, sbc, until};

const PEERS: usize = 10_000;

/// Not a test of its own: the other end, in a process of its own, as one process may not have as
/// many descriptors as both ends need.
#[test]
#[ignore = "run by the test below"]
fn peers() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let address: SocketAddr = address.parse().unwrap();
    let _held: Vec<_> = (0..PEERS)
        .map(|number| {
            let mut peer = TcpStream::connect(address).unwrap();
            // Half of them say nothing at all, half the beginning of a hello.
            if number % 2 == 0 {
                peer.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).unwrap();
            }
            peer
        })
        .collect();
    println!("\n{CONNECTED}");
    let _until_told = std::io::stdin().read(&mut [0; 1]);
}

#[test]
fn ten_thousand_half_open_handshakes_cost_little_and_live_connections_go_on() {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if descriptors.maximum.is_some_and(|maximum| maximum < PEERS as u64 + 500) {
        println!("SKIPPED half_open: {descriptors:?} descriptors are too few");
        return;
    }
    let raised = rustix::process::Rlimit { current: descriptors.maximum, ..descriptors };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let pki = Pki::new();
    let (listener, address) = sbc();
    let mut settings = pki.terminate(&[address]);
    settings.limits.max_connections = PEERS + 10;
    settings.limits.max_handshakes = PEERS + 1;
    settings.limits.handshake_timeout = std::time::Duration::from_secs(600);
    let relay = Relay::start(vec![settings]);
    let mut lasting = pki.connect(&rustls::version::TLS13, relay.address(0));
    let mut sbc = accept(&listener);
    let before = resident();
    let mut peers = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "peers", "--ignored", "--nocapture"])
        .env(ADDRESS, relay.address(0).to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(peers.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(CONNECTED) {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "the peers died");
        lasting.write_all(b"\r\n\r\n").unwrap();
        assert_eq!(read_exactly(&mut sbc, 4), b"\r\n\r\n");
    }
    until("all are under way", || relay.counters().handshaking == PEERS as u64);
    for _ in 0..100 {
        lasting.write_all(b"\r\n\r\n").unwrap();
        assert_eq!(read_exactly(&mut sbc, 4), b"\r\n\r\n");
    }
    // And one more client is served, handshake and all.
    drop(pki.connect(&rustls::version::TLS13, relay.address(0)));
    let each = resident().saturating_sub(before) / PEERS as u64;
    assert!(each < 8192, "{each} bytes for each half-open handshake");
    println!("{each} bytes for each half-open handshake");
    drop(peers.stdin.take());
    peers.wait().unwrap();
    until("they are gone", || relay.counters().handshaking == 0);
}

/// Memory in use, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

const ADDRESS: &str = "POSTERN_TEST_HALF_OPEN";
const CONNECTED: &str = "all peers are connected";
