//! loadgen in front of a relay that misbehaves on purpose: every fault must show in the figures.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use loadgen::media::{self, Leg, Measured, MediaCall, Schedule};
use packet_io::{SocketOptions, open_media_socket};

/// What the relay does to each packet, by its count on that direction (from 1).
type Fault = fn(u64) -> Deed;

enum Deed {
    Pass,
    Lose,
    Repeat,
    Damage,
}

const PACKETS: u64 = 100;

/// Half a second of one call through a relay that has `fault` in its forward direction.
fn run_through(fault: Fault) -> Measured {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let media_socket = || open_media_socket(any_port, SocketOptions::default()).unwrap();
    let (caller, callee) = (media_socket(), media_socket());
    let facing_caller = UdpSocket::bind(any_port).unwrap();
    let facing_callee = UdpSocket::bind(any_port).unwrap();
    let addresses = [&caller, &callee, &facing_caller, &facing_callee]
        .map(|socket| socket.local_addr().unwrap());
    let leg = |socket, relay| Leg { socket, relay, protect: None, open: None };
    let calls =
        vec![MediaCall { offerer: leg(caller, addresses[2]), answerer: leg(callee, addresses[3]) }];
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| forward(&facing_caller, &facing_callee, addresses[1], fault, &stop));
        scope
            .spawn(|| forward(&facing_callee, &facing_caller, addresses[0], |_| Deed::Pass, &stop));
        let ptime = Duration::from_millis(5);
        let length = ptime * PACKETS as u32;
        let schedule = Schedule::starting_in(Duration::from_millis(50), 2, ptime, length);
        let measured = media::run(calls, &schedule, |_| {}).unwrap();
        stop.store(true, Ordering::Relaxed);
        measured
    })
}

fn forward(from: &UdpSocket, out: &UdpSocket, to: SocketAddr, fault: Fault, stop: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 2048];
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = from.recv(&mut buffer) else { continue };
        count += 1;
        let packet = &mut buffer[..length];
        let copies = match fault(count) {
            Deed::Pass => 1,
            Deed::Lose => 0,
            Deed::Repeat => 2,
            Deed::Damage => {
                packet[length - 1] ^= 1;
                1
            }
        };
        for _ in 0..copies {
            out.send_to(packet, to).unwrap();
        }
    }
}

#[test]
fn a_relay_without_fault_loses_nothing_either_way() {
    let measured = run_through(|_| Deed::Pass);
    for direction in [&measured.forward, &measured.backward] {
        assert_eq!((direction.sent, direction.received), (PACKETS, PACKETS));
        assert_eq!(direction.latency_ns.len(), PACKETS);
    }
}

#[test]
fn every_lost_packet_is_counted_in_its_direction_only() {
    let measured = run_through(|count| if count % 25 == 0 { Deed::Lose } else { Deed::Pass });
    assert_eq!(measured.forward.lost(), PACKETS / 25);
    assert_eq!(measured.backward.lost(), 0);
}

#[test]
fn a_repeated_packet_is_a_duplicate_and_not_received_twice() {
    let measured = run_through(|count| if count % 10 == 0 { Deed::Repeat } else { Deed::Pass });
    assert_eq!(measured.forward.duplicates, PACKETS / 10);
    assert_eq!(measured.forward.received, PACKETS);
}

#[test]
fn a_damaged_payload_counts_as_damaged_and_as_lost() {
    let measured = run_through(|count| if count == 7 { Deed::Damage } else { Deed::Pass });
    assert_eq!(measured.forward.mismatched, 1);
    assert_eq!(measured.forward.lost(), 1);
}
