//! ESP sockets: what is sent arrives whole, in both kinds and both IPs.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use packet_io::esp::{EspOptions, EspSocket, EspSocketError, Fragmentation, PathEvent, Sent};
use packet_io::{Offload, PacketBatch, Peer, Ready, Token, WaitSet, wait_readable};

use crate::namespace::{alone, pair};

const PATIENCE: Duration = Duration::from_secs(10);
const KINDS: [Kind; 2] = [Kind::Udp, Kind::Raw];
const HOSTS: [[&str; 2]; 2] = [["192.0.2.1", "192.0.2.2"], ["2001:db8::1", "2001:db8::2"]];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Udp,
    Raw,
}

fn options(offload: Offload) -> EspOptions {
    EspOptions { offload, ..EspOptions::default() }
}

/// A socket on `host`. Another test's fork may hold a port that was just closed until its exec.
fn open(kind: Kind, host: &str, options: &EspOptions) -> EspSocket {
    let host: IpAddr = host.parse().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let opened = match kind {
            Kind::Udp => EspSocket::udp(Token(1), (host, 4500).into(), options),
            Kind::Raw => EspSocket::raw(Token(1), host, options),
        };
        match opened {
            Err(EspSocketError::PortTaken(_)) if Instant::now() < deadline => thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn peer(kind: Kind, host: &str) -> Peer {
    let port = if matches!(kind, Kind::Udp) { 4500 } else { 0 };
    Peer::new(&SocketAddr::new(host.parse().unwrap(), port))
}

/// An ESP packet as far as a socket can tell: SPI, number, and bytes that depend on both.
fn packet(number: u32, length: usize) -> Vec<u8> {
    let mut packet = [0xc000_0001_u32.to_be_bytes(), number.to_be_bytes()].concat();
    packet.extend((packet.len()..length).map(|at| (at as u32 ^ number) as u8));
    packet
}

fn number_of(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[4..8].try_into().unwrap())
}

/// Lengths as traffic has them: long runs of equal ones, ended by shorter, and some alone.
fn lengths() -> Vec<usize> {
    let mut lengths = vec![1400; 70];
    lengths.extend([700, 1400, 1400, 80, 81, 80, 8, 9, 1400]);
    lengths.extend([208; 130]);
    lengths
}

/// Reads from `socket` until `count` packets have come.
fn receive(socket: &mut EspSocket, count: usize) -> Vec<Vec<u8>> {
    let mut batch = socket.batch(32);
    let mut received = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while received.len() < count {
        let (came, local) = (received.len(), socket.local());
        assert!(Instant::now() < deadline, "{came} of {count} on {local}: {:?}", socket.counters());
        wait_readable(&*socket, Duration::from_millis(100)).unwrap();
        socket.receive(&mut batch).unwrap();
        for (place, bytes) in batch.packets() {
            assert_eq!(place.token, Token(1));
            received.push(bytes.to_vec());
        }
    }
    received
}

#[test]
fn what_is_sent_arrives_whole_and_in_order() {
    const TEST: &str = "what_is_sent_arrives_whole_and_in_order";
    let expected: Vec<_> =
        (0..).zip(lengths()).map(|(number, length)| packet(number, length)).collect();
    for offload in [Offload::Auto, Offload::Off] {
        let (tell, told) = std::sync::mpsc::channel();
        let expected = &expected;
        let left = move || {
            for (kind, [here, there]) in
                KINDS.into_iter().flat_map(|kind| HOSTS.map(|hosts| (kind, hosts)))
            {
                let mut socket = open(kind, here, &options(offload));
                told.recv().unwrap();
                let mut batch = PacketBatch::new(expected.len() + 1, 1500);
                for bytes in expected {
                    assert!(batch.push(bytes, Token(1), peer(kind, there)));
                }
                // Another socket's, and one dropped: neither goes out.
                assert!(batch.push(b"not for this socket", Token(2), peer(kind, there)));
                let sent = socket.send(&batch);
                assert_eq!(sent.packets, expected.len(), "{kind:?} {sent:?}");
                if socket.sends_joined().is_active() {
                    assert!(sent.messages < expected.len() / 10, "{sent:?}");
                } else {
                    assert_eq!(sent.messages, expected.len());
                }
                told.recv().unwrap();
            }
        };
        let right = move |_| {
            for (kind, [_, here]) in
                KINDS.into_iter().flat_map(|kind| HOSTS.map(|hosts| (kind, hosts)))
            {
                let mut socket = open(kind, here, &options(offload));
                tell.send(()).unwrap();
                let received = receive(&mut socket, expected.len());
                assert!(received == *expected, "{kind:?} {here}");
                assert_eq!(socket.counters(), Default::default());
                tell.send(()).unwrap();
            }
        };
        pair(TEST, left, right);
    }
}

#[test]
fn a_packet_beyond_the_mtu_is_told_with_the_mtu_and_stops_no_other() {
    const TEST: &str = "a_packet_beyond_the_mtu_is_told_with_the_mtu_and_stops_no_other";
    for (kind, [here, there]) in KINDS.into_iter().flat_map(|kind| HOSTS.map(|hosts| (kind, hosts)))
    {
        let (tell, told) = std::sync::mpsc::channel();
        let left = move || {
            told.recv().unwrap();
            let mut socket = open(kind, here, &EspOptions::default());
            let mut batch = PacketBatch::new(80, 1600);
            for number in 0..80 {
                let length = if number == 40 { 1600 } else { 1300 };
                assert!(batch.push(&packet(number, length), Token(1), peer(kind, there)));
            }
            let sent = socket.send(&batch);
            assert_eq!((sent.packets, sent.too_big), (79, 1), "{kind:?} {here}: {sent:?}");
            let mut events = Vec::new();
            socket.take_path_events(|event| events.push(event));
            let to = there.parse().unwrap();
            assert_eq!(events.first(), Some(&PathEvent::Mtu { to, mtu: 1500 }), "{kind:?}");
            told.recv().unwrap();
            // And with fragments allowed it goes.
            let options =
                EspOptions { fragmentation: Fragmentation::Allowed, ..EspOptions::default() };
            drop(socket);
            let sent = open(kind, here, &options).send(&batch);
            assert_eq!((sent.packets, sent.too_big), (80, 0), "{kind:?} {here}: {sent:?}");
            told.recv().unwrap();
        };
        let right = move |_| {
            let mut socket = open(kind, there, &EspOptions::default());
            tell.send(()).unwrap();
            let received = receive(&mut socket, 79);
            let numbers: Vec<_> = received.iter().map(|bytes| number_of(bytes)).collect();
            let expected: Vec<_> = (0..80).filter(|&number| number != 40).collect();
            assert_eq!(numbers, expected);
            tell.send(()).unwrap();
            assert!(receive(&mut socket, 80).iter().any(|bytes| bytes.len() == 1600));
            tell.send(()).unwrap();
        };
        pair(TEST, left, right);
    }
}

#[test]
fn the_outer_traffic_class_travels() {
    const TEST: &str = "the_outer_traffic_class_travels";
    for kind in KINDS {
        alone(TEST, || {
            for host in ["127.0.0.1", "::1"] {
                let mut socket = open(kind, host, &EspOptions::default());
                let mut batch = PacketBatch::new(4, 1500);
                for class in [0xb8, 0xb8, 0, 3] {
                    assert!(batch.push(&packet(1, 100), Token(1), peer(kind, host)));
                    let at = batch.len() - 1;
                    batch.packet_mut(at).place.traffic_class = class;
                }
                assert_eq!(socket.send(&batch).packets, 4);
                let mut classes = Vec::new();
                let mut batch = socket.batch(8);
                while classes.len() < 4 {
                    assert!(wait_readable(&socket, PATIENCE).unwrap());
                    socket.receive(&mut batch).unwrap();
                    classes.extend(batch.packets().map(|(place, _)| place.traffic_class));
                }
                assert_eq!(classes, [0xb8, 0xb8, 0, 3], "{kind:?} {host}");
            }
        });
    }
}

#[test]
fn keepalives_and_ike_are_counted_and_never_delivered() {
    alone("keepalives_and_ike_are_counted_and_never_delivered", || {
        let mut socket = open(Kind::Udp, "127.0.0.1", &EspOptions::default());
        let own = Peer::new(&socket.local());
        socket.send_keepalive(&own).unwrap();
        let ike = UdpSocket::bind("127.0.0.1:0").unwrap();
        ike.send_to(&[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], socket.local()).unwrap();
        ike.send_to(&[1, 2, 3], socket.local()).unwrap();
        ike.send_to(&[], socket.local()).unwrap();
        ike.send_to(&packet(5, 60), socket.local()).unwrap();
        assert_eq!(receive(&mut socket, 1), [packet(5, 60)]);
        let counters = socket.counters();
        assert_eq!((counters.keepalives, counters.ike, counters.runts), (1, 1, 2));
        let raw = open(Kind::Raw, "127.0.0.1", &EspOptions::default());
        assert!(raw.send_keepalive(&own).is_err());
    });
}

#[test]
fn losses_in_the_receive_buffer_are_counted() {
    for kind in KINDS {
        alone("losses_in_the_receive_buffer_are_counted", || {
            let small = EspOptions { receive_buffer: 20_000, ..options(Offload::Off) };
            let mut socket = open(kind, "127.0.0.1", &small);
            let mut batch = PacketBatch::new(100, 1500);
            for number in 0..100 {
                assert!(batch.push(&packet(number, 1400), Token(1), peer(kind, "127.0.0.1")));
            }
            assert_eq!(socket.send(&batch).packets, 100);
            let first = receive(&mut socket, 1).len();
            assert!(first < 100);
            batch.clear();
            assert!(batch.push(&packet(100, 1400), Token(1), peer(kind, "127.0.0.1")));
            assert_eq!(socket.send(&batch).packets, 1);
            let before = receive(&mut socket, 1);
            assert_eq!(number_of(&before[0]), 100);
            assert!(socket.counters().kernel_drops > 0, "{kind:?}: {:?}", socket.counters());
        });
    }
}

#[test]
fn a_dead_peer_is_told_and_stops_no_other() {
    alone("a_dead_peer_is_told_and_stops_no_other", || {
        let mut socket = open(Kind::Udp, "127.0.0.1", &EspOptions::default());
        let dead: SocketAddr = "127.0.0.9:9".parse().unwrap();
        let own = Peer::new(&socket.local());
        let mut batch = PacketBatch::new(20, 1500);
        for number in 0..20 {
            let to = if number % 2 == 0 { Peer::new(&dead) } else { own };
            assert!(batch.push(&packet(number, 100), Token(1), to));
        }
        for _ in 0..3 {
            let Sent { packets, refused, .. } = socket.send(&batch);
            assert_eq!((packets, refused), (20, 0));
            assert_eq!(receive(&mut socket, 10).len(), 10);
        }
        let mut set = WaitSet::new().unwrap();
        set.add(Token(1), &socket).unwrap();
        let ready = Ready { token: Token(1), readable: false, error: true };
        assert!(set.wait(Some(PATIENCE)).unwrap().eq([ready]));
        let mut refusals = 0;
        socket.take_path_events(|event| match event {
            PathEvent::Unreachable { to, errno } => {
                assert_eq!((to, errno), (dead.ip(), libc::ECONNREFUSED));
                refusals += 1;
            }
            PathEvent::Mtu { .. } => panic!("{event:?}"),
        });
        assert!(refusals > 0);
        assert_eq!(set.wait(Some(Duration::ZERO)).unwrap().count(), 0);
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    alone("what_cannot_be_opened_says_why", || {
        let options = EspOptions::default();
        let local: SocketAddr = "127.0.0.1:4500".parse().unwrap();
        let _first = EspSocket::udp(Token(0), local, &options).unwrap();
        let again = EspSocket::udp(Token(0), local, &options).err();
        assert!(matches!(again, Some(EspSocketError::PortTaken(taken)) if taken == local));
        let foreign: IpAddr = "198.51.100.1".parse().unwrap();
        let missing = EspSocket::raw(Token(0), foreign, &options).err();
        assert!(matches!(missing, Some(EspSocketError::NoSuchAddress(host)) if host == foreign));
    });
}
