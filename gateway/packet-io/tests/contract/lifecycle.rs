//! Claims about many sockets, their coming and going.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};

use packet_io::{Driver, Received, SocketOptions, Token, Verdict, open_media_socket};

use crate::bench::{BUDGET, LOOPBACK, add, echo, flood, media, payload, peer, run_until};

pub(crate) fn serves_many_sockets(mut driver: impl Driver) {
    const SOCKETS: usize = 1000;
    let addresses: Vec<_> = (0..SOCKETS)
        .map(|token| {
            let (socket, address) = media(LOOPBACK);
            driver.add(Token(token as u32), socket).unwrap();
            address
        })
        .collect();
    driver.flush().unwrap();
    let peer = peer(LOOPBACK);
    let mut counts = vec![0; SOCKETS];
    for round in 1..=3 {
        for (token, address) in addresses.iter().enumerate() {
            peer.send_to(&(token as u32).to_be_bytes(), address).unwrap();
        }
        let count = |packet: Received<'_>| {
            assert_eq!(payload(&packet), packet.token.0.to_be_bytes());
            counts[packet.token.0 as usize] += 1;
            Verdict::Drop
        };
        run_until(&mut driver, count, |sum| sum.received == SOCKETS);
        assert!(counts.iter().all(|&count| count == round));
    }
}

pub(crate) fn honours_the_budget(mut driver: impl Driver) {
    let peer = peer(LOOPBACK);
    for token in 0..20 {
        let to = add(&mut driver, token);
        flood(&peer, to, b"x", 5);
    }
    let mut left = 100;
    while left > 0 {
        let mut called = 0;
        let count = |_: Received<'_>| {
            called += 1;
            Verdict::Drop
        };
        let turn = driver.turn(7, count).unwrap();
        assert!(turn.received <= 7 && called == turn.received);
        left -= turn.received;
        assert!(turn.more || left == 0, "{left} packets left but no more promised");
    }
}

/// The flood never ebbs: for each packet taken another one comes.
pub(crate) fn a_flooded_socket_starves_no_other(mut driver: impl Driver) {
    let (flooded, quiet) = (add(&mut driver, 0), add(&mut driver, 1));
    let peer = peer(LOOPBACK);
    flood(&peer, flooded, b"flood", 100);
    for _ in 0..10 {
        driver.turn(BUDGET, |packet| refill(&peer, flooded, packet)).unwrap();
    }
    peer.send_to(b"quiet", quiet).unwrap();
    let mut heard = false;
    for _ in 0..10 {
        let turn = driver.turn(BUDGET, |packet| {
            heard |= packet.token == Token(1);
            refill(&peer, flooded, packet)
        });
        assert!(turn.unwrap().received > 0, "the flood has ebbed");
    }
    assert!(heard, "one packet waited for ten turns of {BUDGET}");
}

fn refill(peer: &UdpSocket, flooded: SocketAddr, packet: Received<'_>) -> Verdict {
    if packet.token == Token(0) {
        peer.send_to(b"flood", flooded).unwrap();
    }
    Verdict::Drop
}

pub(crate) fn delivers_nothing_to_a_later_owner_of_the_token(mut driver: impl Driver) {
    let peer = peer(LOOPBACK);
    for round in 0..50 {
        let (old, new) = ([round, 0], [round, 1]);
        let to = add(&mut driver, 3);
        flood(&peer, to, &old, 10);
        // Takes one of the ten: the rest are on their way when the socket goes.
        let check = |packet: Received<'_>| {
            assert_eq!(payload(&packet), old);
            Verdict::Drop
        };
        let deadline = std::time::Instant::now() + crate::bench::PATIENCE;
        while driver.turn(1, check).unwrap().received == 0 {
            assert!(std::time::Instant::now() < deadline);
        }
        driver.remove(Token(3));
        let to = add(&mut driver, 3);
        peer.send_to(&new, to).unwrap();
        let check = |packet: Received<'_>| {
            assert_eq!(payload(&packet), new, "a packet of the socket that had gone");
            Verdict::Drop
        };
        run_until(&mut driver, check, |sum| sum.received == 1);
        driver.remove(Token(3));
    }
}

pub(crate) fn frees_the_port_when_removed(mut driver: impl Driver) {
    let peer = peer(LOOPBACK);
    // An address of its own: on a shared one another test may be given the port that was freed.
    let own = own_loopback();
    for round in 0..100 {
        let addresses = [0, 1].map(|token| {
            let (socket, address) = media(&own);
            driver.add(Token(token), socket).unwrap();
            driver.flush().unwrap();
            address
        });
        peer.send_to(b"waiting", addresses[0]).unwrap();
        (0..2).for_each(|token| driver.remove(Token(token)));
        driver.flush().unwrap();
        for address in addresses {
            let again = open_media_socket(address, SocketOptions::default());
            assert!(again.is_ok(), "{address} in round {round}: {again:?}");
        }
    }
    assert!(driver.socket(Token(0)).is_none());
}

/// A loopback address, with port 0, that no other test of this or another process uses.
fn own_loopback() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{}.{}:0", 128 | high >> 1, low, NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn refuses_a_token_in_use(mut driver: impl Driver) {
    let to = add(&mut driver, 0);
    let error = driver.add(Token(0), media(LOOPBACK).0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(driver.socket(Token(0)).unwrap().local_addr().unwrap(), to);
    let peer = peer(LOOPBACK);
    peer.send_to(b"still there", to).unwrap();
    run_until(&mut driver, echo, |sum| sum.sent == 1);
}
