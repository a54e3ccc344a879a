//! "No allocation per packet" is measured: a counting allocator sees a worker relay thousands of
//! packets, in both directions, plain to SRTP and back, with RTCP, over every driver; with consent
//! checks that go up to an agents' thread, a stranger's flood of checks and ClientHellos that does
//! not, through a bundle's routes one way and into it the other; under one key and, after a step to
//! it, under the next.
//!
//! A binary of its own with a single test, because the allocator counts the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod relay_support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use gateway::relay::command::{
    AgentTap, Command, ComponentPath, IcePath, NamedSources, Route, StreamIndex, StreamPlan,
    WorkerSnapshot,
};
use gateway::relay::drop_reason::DropReason;
use gateway::relay::key_plan::{ReceivePlan, SendPlan};
use gateway::relay::uplink::{Intake, uplink};
use gateway::relay::worker::{self, StartError, WorkerConfig, WorkerHandle};
use gateway::webrtc::plan::{Epoch, IceGeneration};
use packet_io::Choice;
use relay_support::sys::Counting;
use relay_support::*;
use srtp::{Mki, Profile};
use tokio::sync::oneshot;

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

const ROUNDS: u16 = 2000;
const WARM_UP: u16 = 100;
const HALF: u16 = 1000;

/// Two parties and packets prepared beforehand, so that sending them allocates nothing.
struct Load {
    plain: UdpSocket,
    secure: UdpSocket,
    stranger: UdpSocket,
    local: [SocketAddr; 2],
    from_plain: Vec<Vec<u8>>,
    from_secure: Vec<Vec<u8>>,
}

impl Load {
    fn set_up(worker: &WorkerHandle, profile: Profile) -> Self {
        let party = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        };
        let (plain, secure, stranger) = (party(), party(), party());
        let ((ports_a, local_a), (ports_b, local_b)) = (open_pair(), open_pair());
        let muxed = |party: &UdpSocket| remote([party.local_addr().unwrap(); 2]);
        let streams = [
            StreamPlan {
                sockets: Some(ports_a),
                remote: muxed(&plain),
                receive_key: ReceivePlan::Clear,
                send_key: SendPlan::Clear,
                rtcp_mux: true,
                ..unchanged(1)
            },
            StreamPlan {
                sockets: Some(ports_b),
                remote: muxed(&secure),
                receive_key: set_receive(profile, 1),
                send_key: set_send_either(profile, [2, 3]),
                rtcp_mux: true,
                agent: Some(AgentTap {
                    uplink: 0,
                    ice: Some(IceGeneration(1)),
                    dtls: Some(Epoch(1)),
                    named: NamedSources::default(),
                }),
                routes: vec![Route { payload_types: 1 << 8, ..Route::default() }],
                ..unchanged(0)
            },
        ];
        worker.commands.blocking_send(Command::Apply(call(streams))).unwrap();
        let at = secure.local_addr().unwrap();
        let component = ComponentPath { sources: vec![at], destination: Some(at) };
        let path = IcePath { components: [component, ComponentPath::default()] };
        let (stream, generation) = (StreamIndex(1), IceGeneration(1));
        let found = Command::Path { call: CALL, stream, generation, path };
        worker.commands.blocking_send(found).unwrap();
        let mut crypto = Crypto::new(profile, 1, 2);
        // Every tenth packet is RTCP.
        let is_report = |round: u16| round % 10 == 9;
        let from_plain = (0..ROUNDS).map(|round| match is_report(round) {
            true => receiver_report(1, 2),
            false => rtp(1, round),
        });
        let from_secure = (0..ROUNDS).map(|round| match is_report(round) {
            true => crypto.protect_rtcp(&receiver_report(1, 2)),
            false => crypto.protect(&rtp(2, round)),
        });
        let (from_plain, from_secure) = (from_plain.collect(), from_secure.collect());
        Self { plain, secure, stranger, local: [local_a[0], local_b[0]], from_plain, from_secure }
    }

    fn run(&self, rounds: std::ops::Range<u16>) {
        let mut buffer = [0; 2048];
        for round in rounds.map(usize::from) {
            for bytes in [CHECK, CLIENT_HELLO] {
                self.stranger.send_to(bytes, self.local[1]).unwrap();
            }
            self.secure.send_to(CHECK, self.local[1]).unwrap();
            self.plain.send_to(&self.from_plain[round], self.local[0]).unwrap();
            self.secure.send_to(&self.from_secure[round], self.local[1]).unwrap();
            self.secure.recv(&mut buffer).expect("relayed");
            self.plain.recv(&mut buffer).expect("relayed");
        }
    }
}

