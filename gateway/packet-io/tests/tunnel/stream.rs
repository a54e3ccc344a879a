//! Whole streams through two devices in two namespaces: what the kernel leaves us to split, and
//! what we leave it to split, is what would have gone over a wire.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use packet_io::esp::{EspOptions, EspSocket};
use packet_io::tun::{Level, Link, Tun, Written};
use packet_io::{Offload, PacketBatch, Peer, Token, WaitSet};

use crate::namespace::{alone, ip};

const MTU: usize = 1400;
const PATIENCE: Duration = Duration::from_secs(20);
const ADDRESSES: [[&str; 2]; 2] = [["10.9.0.1", "10.9.0.2"], ["fd09::1", "fd09::2"]];

/// What went through the relay.
#[derive(Clone, Copy, Debug, Default)]
struct Relayed {
    packets: usize,
    writes: usize,
    batches: usize,
}

/// A device with address 1 or 2.
fn device(side: usize, offload: Offload) -> Tun {
    let tun = Tun::open(&"esp0".parse().unwrap(), offload).unwrap();
    let mut link = Link::open(tun.name()).unwrap();
    link.set_mtu(MTU as u32).unwrap();
    link.set_up().unwrap();
    for [addresses, length] in [[ADDRESSES[0], ["24"; 2]], [ADDRESSES[1], ["64"; 2]]] {
        let address = addresses[side].parse().unwrap();
        link.add_address(address, length[side].parse().unwrap()).unwrap();
    }
    while ip(&format!("-6 route show table local {}", ADDRESSES[1][side])).is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    tun
}

/// Runs `left` and `right` in namespaces of their own whose devices are joined by a relay.
fn between(
    test: &str,
    offload: Offload,
    left: impl FnOnce() + Send,
    right: impl FnOnce() + Send,
) -> Option<Relayed> {
    let over = AtomicBool::new(false);
    let (give, take) = channel();
    let both = [give.clone(), give];
    thread::scope(|scope| {
        let over = &over;
        let relay = scope.spawn(move || {
            let (Ok((side, one)), Ok((_, other))) = (take.recv(), take.recv()) else {
                return None;
            };
            let tuns = if side == 0 { [one, other] } else { [other, one] };
            Some(relay(tuns, over))
        });
        let [give_left, give_right] = both;
        let ends = [
            scope.spawn(move || {
                alone(test, move || {
                    give_left.send((0, device(0, offload))).unwrap();
                    drop(give_left);
                    left();
                });
            }),
            scope.spawn(move || {
                alone(test, move || {
                    give_right.send((1, device(1, offload))).unwrap();
                    drop(give_right);
                    right();
                });
            }),
        ];
        let ended = ends.map(|end| end.join());
        over.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|end| end.unwrap());
        relay.join().unwrap()
    })
}

/// Carries packets from either device to the other, judging each, until it is over.
fn relay(mut tuns: [Tun; 2], over: &AtomicBool) -> Relayed {
    let mut set = WaitSet::new().unwrap();
    for (token, tun) in (0..).zip(&tuns) {
        set.add(Token(token), tun).unwrap();
    }
    let mut batch = PacketBatch::new(128, MTU);
    let mut relayed = Relayed::default();
    while !over.load(Ordering::Relaxed) {
        let _ = set.wait(Some(Duration::from_millis(5))).unwrap();
        for from in [0, 1] {
            loop {
                let count = tuns[from].read(&mut batch).unwrap();
                batch.packets().for_each(|(_, packet)| judge(packet));
                let Written { packets, refused, writes } = tuns[1 - from].write(&batch).unwrap();
                assert_eq!((packets, refused), (count, 0));
                relayed.packets += packets;
                relayed.writes += writes;
                relayed.batches += 1;
                if count < batch.slots() {
                    assert!(!tuns[from].has_pending());
                    break;
                }
            }
        }
    }
    assert!(tuns.iter().all(|tun| tun.counters() == Default::default()));
    relayed
}

/// As a receiver would: whole, no longer than the MTU, all checksums right.
fn judge(packet: &[u8]) {
    assert!(packet.len() <= MTU, "{} bytes", packet.len());
    let word = |at: usize| u32::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let (addresses, start, protocol) = match packet[0] >> 4 {
        4 => {
            assert_eq!(word(2) as usize, packet.len());
            assert_eq!(sum((0..20).step_by(2).map(word)), 0xffff, "IPv4 header");
            (12..20, 20, packet[9])
        }
        _ => {
            assert_eq!(word(4) as usize + 40, packet.len());
            (8..40, 40, packet[6])
        }
    };
    if [6, 17].contains(&protocol) {
        let body = packet[start..].chunks(2);
        let body = body.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let pseudo = [u32::from(protocol), (packet.len() - start) as u32];
        let sum = sum(addresses.step_by(2).map(word).chain(pseudo).chain(body));
        assert_eq!(sum, 0xffff, "protocol {protocol}: {packet:02x?}");
    }
}

