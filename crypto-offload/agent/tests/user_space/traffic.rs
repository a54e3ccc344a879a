//! Traffic through a tunnel: every kind of tunnel, every length, and a change of SA under load.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crypto_offload::{Aead, Direction, IpsecEngine, SequenceNumbers};

use crate::{
    host::{Host, wait_until},
    pair::{Family, Terms, UDP, Way, inner_hosts, install, switch, tunnel},
};

/// Sends payloads of `lengths` from the left and has the right send them back.
fn echo([left, right]: &[Host; 2], inner: Family, lengths: impl Iterator<Item = usize>) {
    let [here, there] = inner_hosts(inner);
    let (ours, theirs) = (left.udp(here), right.udp(there));
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 65_536];
    for length in lengths {
        let payload: Vec<u8> = (0..length).map(|at| (at * 31 + length) as u8).collect();
        ours.send(&payload).unwrap();
        let (count, from) = theirs.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..count], payload, "{length} bytes to the right");
        theirs.send_to(&buffer[..count], from).unwrap();
        let count = ours.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..count], payload, "{length} bytes back");
    }
}

/// Sends `length` bytes from the left to the right, and back.
fn stream([left, right]: &[Host; 2], inner: Family, length: usize) {
    let [here, there] = inner_hosts(inner);
    let listener = right.listen(there);
    let client = send_all(left.connect(here, listener.local_addr().unwrap()), length);
    let (mut server, _) = listener.accept().unwrap();
    let mut all = Vec::new();
    server.read_to_end(&mut all).unwrap();
    server.write_all(&all).unwrap();
    drop(server);
    client.join().unwrap();
}

/// Writes on a thread of its own and checks what comes back.
fn send_all(mut client: TcpStream, length: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let all: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
        client.write_all(&all).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert!(back == all, "{} of {length} bytes came back", back.len());
    })
}

#[test]
fn every_kind_of_tunnel_carries_udp_and_tcp_both_ways() {
    const TEST: &str = "every_kind_of_tunnel_carries_udp_and_tcp_both_ways";
    let kinds = [
        (Family::Ipv4, Family::Ipv4, UDP, Aead::Aes128Gcm, SequenceNumbers::Extended),
        (Family::Ipv4, Family::Ipv6, None, Aead::Aes256Gcm, SequenceNumbers::Short),
        (Family::Ipv6, Family::Ipv4, UDP, Aead::ChaCha20Poly1305, SequenceNumbers::Short),
        (Family::Ipv6, Family::Ipv6, None, Aead::Aes256Gcm, SequenceNumbers::Extended),
    ];
    for (outer, inner, encapsulation, aead, sequence_numbers) in kinds {
        let terms = Terms { aead, sequence_numbers, outer, encapsulation, ..Terms::default() };
        let Some(hosts) = tunnel(TEST, terms, inner) else { return };
        echo(&hosts, inner, [0, 1, 100, 1000].into_iter());
        stream(&hosts, inner, 4 << 20);
        for (host, way) in hosts.iter().zip([Way::ToLeft, Way::ToRight]) {
            let id = terms.id(way, 1);
            let usage = host.run(move |engine| engine.usage(id).unwrap());
            assert_eq!((usage.replayed, usage.late, usage.forged), (0, 0, 0), "{terms:?}");
            assert!(usage.packets > 100 && usage.in_use.is_some(), "{usage:?}");
        }
    }
}

#[test]
fn tiny_packets_and_every_length_up_to_the_mtu_and_fragments_pass() {
    const TEST: &str = "tiny_packets_and_every_length_up_to_the_mtu_and_fragments_pass";
    for inner in [Family::Ipv4, Family::Ipv6] {
        let Some(hosts) = tunnel(TEST, Terms::default(), inner) else { return };
        let headers = if inner == Family::Ipv4 { 28 } else { 48 };
        // Path 1500, outer IPv4 and UDP: 1438 bytes are left.
        for host in &hosts {
            wait_until("the device's MTU", || host.ip("link show postern0").contains("mtu 1438"));
        }
        let most = 1438 - headers;
        echo(&hosts, inner, (0..=12).chain((13..most).step_by(97)).chain(most - 8..=most));
        // Longer datagrams are fragmented by the kernel, before the tunnel.
        echo(&hosts, inner, [most + 1, 3000, 20_000].into_iter());
    }
}

#[test]
fn a_change_of_sa_under_load_loses_doubles_and_reorders_nothing() {
    const TEST: &str = "a_change_of_sa_under_load_loses_doubles_and_reorders_nothing";
    const CHANGES: u32 = 50;
    const RATE: u32 = 5_000;
    let terms = Terms::default();
    let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
    let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    let total = RATE * 2;
    let sender = thread::spawn(move || pace(&ours, total, RATE));
    let receiver = thread::spawn(move || {
        let mut buffer = [0; 2048];
        for expected in 0..total {
            let count = theirs.recv(&mut buffer).unwrap();
            let found = u32::from_be_bytes(*buffer[..count].first_chunk().unwrap());
            assert_eq!(found, expected);
        }
    });
    for epoch in 2..2 + CHANGES {
        install(&left, &right, terms, epoch, Family::Ipv4);
        switch(&left, Way::ToRight, terms, epoch, Family::Ipv4);
        thread::sleep(Duration::from_millis(20));
        for (host, old) in [
            (&left, terms.id(Way::ToRight, epoch - 1)),
            (&right, terms.id(Way::ToRight, epoch - 1)),
        ] {
            host.run(move |engine| engine.remove(old).unwrap());
        }
    }
    sender.join().unwrap();
    receiver.join().unwrap();
    for (host, names) in [
        (&left, ["outbound_no_sa", "outbound_unreserved", "outbound_send_refused"]),
        (&right, ["inbound_no_sa", "inbound_replayed", "inbound_late"]),
    ] {
        for name in names {
            assert_eq!(host.counter(name), 0, "{name}");
        }
    }
}

/// Sends numbered packets at `rate` a second.
fn pace(socket: &UdpSocket, total: u32, rate: u32) {
    let start = Instant::now();
    for number in 0..total {
        let due = start + Duration::from_secs(1) * number / rate;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut payload = [0; 200];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        socket.send(&payload).unwrap();
    }
}

#[test]
fn both_directions_of_an_sa_are_listed_with_what_they_did() {
    const TEST: &str = "both_directions_of_an_sa_are_listed_with_what_they_did";
    let terms = Terms::default();
    let Some(hosts) = tunnel(TEST, terms, Family::Ipv4) else { return };
    echo(&hosts, Family::Ipv4, [100].into_iter());
    let listed = hosts[0].run(|engine| engine.list().unwrap());
    assert_eq!(listed.len(), 2);
    let sent = listed.iter().find(|sa| sa.id == terms.id(Way::ToRight, 1)).unwrap();
    assert_eq!((sent.usage.packets, sent.usage.bytes, sent.usage.sequence), (1, 128, 1));
    let spec = terms.sa(Way::ToRight, 1, Direction::Outbound, Family::Ipv4);
    assert_eq!(sent.fingerprint, Some(spec.keying.fingerprint()));
}
