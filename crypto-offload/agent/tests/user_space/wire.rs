//! What is on the wire, and what somebody on the wire can do.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use crypto_offload::{Direction, IpsecEngine, Placement, UdpEncapsulation};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    host::{Host, join, seen, wait_until},
    pair::{Family, Terms, UDP, Way, inner_hosts, tunnel},
};

const MARK: &[u8] = b"nobody else may read this sentence";
const ETHERNET: usize = 14;

/// The ESP packets for the right host that are in `frames` of its wire, each with its outer TOS.
fn esp_packets(frames: &[Vec<u8>], encapsulation: Option<UdpEncapsulation>) -> Vec<(u8, Vec<u8>)> {
    let outer = |frame: &&Vec<u8>| {
        let (protocol, destination) = (frame.get(ETHERNET + 9), frame.get(ETHERNET + 16..));
        let wanted = if encapsulation.is_some() { 17 } else { 50 };
        protocol == Some(&wanted)
            && destination.is_some_and(|address| address.starts_with(&[192, 0, 2, 2]))
    };
    let skip = ETHERNET + 20 + if encapsulation.is_some() { 8 } else { 0 };
    let cut = |frame: &Vec<u8>| (frame[ETHERNET + 1], frame[skip..].to_vec());
    frames.iter().filter(outer).map(cut).collect()
}

/// Sends `packet` from the left to the right as its peer would.
fn inject(left: &Host, encapsulation: Option<UdpEncapsulation>, packet: &[u8]) {
    let port = encapsulation.map_or(0, |ports| ports.destination_port);
    let to: SocketAddr = SocketAddr::new("192.0.2.2".parse().unwrap(), port);
    let packet = packet.to_vec();
    left.run(move |_| {
        if encapsulation.is_some() {
            let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
            socket.send_to(&packet, to).unwrap();
        } else {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(50))).unwrap();
            socket.send_to(&packet, &to.into()).unwrap();
        }
    });
}

#[test]
fn replays_and_forgeries_are_dropped_counted_and_change_nothing() {
    const TEST: &str = "replays_and_forgeries_are_dropped_counted_and_change_nothing";
    for encapsulation in [UDP, None] {
        let terms = Terms { encapsulation, ..Terms::default() };
        let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
        let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
        let tap = right.tap();
        ours.send_to(MARK, theirs.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 2048];
        assert_eq!(theirs.recv(&mut buffer).unwrap(), MARK.len());
        let frames = seen(&tap);
        let packets = esp_packets(&frames, encapsulation);
        let [(_, packet)] = &packets[..] else { panic!("{} packets", packets.len()) };

        inject(&left, encapsulation, packet);
        let mut later = packet.clone();
        later[7] += 1;
        inject(&left, encapsulation, &later);
        let mut stranger = packet.clone();
        stranger[0] ^= 1;
        inject(&left, encapsulation, &stranger);
        inject(&left, encapsulation, &packet[..20]);
        let id = terms.id(Way::ToRight, 1);
        let usage = || right.run(move |engine| engine.usage(id).unwrap());
        wait_until("all to be counted", || {
            let usage = usage();
            let strangers = right.counter("inbound_no_sa");
            (usage.replayed, usage.forged, strangers) == (1, 1, 1)
                && right.counter("inbound_too_short") == 1
        });
        theirs.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        // A signal ends a wait too (EINTR), and says nothing of what comes after it.
        let nothing = loop {
            match theirs.recv(&mut buffer).map_err(|error| error.kind()) {
                Err(ErrorKind::Interrupted) => {}
                outcome => break outcome,
            }
        };
        assert_eq!(nothing, Err(ErrorKind::WouldBlock));
        assert_eq!((usage().packets, usage().sequence), (1, 1));

        theirs.set_read_timeout(Some(crate::host::PATIENCE)).unwrap();
        ours.send_to(MARK, theirs.local_addr().unwrap()).unwrap();
        assert_eq!(theirs.recv(&mut buffer).unwrap(), MARK.len());
        assert_eq!((usage().packets, usage().sequence), (2, 2));
    }
}

#[test]
fn traffic_without_an_sa_is_dropped_and_never_sent_in_clear() {
    const TEST: &str = "traffic_without_an_sa_is_dropped_and_never_sent_in_clear";
    let terms = Terms::default();
    for inner in [Family::Ipv4, Family::Ipv6] {
        let (Some(left), Some(right)) = (Host::plain(TEST), Host::plain(TEST)) else { return };
        join(&left, &right);
        let [here, there] = inner_hosts(inner);
        let tap = right.tap();
        left.run(move |engine| {
            // A policy as a restart leaves it: its SA is gone, or has not come yet.
            let policy = terms.policy(Way::ToRight, Some(1), inner);
            engine.set_policy(&policy, Placement::UserSpace).unwrap();
        });
        let ours = left.udp(here);
        let to = SocketAddr::new(there.parse().unwrap(), 9);
        wait_until("the drop", || {
            ours.send_to(MARK, to).unwrap();
            left.counter("outbound_no_sa") > 0
        });
        // With the SA it goes out, without it no more.
        let id = terms.id(Way::ToRight, 1);
        left.run(move |engine| {
            let sa = terms.sa(Way::ToRight, 1, Direction::Outbound, inner);
            engine.install(&sa, Placement::UserSpace).unwrap();
        });
        ours.send_to(MARK, to).unwrap();
        wait_until("a packet", || left.run(move |engine| engine.usage(id).unwrap().packets == 1));
        left.run(move |engine| engine.remove(id).unwrap());
        let before = left.counter("outbound_no_sa");
        ours.send_to(MARK, to).unwrap();
        wait_until("the drop", || left.counter("outbound_no_sa") == before + 1);

        let frames = seen(&tap);
        assert_eq!(esp_packets(&frames, UDP).len(), 1);
        let is_clear = |frame: &&Vec<u8>| frame.windows(MARK.len()).any(|part| part == MARK);
        assert_eq!(frames.iter().filter(is_clear).count(), 0);
    }
}

