//! Claims about one packet: what the relay is shown, what leaves.

use packet_io::{Driver, Received, SocketOptions, Token, Verdict, clock, open_media_socket};

use crate::bench::{LOOPBACK, add, echo, flood, media, payload, peer, run_until};

pub(crate) fn delivers_payload_source_and_timestamp(mut driver: impl Driver) {
    let to = add(&mut driver, 7);
    let peer = peer(LOOPBACK);
    let before = clock::realtime_ns();
    peer.send_to(b"a packet", to).unwrap();
    let check = |packet: Received<'_>| {
        assert_eq!(packet.token, Token(7));
        assert_eq!(packet.source, peer.local_addr().unwrap());
        assert_eq!(payload(&packet), b"a packet");
        assert!((before..=clock::realtime_ns()).contains(&packet.timestamp_ns));
        assert_eq!((packet.kernel_drops, packet.truncated), (0, false));
        assert!(packet.range.start >= Received::HEADROOM);
        assert!(packet.buffer.len() - packet.range.end >= Received::TAILROOM);
        Verdict::Drop
    };
    run_until(&mut driver, check, |sum| sum.received == 1);
}

pub(crate) fn relays_over_ipv6(mut driver: impl Driver) {
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
    run_until(&mut driver, relay, |sum| sum.sent == 1);
    let mut buffer = [0; 16];
    assert_eq!(peer.recv_from(&mut buffer).unwrap(), (3, from));
    assert_eq!(&buffer[..3], b"six");
}

pub(crate) fn sends_grown_and_shrunk_in_place(mut driver: impl Driver) {
    let to = add(&mut driver, 0);
    let peer = peer(LOOPBACK);
    let mut buffer = [0; 4096];
    let whole: Vec<u8> = (0..Received::MAX_PACKET).map(|at| at as u8).collect();
    for (before, after) in [(0, Received::TAILROOM), (Received::HEADROOM, 0)] {
        peer.send_to(&whole, to).unwrap();
        let grow = |packet: Received<'_>| {
            let range = packet.range.start - before..packet.range.end + after;
            packet.buffer[range.start..packet.range.start].fill(0xaa);
            packet.buffer[packet.range.end..range.end].fill(0xbb);
            Verdict::Send { from: Token(0), to: packet.source, range }
        };
        run_until(&mut driver, grow, |sum| sum.sent == 1);
        let (length, _) = peer.recv_from(&mut buffer).unwrap();
        let expected = [vec![0xaa; before], whole.clone(), vec![0xbb; after]].concat();
        assert!(buffer[..length] == expected, "{length} bytes came, not as written");
    }
    peer.send_to(b"0123456789", to).unwrap();
    let shrink = |packet: Received<'_>| Verdict::Send {
        from: Token(0),
        to: packet.source,
        range: packet.range.start + 2..packet.range.end - 3,
    };
    run_until(&mut driver, shrink, |sum| sum.sent == 1);
    let (length, _) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"23456");
}

pub(crate) fn flags_what_is_longer_than_the_buffer(mut driver: impl Driver) {
    let to = add(&mut driver, 0);
    let peer = peer(LOOPBACK);
    for (length, cut) in [(Received::MAX_PACKET, false), (Received::MAX_PACKET + 1, true)] {
        peer.send_to(&vec![0x55; length], to).unwrap();
        let check = |packet: Received<'_>| {
            assert_eq!(packet.truncated, cut, "{length} bytes");
            assert_eq!(payload(&packet), [0x55; Received::MAX_PACKET]);
            assert!(packet.buffer.len() - packet.range.end >= Received::TAILROOM);
            Verdict::Drop
        };
        run_until(&mut driver, check, |sum| sum.received == 1);
    }
}

pub(crate) fn delivers_empty_datagrams(mut driver: impl Driver) {
    let to = add(&mut driver, 0);
    let peer = peer(LOOPBACK);
    flood(&peer, to, b"", 20);
    let check = |packet: Received<'_>| {
        assert!(payload(&packet).is_empty());
        echo(packet)
    };
    run_until(&mut driver, check, |sum| sum.sent == 20);
    assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 0);
}

/// Also that nothing leaks: far more refusals than there are buffers, then all is as before.
pub(crate) fn counts_refused_sends_and_goes_on(mut driver: impl Driver) {
    let to = add(&mut driver, 0);
    let peer = peer(LOOPBACK);
    for (reason, at) in [(errno::EACCES, 0), (errno::EBADF, 1), (errno::EFAULT, 2)] {
        for _ in 0..30 {
            flood(&peer, to, b"x", 100);
            let refuse = |packet: Received<'_>| match at {
                0 => Verdict::Send {
                    from: Token(0),
                    to: "255.255.255.255:9".parse().unwrap(),
                    range: packet.range,
                },
                1 => Verdict::Send { from: Token(99), to: packet.source, range: packet.range },
                _ => Verdict::Send { from: Token(0), to: packet.source, range: 0..1 << 20 },
            };
            run_until(&mut driver, refuse, |sum| sum.send_errors == 100 && sum.sent == 100);
        }
        assert_eq!(driver.last_send_error().unwrap().raw_os_error(), Some(reason));
    }
    peer.send_to(b"good", to).unwrap();
    let sum = run_until(&mut driver, echo, |sum| sum.sent == 1);
    assert_eq!(sum.send_errors, 0);
    assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 4);
}

/// The errno values that the seam documents; the numbers are those of every Linux.
mod errno {
    pub(super) const EBADF: i32 = 9;
    pub(super) const EACCES: i32 = 13;
    pub(super) const EFAULT: i32 = 14;
}

pub(crate) fn tells_of_kernel_drops(mut driver: impl Driver) {
    const SENT: usize = 500;
    let options = SocketOptions { receive_buffer: Some(4096), ..Default::default() };
    let socket = open_media_socket(LOOPBACK.parse().unwrap(), options).unwrap();
    let to = socket.local_addr().unwrap();
    let peer = peer(LOOPBACK);
    flood(&peer, to, b"flood", SENT);
    driver.add(Token(0), socket).unwrap();
    let sum = run_until(&mut driver, |_| Verdict::Drop, |sum| sum.received > 0 && !sum.more);
    assert!(sum.received < SENT, "nothing was dropped");
    peer.send_to(b"later", to).unwrap();
    let mut drops = 0;
    let count = |packet: Received<'_>| {
        drops = packet.kernel_drops;
        Verdict::Drop
    };
    run_until(&mut driver, count, |sum| sum.received == 1);
    assert_eq!(drops as usize + sum.received, SENT);
}
