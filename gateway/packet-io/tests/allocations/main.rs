//! The drivers allocate nothing per turn once they run, nor do ESP sockets and TUN devices:
//! measured with a counting allocator.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod sys;

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use packet_io::esp::{EspOptions, EspSocket};
use packet_io::tun::{Link, Tun};
use packet_io::{
    Config, Driver, Epoll, Offload, PacketBatch, Peer, Received, SocketOptions, Token, Uring,
    Verdict, WaitSet, open_media_socket, wait_readable,
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

#[test]
fn esp_sockets_allocate_nothing() {
    for offload in [Offload::Auto, Offload::Off] {
        let options = EspOptions { offload, ..EspOptions::default() };
        let local = "127.0.0.1:0".parse().unwrap();
        let mut socket = EspSocket::udp(Token(0), local, &options).unwrap();
        let mut set = WaitSet::new().unwrap();
        set.add(Token(0), &socket).unwrap();
        let mut outgoing = PacketBatch::new(64, 1400);
        for number in 0..64 {
            let length = if number % 10 == 9 { 100 } else { 1000 };
            assert!(outgoing.push(&vec![1; length], Token(0), Peer::new(&socket.local())));
        }
        let mut incoming = socket.batch(16);
        let mut round = || {
            assert_eq!(socket.send(&outgoing).packets, 64);
            let mut left = 64;
            while left > 0 {
                assert_eq!(set.wait(Some(PATIENCE)).unwrap().count(), 1, "{left} did not come");
                left -= socket.receive(&mut incoming).unwrap();
            }
        };
        assert_eq!(allocations_of_rounds(&mut round), 0, "{offload:?}");
    }
}

#[test]
fn a_device_allocates_nothing() {
    let run = || {
        if let Err(error) = sys::unshare_network() {
            println!("SKIPPED a_device_allocates_nothing: a network namespace needs root: {error}");
            return;
        }
        let mut tun = Tun::open(&"esp0".parse().unwrap(), Offload::Auto).unwrap();
        let mut link = Link::open(tun.name()).unwrap();
        link.set_up().unwrap();
        link.add_address("10.9.0.1".parse().unwrap(), 24).unwrap();
        let sender = UdpSocket::bind("10.9.0.1:0").unwrap();
        let there: SocketAddr = "10.9.0.2:9".parse().unwrap();
        let mut batch = tun.batch(64, 1500);
        let mut round = || {
            for _ in 0..32 {
                sender.send_to(&[7; 1000], there).unwrap();
            }
            let mut left = 32;
            while left > 0 {
                assert!(wait_readable(&tun, PATIENCE).unwrap(), "{left} did not come");
                let _ = tun.read(&mut batch).unwrap();
                left -= batch.packets().filter(|(_, packet)| packet.len() == 1028).count();
                // Back as they are: joined, and nobody's.
                assert_eq!(tun.write(&batch).unwrap().packets, batch.len());
            }
        };
        assert_eq!(allocations_of_rounds(&mut round), 0);
    };
    thread::spawn(run).join().unwrap();
}

/// What later rounds allocate, when the first has made everything as large as it gets.
fn allocations_of_rounds(round: &mut impl FnMut()) -> u64 {
    round();
    let before = sys::allocations();
    (0..20).for_each(|_| round());
    sys::allocations() - before
}
