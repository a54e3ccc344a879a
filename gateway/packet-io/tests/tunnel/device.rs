//! TUN devices: made and removed, configured, read from and written to.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use packet_io::tun::{InterfaceName, Link, LinkError, Route, Tun, TunError};
use packet_io::{Offload, PacketBatch, wait_readable};

use crate::namespace::{alone, ip};

const PATIENCE: Duration = Duration::from_secs(10);

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

/// A device that is up with 10.9.0.1 and fd09::1, MTU 1400.
fn device(offload: Offload) -> (Tun, Link) {
    let tun = Tun::open(&name("esp0"), offload).unwrap();
    let mut link = Link::open(tun.name()).unwrap();
    link.set_mtu(1400).unwrap();
    link.set_up().unwrap();
    link.add_address("10.9.0.1".parse().unwrap(), 24).unwrap();
    link.add_address("fd09::1".parse().unwrap(), 64).unwrap();
    // The kernel finishes with an IPv6 address on a thread of its own.
    while ip("-6 route show table local fd09::1").is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    (tun, link)
}

/// Reads until a packet of `protocol` (its number in the fixed header) has come.
fn read_one(tun: &mut Tun, batch: &mut PacketBatch, protocol: u8) -> Vec<u8> {
    loop {
        assert!(wait_readable(&*tun, PATIENCE).unwrap(), "nothing came");
        tun.read(batch).unwrap();
        let found = batch.packets().map(|(_, packet)| packet).find(|packet| {
            let at = if packet[0] >> 4 == 4 { 9 } else { 6 };
            packet[at] == protocol
        });
        if let Some(packet) = found {
            return packet.to_vec();
        }
    }
}

#[test]
fn a_device_goes_with_its_owner_and_is_shared_with_nobody() {
    alone("a_device_goes_with_its_owner_and_is_shared_with_nobody", || {
        let tun = Tun::open(&name("esp0"), Offload::Auto).unwrap();
        let second = Tun::open(&name("esp0"), Offload::Auto);
        assert!(matches!(second, Err(TunError::Taken(name)) if name.as_str() == "esp0"));
        drop(tun);
        // Another test's fork may hold the device until its exec.
        let deadline = Instant::now() + PATIENCE;
        while Link::open(&name("esp0")).is_ok() && Instant::now() < deadline {
            thread::yield_now();
        }
        assert!(matches!(Link::open(&name("esp0")), Err(LinkError::Gone(_))));
        ip("tuntap add esp1 mode tun");
        assert!(matches!(Tun::open(&name("esp1"), Offload::Auto), Err(TunError::Taken(_))));
    });
}

#[test]
fn routes_and_addresses_are_set_once_and_removed_once() {
    alone("routes_and_addresses_are_set_once_and_removed_once", || {
        let (_tun, mut link) = device(Offload::Auto);
        assert!(ip("link show esp0").contains("mtu 1400"));
        for (text, source) in [("10.10.0.0/16", "10.9.0.1"), ("fd10::/64", "fd09::1")] {
            let prefix = text.parse().unwrap();
            let route = Route { prefix, source: Some(source.parse().unwrap()) };
            let family = if text.contains(':') { "-6" } else { "-4" };
            link.add_route(&route).unwrap();
            let shown = ip(&format!("{family} route show {text}"));
            assert!(shown.contains("dev esp0") && shown.contains(source), "{shown}");
            let again = link.add_route(&route).unwrap_err();
            assert!(matches!(again, LinkError::Exists { .. }), "{again}");
            assert!(again.to_string().contains(text), "{again}");
            link.remove_route(&route).unwrap();
            assert_eq!(ip(&format!("{family} route show {text}")), "");
            let again = link.remove_route(&route).unwrap_err();
            assert!(matches!(again, LinkError::Absent { .. }), "{again}");
        }
        let address = "10.9.0.1".parse().unwrap();
        assert!(matches!(link.add_address(address, 24), Err(LinkError::Exists { .. })));
        link.remove_address(address, 24).unwrap();
        assert!(matches!(link.remove_address(address, 24), Err(LinkError::Absent { .. })));
        assert!(matches!(link.set_mtu(10), Err(LinkError::Refused { .. })));
    });
}