/// A binding request (RFC 8489 section 5).
const CHECK: &[u8] = &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
/// A DTLS record (RFC 6347 section 4.1), as far as a worker looks.
const CLIENT_HELLO: &[u8] = &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0];

/// An agents' thread, which ends with the workers it listens to.
fn listen(intake: Intake) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            while intake.stun().is_some() || intake.dtls().is_some() {}
            intake.sleep(Duration::from_millis(100));
        }
    });
    stop
}

/// RTP packets to the secure party under the key in use.
fn sealed(worker: &WorkerHandle) -> u64 {
    let (reply, answer) = oneshot::channel();
    worker.commands.blocking_send(Command::Report { call: CALL, reply }).unwrap();
    answer.blocking_recv().unwrap().unwrap().streams[1].keyed.sealed
}

fn snapshot(worker: &WorkerHandle) -> WorkerSnapshot {
    let (reply, answer) = oneshot::channel();
    worker.commands.blocking_send(Command::Snapshot(reply)).unwrap();
    answer.blocking_recv().unwrap()
}

#[test]
fn relaying_and_handing_up_allocate_nothing_over_any_driver() {
    for io in [Choice::Epoll, Choice::Uring] {
        for profile in [Profile::AesCm128HmacSha1_80, Profile::AeadAes256Gcm] {
            let (uplink, intake) = uplink();
            let config = WorkerConfig { io, uplinks: vec![uplink], ..WorkerConfig::default() };
            let worker = match worker::spawn(config) {
                Ok(worker) => worker,
                Err(StartError::Driver(error)) if io == Choice::Uring => {
                    println!("SKIPPED no_alloc: {error}");
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let stop = listen(intake);
            let load = Load::set_up(&worker, profile);
            load.run(0..WARM_UP);
            let before = ALLOCATOR.requests();
            load.run(WARM_UP..HALF);
            let first = ALLOCATOR.requests() - before;
            let mki = Mki::new(&[3]).unwrap();
            let next = Command::SwitchKey { call: CALL, stream: StreamIndex(1), mki };
            worker.commands.blocking_send(next).unwrap();
            // It frees the command: let it.
            snapshot(&worker);
            let before = ALLOCATOR.requests();
            load.run(HALF..ROUNDS);
            let during = first + ALLOCATOR.requests() - before;
            let packets = 2 * u32::from(ROUNDS - WARM_UP);
            assert_eq!(during, 0, "{during} allocations for {packets} packets, {}", worker.driver);
            assert_eq!(sealed(&worker), u64::from(ROUNDS - HALF) / 10 * 9, "under the next key");
            let WorkerSnapshot { agent, drops, .. } = snapshot(&worker);
            let dropped = |reason| drops[reason as usize];
            assert!(agent.stun > 0, "nothing went up: {agent:?}");
            assert_eq!(dropped(DropReason::AgentSource), u64::from(ROUNDS));
            assert!(dropped(DropReason::AgentRate) > 0, "a stranger was never one too many");
            stop.store(true, Ordering::Relaxed);
            worker.commands.blocking_send(Command::Stop).unwrap();
            worker.thread.join().unwrap().unwrap();
        }
    }
}
