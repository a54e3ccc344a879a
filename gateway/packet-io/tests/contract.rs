//! What every driver promises, run against each of them.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed test panics")]
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use packet_io::{
    Driver, Epoll, Received, SocketOptions, Token, Turn, Uring, Verdict, clock, open_media_socket,
    uring, wait_readable,
};

/// How long anything may take before a test says it never came.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOPBACK: &str = "127.0.0.1:0";
const BUDGET: usize = 256;

fn epoll() -> Option<Epoll> {
    Some(Epoll::new().expect("every Linux has epoll"))
}

fn uring() -> Option<Uring> {
    uring_with(&uring::Config::default())
}

fn uring_with(config: &uring::Config) -> Option<Uring> {
    match Uring::new(config) {
        Ok(driver) => Some(driver),
        Err(error) => {
            println!("SKIPPED: io_uring cannot be set up here: {error}");
            None
        }
    }
}

/// Makes each claim a test of each driver.
macro_rules! contract {
    ($($claim:ident)*) => { $(mod $claim {
        #[test]
        fn epoll() {
            if let Some(driver) = super::epoll() { super::claims::$claim(driver); }
        }
        #[test]
        fn uring() {
            if let Some(driver) = super::uring() { super::claims::$claim(driver); }
        }
        #[test]
        fn uring_cooperative() {
            let config = super::uring::Config {
                task_run: super::uring::TaskRun::Cooperative,
                ..Default::default()
            };
            if let Some(driver) = super::uring_with(&config) { super::claims::$claim(driver); }
        }
        #[test]
        fn uring_cooperative_ring_wake() {
            let config = super::uring::Config {
                task_run: super::uring::TaskRun::Cooperative,
                wake: super::uring::Wake::Ring,
                ..Default::default()
            };
            if let Some(driver) = super::uring_with(&config) { super::claims::$claim(driver); }
        }
    })* };
}

contract! {
    delivers_payload_source_and_timestamp
    relays_over_ipv6
    sends_grown_and_shrunk_in_place
    serves_many_sockets
    honours_the_budget
    loses_no_wake_up
}

fn media(address: &str) -> (UdpSocket, SocketAddr) {
    let address = address.parse().unwrap();
    let socket = open_media_socket(address, SocketOptions::default()).unwrap();
    let local = socket.local_addr().unwrap();
    (socket, local)
}

fn peer(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Takes turns until `enough` says so, sleeping on the driver's descriptor in between.
fn run_until<D, F>(driver: &mut D, mut relay: F, mut enough: impl FnMut(&Turn) -> bool)
where
    D: Driver,
    F: FnMut(Received<'_>) -> Verdict,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let turn = driver.turn(BUDGET, &mut relay).unwrap();
        if enough(&turn) {
            return;
        }
        assert!(Instant::now() < deadline, "did not come in {PATIENCE:?}");
        if !turn.more {
            wait_readable(driver.readiness(), PATIENCE).unwrap();
        }
    }
}

mod claims {
    use super::*;