#[test]
fn a_packet_that_is_not_what_its_sa_is_for_is_dropped() {
    const TEST: &str = "a_packet_that_is_not_what_its_sa_is_for_is_dropped";
    let terms = Terms::default();
    let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
    let id = terms.id(Way::ToRight, 1);
    right.run(move |engine| {
        engine.remove(id).unwrap();
        let mut narrower = terms.sa(Way::ToRight, 1, Direction::Inbound, Family::Ipv4);
        narrower.selector.destination = "10.2.0.2/32".parse().unwrap();
        engine.install(&narrower, Placement::UserSpace).unwrap();
    });
    left.udp("10.1.0.1").send_to(MARK, "10.2.0.1:9").unwrap();
    wait_until("the drop", || right.counter("inbound_selector") == 1);
}

#[test]
fn the_outer_header_has_the_inner_dscp_and_ecn() {
    const TEST: &str = "the_outer_header_has_the_inner_dscp_and_ecn";
    // Expedited forwarding, and ECT(0).
    const CLASS: u8 = 46 << 2 | 0b10;
    for encapsulation in [UDP, None] {
        let terms = Terms { encapsulation, ..Terms::default() };
        let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
        let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
        SockRef::from(&ours).set_tos_v4(u32::from(CLASS)).unwrap();
        let tap = right.tap();
        ours.send_to(MARK, theirs.local_addr().unwrap()).unwrap();
        theirs.recv(&mut [0; 2048]).unwrap();
        let packets = esp_packets(&seen(&tap), encapsulation);
        assert_eq!(packets.iter().map(|(class, _)| *class).collect::<Vec<_>>(), [CLASS]);
    }
}

#[test]
fn a_narrower_path_is_found_and_told_to_senders() {
    const TEST: &str = "a_narrower_path_is_found_and_told_to_senders";
    for encapsulation in [UDP, None] {
        let terms = Terms { encapsulation, ..Terms::default() };
        let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
        let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
        theirs.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let to = theirs.local_addr().unwrap();
        let passes = |length: usize| {
            // The sender's kernel may refuse what it has just learnt is too long.
            let _ = ours.send_to(&vec![7; length], to);
            theirs.recv(&mut [0; 2048]).is_ok_and(|count| count == length)
        };
        // Here the device follows: 1400 less the tunnel's overhead, and the kernel fragments.
        left.ip("link set wire mtu 1400");
        wait_until("1,400 bytes to pass", || passes(1400));
        let device = left.ip("link show postern0");
        let mtu = if encapsulation.is_some() { "mtu 1338" } else { "mtu 1346" };
        assert!(device.contains(mtu), "{device}");
        // Here it cannot, for IPv6's sake: senders are told by ICMP.
        left.ip("link set wire mtu 1290");
        wait_until("1,240 bytes to pass", || passes(1240));
        assert!(left.ip("link show postern0").contains("mtu 1280"));
        assert!(left.ip("route get 10.2.0.1").contains("mtu 12"));
        assert!(left.counter("outbound_too_big") > 0);
    }
}

#[test]
fn what_came_before_its_sa_was_removed_is_still_opened() {
    const TEST: &str = "what_came_before_its_sa_was_removed_is_still_opened";
    const PACKETS: usize = 500;
    // By protocol 50, where the kernel joins no packets.
    let terms = Terms { encapsulation: None, ..Terms::default() };
    let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
    let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&theirs, 8 << 20).unwrap();
    let id = terms.id(Way::ToRight, 1);
    let tap = right.tap();
    right.run(move |engine| engine.remove(id).unwrap());
    for sent in 1..=PACKETS {
        ours.send_to(MARK, theirs.local_addr().unwrap()).unwrap();
        if sent % 100 == 0 {
            wait_until("a hundred to come", || right.counter("inbound_no_sa") == sent as u64);
        }
    }
    let packets = esp_packets(&seen(&tap), None);
    assert_eq!(packets.len(), PACKETS);

    // All at once, so that the data thread is behind when its SA goes.
    right.run(move |engine| {
        let sa = terms.sa(Way::ToRight, 1, Direction::Inbound, Family::Ipv4);
        engine.install(&sa, Placement::UserSpace).unwrap();
    });
    left.run(move |_| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(50))).unwrap();
        let to = SocketAddr::from(([192, 0, 2, 2], 0)).into();
        for (_, packet) in packets {
            socket.send_to(&packet, &to).unwrap();
        }
    });
    right.run(move |engine| engine.remove(id).unwrap());
    assert_eq!(right.counter("inbound_no_sa"), PACKETS as u64, "of those before alone");
    let mut buffer = [0; 2048];
    for _ in 0..PACKETS {
        assert_eq!(theirs.recv(&mut buffer).unwrap(), MARK.len());
    }
}