#[test]
fn as_many_packets_wait_for_the_reader_as_the_queue_is_long() {
    alone("as_many_packets_wait_for_the_reader_as_the_queue_is_long", || {
        let (mut tun, mut link) = device(Offload::Auto);
        link.set_queue(1000).unwrap();
        let sender = UdpSocket::bind("10.9.0.1:0").unwrap();
        for number in 0..1500_u32 {
            sender.send_to(&number.to_be_bytes(), "10.9.0.2:9").unwrap();
        }
        let (mut batch, mut waited) = (tun.batch(128, 1400), 0);
        while wait_readable(&tun, Duration::from_millis(200)).unwrap() {
            tun.read(&mut batch).unwrap();
            waited += batch.packets().count();
        }
        // One more is on its way between the queue's ends.
        assert!((1000..=1001).contains(&waited), "{waited}");
    });
}

#[test]
fn the_kernel_sends_nothing_of_its_own_into_a_device() {
    alone("the_kernel_sends_nothing_of_its_own_into_a_device", || {
        let (mut tun, _link) = device(Offload::Auto);
        let mut batch = tun.batch(16, 1400);
        // Router solicitations and group reports come within a second of an address.
        let came = wait_readable(&tun, Duration::from_millis(1500)).unwrap();
        let count = tun.read(&mut batch).unwrap();
        let packets: Vec<_> = batch.packets().map(|(_, packet)| packet.to_vec()).collect();
        assert!(!came && count == 0, "{packets:02x?}");
    });
}

#[test]
fn packets_come_whole_and_go_back_whole() {
    for offload in [Offload::Auto, Offload::Off] {
        alone("packets_come_whole_and_go_back_whole", || {
            let (mut tun, _link) = device(offload);
            let mut batch = tun.batch(16, 1400);
            for (here, there) in [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")] {
                let socket = UdpSocket::bind((here, 5000)).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                let payload: Vec<u8> = (0..1000).map(|at| at as u8).collect();
                socket.send_to(&payload, (there, 5000)).unwrap();
                let packet = read_one(&mut tun, &mut batch, 17);
                assert_eq!(packet.len(), payload.len() + if here.contains(':') { 48 } else { 28 });
                assert!(packet.ends_with(&payload));
                // Back to where it came from: no sum changes when addresses change places.
                let mut back = packet.clone();
                if here.contains(':') {
                    back[8..24].copy_from_slice(&packet[24..40]);
                    back[24..40].copy_from_slice(&packet[8..24]);
                } else {
                    back[12..16].copy_from_slice(&packet[16..20]);
                    back[16..20].copy_from_slice(&packet[12..16]);
                }
                let mut answer = PacketBatch::new(1, 1400);
                assert!(answer.push(&back, packet_io::Token(0), packet_io::Peer::NONE));
                assert_eq!(tun.write(&answer).unwrap().packets, 1);
                let mut received = [0; 2000];
                let (length, from) = socket.recv_from(&mut received).unwrap();
                assert_eq!(from.ip().to_string(), there);
                assert_eq!(received[..length], payload);
            }
            assert_eq!(tun.counters(), Default::default());
        });
    }
}

#[test]
fn a_device_that_is_down_refuses_and_one_removed_is_an_error() {
    alone("a_device_that_is_down_refuses_and_one_removed_is_an_error", || {
        let mut tun = Tun::open(&name("esp0"), Offload::Auto).unwrap();
        let mut batch = tun.batch(1, 1400);
        assert_eq!(tun.read(&mut batch).unwrap(), 0);
        batch.push(&[0x45; 20], packet_io::Token(0), packet_io::Peer::NONE);
        assert_eq!(tun.write(&batch).unwrap().refused, 1);
        assert_eq!(tun.last_write_error().unwrap().raw_os_error(), Some(libc::EIO));
        ip("link del esp0");
        assert_eq!(tun.read(&mut batch).unwrap_err().raw_os_error(), Some(libc::EBADFD));
    });
}
