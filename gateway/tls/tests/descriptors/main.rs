//! A process that is out of descriptors pauses, says so, and goes on when there are some again. Alone
//! in its process, as it uses them all up.
#![cfg(test)]

#[expect(dead_code, reason = "the tests of the relay use the rest")]
#[path = "../relay/support.rs"]
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;

use gateway_control::EventKind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::{Pki, Relay, echo, read_exactly, sbc, until};

#[test]
fn without_descriptors_the_relay_pauses_and_says_so_and_then_serves_again() {
    let limit = Rlimit { current: Some(256), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let pki = Pki::new();
    let (listener, address) = sbc();
    echo(listener);
    let mut relay = Relay::start(vec![pki.terminate(&[address])]);
    let mut lasting = pki.connect(&rustls::version::TLS13, relay.address(0));
    lasting.write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&mut lasting, 5), b"hello");

    // One is kept for the client, and none is left for its other end.
    let kept = File::open("/dev/null").unwrap();
    let mut used = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        used.push(file);
    }
    drop(kept);
    let waiting = TcpStream::connect(relay.address(0)).unwrap();
    until("it is told", || {
        let notice = relay.notices.try_recv().ok();
        notice.is_some_and(|notice| {
            notice.kind == EventKind::LimitReached && notice.reason.contains("LimitNOFILE")
        })
    });
    let paused = std::time::Instant::now();
    let before = relay.counters().refused.iter().find(|(name, _)| *name == "resources").unwrap().1;
    std::thread::sleep(std::time::Duration::from_millis(500));
    let after = relay.counters().refused.iter().find(|(name, _)| *name == "resources").unwrap().1;
    let tries = paused.elapsed().as_millis() as u64 / 100 + 1;
    assert!(after - before <= 2 * tries, "{} tries: two threads spin", after - before);
    lasting.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut lasting, 10), b"still here");

    drop((used, waiting));
    let mut late = pki.connect(&rustls::version::TLS13, relay.address(0));
    late.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    late.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}