    pub(super) fn delivers_payload_source_and_timestamp(mut driver: impl Driver) {
        let (socket, to) = media(LOOPBACK);
        driver.add(Token(7), socket).unwrap();
        driver.flush().unwrap();
        let peer = peer(LOOPBACK);
        let before = clock::realtime_ns();
        peer.send_to(b"a packet", to).unwrap();
        let mut seen = 0;
        let check = |packet: Received<'_>| {
            assert_eq!(packet.token, Token(7));
            assert_eq!(packet.source, peer.local_addr().unwrap());
            assert_eq!(&packet.buffer[packet.range.clone()], b"a packet");
            assert!((before..=clock::realtime_ns()).contains(&packet.timestamp_ns));
            assert_eq!((packet.kernel_drops, packet.truncated), (0, false));
            assert!(packet.range.start >= Received::HEADROOM);
            assert!(packet.buffer.len() - packet.range.end >= Received::TAILROOM);
            Verdict::Drop
        };
        run_until(&mut driver, check, |turn| {
            seen += turn.received;
            seen == 1
        });
    }

    pub(super) fn relays_over_ipv6(mut driver: impl Driver) {
        let (inbound, to) = media("[::1]:0");
        let (outbound, from) = media("[::1]:0");
        driver.add(Token(0), inbound).unwrap();
        driver.add(Token(1), outbound).unwrap();
        driver.flush().unwrap();
        let peer = peer("[::1]:0");
        peer.send_to(b"six", to).unwrap();
        let relay = |packet: Received<'_>| Verdict::Send {
            from: Token(1),
            to: packet.source,
            range: packet.range,
        };
        run_until(&mut driver, relay, |turn| turn.sent == 1);
        let mut buffer = [0; 16];
        assert_eq!(peer.recv_from(&mut buffer).unwrap(), (3, from));
        assert_eq!(&buffer[..3], b"six");
    }

    pub(super) fn sends_grown_and_shrunk_in_place(mut driver: impl Driver) {
        let (socket, to) = media(LOOPBACK);
        driver.add(Token(0), socket).unwrap();
        driver.flush().unwrap();
        let peer = peer(LOOPBACK);
        for (before, after) in [(0, Received::TAILROOM), (Received::HEADROOM, 0)] {
            let payload: Vec<u8> = (0..Received::MAX_PACKET).map(|at| at as u8).collect();
            peer.send_to(&payload, to).unwrap();
            let grow = |packet: Received<'_>| {
                let range = packet.range.start - before..packet.range.end + after;
                packet.buffer[range.start..packet.range.start].fill(0xaa);
                packet.buffer[packet.range.end..range.end].fill(0xbb);
                Verdict::Send { from: Token(0), to: packet.source, range }
            };
            run_until(&mut driver, grow, |turn| turn.sent == 1);
            let expected = [vec![0xaa; before], payload, vec![0xbb; after]].concat();
            let mut buffer = [0; 4096];
            let (length, _) = peer.recv_from(&mut buffer).unwrap();
            assert!(buffer[..length] == expected);
        }
        peer.send_to(b"0123456789", to).unwrap();
        let shrink = |packet: Received<'_>| Verdict::Send {
            from: Token(0),
            to: packet.source,
            range: packet.range.start + 2..packet.range.end - 3,
        };
        run_until(&mut driver, shrink, |turn| turn.sent == 1);
        let mut buffer = [0; 16];
        let (length, _) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"23456");
    }

    pub(super) fn serves_many_sockets(mut driver: impl Driver) {
        const SOCKETS: u32 = 1000;
        const EACH: usize = 3;
        let addresses: Vec<_> = (0..SOCKETS)
            .map(|token| {
                let (socket, address) = media(LOOPBACK);
                driver.add(Token(token), socket).unwrap();
                address
            })
            .collect();
        driver.flush().unwrap();
        let peer = peer(LOOPBACK);
        let mut counts = vec![0; SOCKETS as usize];
        for round in 0..EACH {
            for (token, address) in addresses.iter().enumerate() {
                peer.send_to(&(token as u32).to_be_bytes(), address).unwrap();
            }
            let count = |packet: Received<'_>| {
                let named = packet.buffer[packet.range.clone()].try_into().unwrap();
                assert_eq!(packet.token, Token(u32::from_be_bytes(named)));
                counts[packet.token.0 as usize] += 1;
                Verdict::Drop
            };
            let mut seen = 0;
            run_until(&mut driver, count, |turn| {
                seen += turn.received;
                seen == SOCKETS as usize
            });
            assert!(counts.iter().all(|&count| count == round + 1));
        }
    }

    pub(super) fn honours_the_budget(mut driver: impl Driver) {
        let peer = peer(LOOPBACK);
        for token in 0..20 {
            let (socket, to) = media(LOOPBACK);
            driver.add(Token(token), socket).unwrap();
            for _ in 0..5 {
                peer.send_to(b"x", to).unwrap();
            }
        }
        let mut left = 100;
        while left > 0 {
            let mut called = 0;
            let turn = driver
                .turn(7, |_| {
                    called += 1;
                    Verdict::Drop
                })
                .unwrap();
            assert!(turn.received <= 7 && called == turn.received);
            left -= turn.received;
            assert!(turn.more || left == 0, "{left} packets left but no more promised");
        }
    }

    pub(super) fn loses_no_wake_up(mut driver: impl Driver) {
        const ROUNDS: u32 = 10_000;
        let (socket, to) = media(LOOPBACK);
        driver.add(Token(0), socket).unwrap();
        driver.flush().unwrap();
        let peer = peer(LOOPBACK);
        let sender = peer.try_clone().unwrap();
        let ping = std::thread::spawn(move || {
            let mut buffer = [0; 4];
            for round in 0..ROUNDS {
                // Varies where in the driver's turn the packet lands.
                (0..round % 200).for_each(|_| std::hint::spin_loop());
                sender.send_to(&round.to_be_bytes(), to).unwrap();
                sender.recv(&mut buffer).expect("the driver slept through a packet");
                assert_eq!(buffer, round.to_be_bytes());
            }
        });
        let relay = |packet: Received<'_>| Verdict::Send {
            from: Token(0),
            to: packet.source,
            range: packet.range,
        };
        let mut seen = 0;
        run_until(&mut driver, relay, |turn| {
            seen += turn.received;
            seen == ROUNDS as usize
        });
        ping.join().unwrap();
    }
}
