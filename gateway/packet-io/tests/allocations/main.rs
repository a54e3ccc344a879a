//! The drivers allocate nothing per turn once they run: measured with a counting allocator.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod sys;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use packet_io::{
    Config, Driver, Epoll, Received, SocketOptions, Token, Uring, Verdict, open_media_socket,
    wait_readable,
};

#[global_allocator]
static COUNTING: sys::Counting = sys::Counting;

const SOCKETS: u32 = 50;
const PATIENCE: Duration = Duration::from_secs(10);

/// Relays `rounds` packets per socket; what the turns allocated in the last half of the rounds.
fn allocations_of(mut driver: impl Driver, rounds: u32) -> u64 {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addresses: Vec<_> = (0..SOCKETS)
        .map(|token| {
            let any = "127.0.0.1:0".parse().unwrap();
            let socket = open_media_socket(any, SocketOptions::default()).unwrap();
            let address = socket.local_addr().unwrap();
            driver.add(Token(token), socket).unwrap();
            address
        })
        .collect();
    driver.flush().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut allocated = 0;
    for round in 0..rounds {
        for address in &addresses {
            peer.send_to(b"steady", address).unwrap();
        }
        let mut left = SOCKETS as usize;
        let before = sys::allocations();
        while left > 0 {
            assert!(Instant::now() < deadline, "{left} packets did not come");
            let echo = |packet: Received<'_>| Verdict::Send {
                from: packet.token,
                to: packet.source,
                range: packet.range,
            };
            let turn = driver.turn(16, echo).unwrap();
            left -= turn.received;
            if !turn.more && left > 0 {
                wait_readable(driver.readiness(), PATIENCE).unwrap();
            }
        }
        if round >= rounds / 2 {
            allocated += sys::allocations() - before;
        }
    }
    allocated
}

#[test]
fn the_counter_counts() {
    let before = sys::allocations();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(sys::allocations() - before, 1);
}

#[test]
fn epoll_turns_allocate_nothing() {
    assert_eq!(allocations_of(Epoll::new(&Config::default()).unwrap(), 40), 0);
}

/// With few buffers, so that receives end and are armed again all the time.
#[test]
fn uring_turns_allocate_nothing_even_when_buffers_run_out() {
    for buffers in [8, 1024] {
        match Uring::new(&Config { buffers, ..Config::default() }) {
            Ok(driver) => assert_eq!(allocations_of(driver, 40), 0, "with {buffers} buffers"),
            Err(error) => println!("SKIPPED: {error}"),
        }
    }
}