fn sum(words: impl Iterator<Item = u32>) -> u32 {
    words.fold(0, |sum, word| ((sum + word) & 0xffff) + ((sum + word) >> 16))
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn tcp_streams_arrive_whole_split_and_joined_or_not() {
    const TEST: &str = "tcp_streams_arrive_whole_split_and_joined_or_not";
    let data = pattern(4 << 20);
    for offload in [Offload::Auto, Offload::Off] {
        let data = &data;
        let (listening, listens) = channel();
        let relayed = between(
            TEST,
            offload,
            move || {
                for [_, there] in ADDRESSES {
                    listens.recv().unwrap();
                    let to: IpAddr = there.parse().unwrap();
                    let mut stream = TcpStream::connect((to, 7000)).unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.write_all(data).unwrap();
                    let mut back = vec![0; data.len()];
                    stream.read_exact(&mut back).unwrap();
                    assert!(back == *data);
                }
            },
            move || {
                for [_, here] in ADDRESSES {
                    let listener = TcpListener::bind((here, 7000)).unwrap();
                    listening.send(()).unwrap();
                    let (mut stream, _) = listener.accept().unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut received = vec![0; data.len()];
                    stream.read_exact(&mut received).unwrap();
                    assert!(received == *data);
                    stream.write_all(&received).unwrap();
                }
            },
        );
        let Some(relayed) = relayed else { return };
        assert!(relayed.packets > 4 * data.len() / MTU, "{relayed:?}");
        match offload {
            Offload::Auto => assert!(relayed.writes < relayed.packets / 3, "{relayed:?}"),
            Offload::Off => assert_eq!(relayed.writes, relayed.packets),
        }
    }
}

#[test]
fn udp_runs_arrive_whole_split_and_joined_or_not() {
    const TEST: &str = "udp_runs_arrive_whole_split_and_joined_or_not";
    let datagrams: Vec<Vec<u8>> = (0..500_usize)
        .map(|at| pattern(if at % 50 == 49 { 300 } else { 1200 } + at)[at..].to_vec())
        .collect();
    for offload in [Offload::Auto, Offload::Off] {
        let datagrams = &datagrams;
        let (listening, listens) = channel();
        let relayed = between(
            TEST,
            offload,
            move || {
                for [here, there] in ADDRESSES {
                    let mut socket = socket(here);
                    listens.recv().unwrap();
                    let to: SocketAddr = (there.parse::<IpAddr>().unwrap(), 4500).into();
                    // In portions that the device's queue of 500 packets holds.
                    for portion in datagrams.chunks(100) {
                        let mut batch = PacketBatch::new(100, MTU);
                        for datagram in portion {
                            assert!(batch.push(datagram, Token(1), Peer::new(&to)));
                        }
                        assert_eq!(socket.send(&batch).packets, portion.len());
                        listens.recv().unwrap();
                    }
                }
            },
            move || {
                for [_, here] in ADDRESSES {
                    let mut socket = socket(here);
                    listening.send(()).unwrap();
                    for portion in datagrams.chunks(100) {
                        assert!(receive(&mut socket, portion.len()) == portion);
                        listening.send(()).unwrap();
                    }
                }
            },
        );
        let Some(relayed) = relayed else { return };
        assert!(relayed.packets >= 2 * datagrams.len(), "{relayed:?}");
        if offload == Offload::Off {
            assert_eq!(relayed.writes, relayed.packets);
        } else if joins_udp() {
            assert!(relayed.writes < relayed.packets / 5, "{relayed:?}");
        }
    }
}

fn socket(here: &str) -> EspSocket {
    let local = (here.parse::<IpAddr>().unwrap(), 4500).into();
    EspSocket::udp(Token(1), local, &EspOptions::default()).unwrap()
}

fn receive(socket: &mut EspSocket, count: usize) -> Vec<Vec<u8>> {
    let mut batch = socket.batch(16);
    let mut received = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while received.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} came", received.len());
        packet_io::wait_readable(&*socket, Duration::from_millis(100)).unwrap();
        socket.receive(&mut batch).unwrap();
        received.extend(batch.packets().map(|(_, bytes)| bytes.to_vec()));
    }
    received
}

/// This kernel splits and joins UDP for TUN devices; says SKIPPED where it does not.
fn joins_udp() -> bool {
    let mut joins = false;
    alone("udp_runs_arrive_whole_split_and_joined_or_not", || {
        let tun = Tun::open(&"esp0".parse().unwrap(), Offload::Auto).unwrap();
        joins = tun.offload().level == Level::TcpAndUdp;
        if let Some(reason) = &tun.offload().reason {
            println!("SKIPPED udp_runs_arrive_whole_split_and_joined_or_not: {reason}");
        }
    });
    joins
}
