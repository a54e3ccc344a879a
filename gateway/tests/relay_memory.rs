//! What a call costs the relay in memory, by a counting allocator: 4,000 calls must fit one
//! worker beside what the session keeps of each (12 KiB for both).
//!
//! A binary of its own with a single test, because the allocator counts the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod relay_support;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use gateway::relay::command::{CallKey, CallPlan, PortPair, StreamPlan};
use gateway::relay::key_plan::{ReceivePlan, SendPlan};
use gateway::relay::table::Table;
use packet_io::{Driver, Received, Token, Turn, Verdict};
use relay_support::sys::Counting;
use relay_support::*;
use srtp::Profile;

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// A driver that keeps nothing and delivers one packet per turn.
struct Feed {
    anchor: UdpSocket,
    next: Option<(Token, SocketAddr, Vec<u8>)>,
}

impl Driver for Feed {
    fn add(&mut self, _: Token, _: UdpSocket) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, _: Token) {}

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn turn<F>(&mut self, _: usize, mut relay: F) -> io::Result<Turn>
    where
        F: FnMut(Received<'_>) -> Verdict,
    {
        let Some((token, source, bytes)) = self.next.take() else { return Ok(Turn::default()) };
        let mut buffer = [0; 2048];
        let range = Received::HEADROOM..Received::HEADROOM + bytes.len();
        buffer[range.clone()].copy_from_slice(&bytes);
        let verdict = relay(Received {
            token,
            source,
            timestamp_ns: 1,
            kernel_drops: 0,
            buffer: &mut buffer,
            range,
            truncated: false,
        });
        let sent = usize::from(matches!(verdict, Verdict::Send { .. }));
        Ok(Turn { received: 1, sent, ..Turn::default() })
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.anchor.as_fd()
    }

    fn socket(&self, _: Token) -> Option<&UdpSocket> {
        None
    }

    fn last_send_error(&self) -> Option<io::Error> {
        None
    }
}

const CALLS: u32 = 512;
const PARTY: &str = "127.0.0.1:9";

fn plan(key: CallKey) -> CallPlan {
    let party: SocketAddr = PARTY.parse().unwrap();
    let open = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let stream = |peer, receive_key, send_key| StreamPlan {
        sockets: Some(PortPair { rtp: open(), rtcp: Some(open()) }),
        remote: remote([party; 2]),
        receive_key,
        send_key,
        ..unchanged(peer)
    };
    let profile = Profile::AesCm128HmacSha1_80;
    let streams = vec![
        stream(1, ReceivePlan::Clear, SendPlan::Clear),
        stream(0, set_receive(profile, 1), set_send(profile, 2)),
    ];
    CallPlan { call: key, streams }
}

#[test]
fn a_call_with_media_both_ways_takes_less_than_6_kib() {
    let mut feed = Feed { anchor: UdpSocket::bind("127.0.0.1:0").unwrap(), next: None };
    let mut table = Table::new(1024, Vec::new());
    let party = PARTY.parse().unwrap();
    let before = ALLOCATOR.live_bytes();
    for n in 0..CALLS {
        table.apply(plan(CallKey(u64::from(n))), &mut feed, Instant::now()).unwrap();
        let mut crypto = Crypto::new(Profile::AesCm128HmacSha1_80, 1, 2);
        let report = receiver_report(1, 1);
        let packets = [
            (0, rtp(1, 1)),
            (2, crypto.protect(&rtp(2, 1))),
            (1, report.clone()),
            (3, crypto.protect_rtcp(&report)),
        ];
        for (socket, bytes) in packets {
            feed.next = Some((Token(n * 4 + socket), party, bytes));
            let turn = table.turn(&mut feed, Instant::now(), || 2).unwrap();
            assert_eq!(turn.sent, 1, "socket {socket}");
        }
    }
    let per_call = (ALLOCATOR.live_bytes() - before) / CALLS as isize;
    println!("{per_call} bytes per call");
    assert!(per_call <= 6 * 1024, "{per_call} bytes per call");
}
