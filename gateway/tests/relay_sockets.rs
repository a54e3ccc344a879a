//! A worker on its own thread with real sockets on loopback: every driver relays both ways, says
//! what it is, and leaves when told to.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod relay_support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use gateway::relay::command::{
    AgentTap, CallKey, CallPlan, CallReport, Command, ComponentPath, Footing, IcePath,
    NamedSources, StreamIndex, StreamPlan, WorkerEvent, WorkerSnapshot,
};
use gateway::relay::key_plan::{Handover, HandshakeKeys, ReceivePlan, SendPlan, SrtpKey};
use gateway::relay::uplink::{AgentPacket, Intake, uplink};
use gateway::relay::worker::{self, StartError, WorkerConfig, WorkerHandle};
use gateway::webrtc::plan::{Epoch, IceGeneration};
use packet_io::Choice;
use relay_support::*;
use srtp::Profile;
use tokio::sync::oneshot;

const PROFILE: Profile = Profile::AeadAes128Gcm;
const PACKETS: u16 = 500;

fn start(io: Choice) -> Option<WorkerHandle> {
    start_as(0, io)
}

fn start_as(index: usize, io: Choice) -> Option<WorkerHandle> {
    match worker::spawn(WorkerConfig { index, io, ..WorkerConfig::default() }) {
        Ok(handle) => Some(handle),
        Err(StartError::Driver(error)) if io == Choice::Uring => {
            println!("SKIPPED relay_sockets: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn ask<T>(worker: &WorkerHandle, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
    let (reply, answer) = oneshot::channel();
    worker.commands.blocking_send(command(reply)).unwrap();
    answer.blocking_recv().unwrap()
}

/// A party's two sockets, with patience.
struct Party([UdpSocket; 2]);

impl Party {
    fn new() -> Self {
        Self(std::array::from_fn(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        }))
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        self.0.each_ref().map(|socket| socket.local_addr().unwrap())
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = self.0[0].recv(&mut buffer).expect("a packet within five seconds");
        buffer[..length].to_vec()
    }
}

/// A call between a plain party and an SRTP party.
struct Call {
    plain: Party,
    secure: Party,
    crypto: Crypto,
    /// Our RTP addresses.
    local: [SocketAddr; 2],
}

impl Call {
    fn set_up(worker: &WorkerHandle, key: CallKey) -> Self {
        let (plain, secure) = (Party::new(), Party::new());
        let ((ports_a, local_a), (ports_b, local_b)) = (open_pair(), open_pair());
        let streams = [
            StreamPlan {
                sockets: Some(ports_a),
                remote: remote(plain.addresses()),
                receive_key: ReceivePlan::Clear,
                send_key: SendPlan::Clear,
                tos: Some(0xb8),
                ..unchanged(1)
            },
            StreamPlan {
                sockets: Some(ports_b),
                remote: remote(secure.addresses()),
                receive_key: set_receive(PROFILE, 1),
                send_key: set_send(PROFILE, 2),
                ..unchanged(0)
            },
        ];
        let plan = CallPlan { call: key, streams: streams.into() };
        worker.commands.blocking_send(Command::Apply(plan)).unwrap();
        let crypto = Crypto::new(PROFILE, 1, 2);
        Self { plain, secure, crypto, local: [local_a[0], local_b[0]] }
    }

    /// One packet each way, checked byte by byte.
    fn exchange(&mut self, sequence: u16) {
        let packet = rtp(1, sequence);
        self.plain.0[0].send_to(&packet, self.local[0]).unwrap();
        assert_eq!(self.crypto.open(&self.secure.receive()).unwrap(), packet);
        let protected = self.crypto.protect(&rtp(2, sequence));
        self.secure.0[0].send_to(&protected, self.local[1]).unwrap();
        assert_eq!(self.plain.receive(), rtp(2, sequence));
    }
}

fn relays_over(io: Choice, name: &str) {
    let Some(worker) = start(io) else { return };
    assert_eq!(worker.driver, name);
    assert!(!worker.reason.is_empty());
    let mut call = Call::set_up(&worker, CALL);
    for sequence in 0..PACKETS {
        call.exchange(sequence);
    }
    let snapshot: WorkerSnapshot = ask(&worker, Command::Snapshot);
    let packets = u64::from(PACKETS) * 2;
    assert_eq!((snapshot.packets_in, snapshot.packets_out), (packets, packets));
    assert_eq!((snapshot.calls, snapshot.streams, snapshot.driver), (1, 2, name));
    assert_eq!(snapshot.residence.len() + snapshot.clock_steps, packets);
    assert_eq!(snapshot.drops.iter().sum::<u64>(), 0);

    let report: Option<CallReport> = ask(&worker, |reply| Command::Close { call: CALL, reply });
    assert_eq!(report.unwrap().streams[0].rtp_in.packets, u64::from(PACKETS));
    // The ports are free as soon as the worker has answered the next command.
    ask(&worker, Command::Snapshot);
    for address in call.local {
        UdpSocket::bind(address).expect("a closed call gives its ports back");
    }
    stop(worker);
}

fn stop(worker: WorkerHandle) {
    worker.commands.blocking_send(Command::Stop).unwrap();
    worker.thread.join().expect("no panic").expect("no driver error");
}

#[test]
fn epoll_relays_both_ways() {
    relays_over(Choice::Epoll, "epoll");
}

#[test]
fn io_uring_relays_both_ways() {
    relays_over(Choice::Uring, "io_uring");
}

#[test]
fn a_burst_beyond_one_batch_is_relayed_whole_by_every_driver() {
    for io in [Choice::Epoll, Choice::Uring] {
        let Some(worker) = start(io) else { continue };
        let mut calls: Vec<Call> = (1..=20).map(|n| Call::set_up(&worker, CallKey(n))).collect();
        ask(&worker, Command::Snapshot);
        for sequence in 0..50 {
            for call in &calls {
                call.plain.0[0].send_to(&rtp(1, sequence), call.local[0]).unwrap();
            }
        }
        for call in &mut calls {
            for sequence in 0..50 {
                let packet = call.secure.receive();
                assert_eq!(call.crypto.open(&packet).unwrap(), rtp(1, sequence));
            }
        }
        stop(worker);
    }
}

/// A check goes up, the answer leaves by a lent socket; what the agents found out comes down.
#[test]
fn agents_are_woken_answer_by_a_lent_socket_and_bring_path_and_keys() {
    for io in [Choice::Epoll, Choice::Uring] {
        let (uplink, intake) = uplink();
        let config = WorkerConfig { io, uplinks: vec![uplink], ..WorkerConfig::default() };
        let worker = match worker::spawn(config) {
            Ok(worker) => worker,
            Err(StartError::Driver(error)) if io == Choice::Uring => {
                println!("SKIPPED relay_sockets: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let mut call = Call::set_up(&worker, CALL);
        let (stream, generation) = (StreamIndex(1), IceGeneration(1));
        let (ice, dtls) = (Some(generation), Some(Epoch(1)));
        let footing = Footing { socket: call.local[1], ice, dtls };
        assert!(matches!(lend(&worker, footing), [None, None]), "the plan has not come");
        let tap = AgentTap { uplink: 0, ice, dtls, named: NamedSources::default() };
        let streams = vec![unchanged(1), StreamPlan { agent: Some(tap), ..unchanged(0) }];
        worker.commands.blocking_send(Command::Apply(CallPlan { call: CALL, streams })).unwrap();

        let party = call.secure.addresses()[0];
        call.secure.0[0].send_to(CHECK, call.local[1]).unwrap();
        let heard = woken(&intake);
        assert_eq!((heard.call, heard.stream), (CALL, StreamIndex(1)));
        assert_eq!((heard.source, heard.local), (party, call.local[1]));
        assert_eq!(heard.bytes(), CHECK);

        for other in [
            Footing { socket: call.local[0], ..footing },
            Footing { ice: Some(IceGeneration(2)), ..footing },
            Footing { dtls: Some(Epoch(2)), ..footing },
        ] {
            assert!(matches!(lend(&worker, other), [None, None]), "{other:?}");
        }
        let [Some(socket), Some(_)] = lend(&worker, footing) else { panic!("no sockets") };
        socket.send_to(b"answer", heard.source).unwrap();
        assert_eq!(call.secure.receive(), b"answer");

        let component = ComponentPath { sources: vec![party], destination: Some(party) };
        let path = IcePath { components: [component, ComponentPath::default()] };
        worker
            .commands
            .blocking_send(Command::Path { call: CALL, stream, generation, path })
            .unwrap();
        let key = |byte| SrtpKey::unnamed(master_key(PROFILE, byte));
        let keys = HandshakeKeys { receive: key(3), send: key(4), handover: Handover::AtOnce };
        let epoch = Epoch(1);
        let keys = Command::Secure { call: CALL, stream, epoch, keys: Box::new(keys) };
        worker.commands.blocking_send(keys).unwrap();
        ask(&worker, Command::Snapshot);
        call.crypto = Crypto::new(PROFILE, 3, 4);
        for sequence in 0..PACKETS {
            call.exchange(sequence);
        }
        assert_eq!(ask(&worker, Command::Snapshot).agent.stun, 1);
        stop(worker);
    }
}

/// A binding request (RFC 8489 section 5).
const CHECK: &[u8] = &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/// What the worker lends of stream 1.
fn lend(worker: &WorkerHandle, footing: Footing) -> [Option<UdpSocket>; 2] {
    let (reply, lent) = std::sync::mpsc::sync_channel(1);
    let stream = StreamIndex(1);
    worker.commands.blocking_send(Command::Lend { call: CALL, stream, footing, reply }).unwrap();
    lent.recv().unwrap().unwrap()
}

/// The next check, for which the thread sleeps.
fn woken(intake: &Intake) -> AgentPacket {
    let start = Instant::now();
    loop {
        if let Some(packet) = intake.stun() {
            return packet;
        }
        intake.sleep(Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(30), "nobody woke the thread");
    }
}

#[test]
fn idle_calls_are_told_of_without_being_asked() {
    let config = WorkerConfig { idle_after: Duration::from_millis(300), ..Default::default() };
    let mut worker = worker::spawn(config).unwrap();
    let _call = Call::set_up(&worker, CallKey(7));
    let event = worker.events.blocking_recv().unwrap();
    assert!(matches!(event, WorkerEvent::Idle { call: CallKey(7), .. }), "{event:?}");
    stop(worker);
}

#[test]
fn a_thousand_idle_calls_take_less_than_one_percent_of_a_core() {
    for io in [Choice::Epoll, Choice::Uring] {
        let Some(worker) = start_as(IDLE_WORKER, io) else { continue };
        for n in 0..1000 {
            let (ports_a, _) = open_pair();
            let (ports_b, _) = open_pair();
            let streams = vec![
                StreamPlan { sockets: Some(ports_a), ..unchanged(1) },
                StreamPlan { sockets: Some(ports_b), ..unchanged(0) },
            ];
            let plan = CallPlan { call: CallKey(n), streams };
            worker.commands.blocking_send(Command::Apply(plan)).unwrap();
        }
        assert_eq!(ask(&worker, Command::Snapshot).calls, 1000);
        let before = cpu_ns();
        std::thread::sleep(WATCHED);
        let share = (cpu_ns() - before) as f64 / WATCHED.as_nanos() as f64;
        println!("{}: {:.3} % of a core", worker.driver, share * 100.0);
        assert!(share < 0.01, "{}: {:.2} % of a core", worker.driver, share * 100.0);
        stop(worker);
    }
}

/// Tells its thread from those of the tests beside it.
const IDLE_WORKER: usize = 77;
const WATCHED: Duration = Duration::from_secs(3);

/// Time on a processor of this process's worker threads, by the scheduler's own account.
fn cpu_ns() -> u64 {
    let threads =
        std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    threads
        .filter(|thread| read(thread.join("comm")).trim() == format!("relay-{IDLE_WORKER}"))
        .map(|thread| {
            read(thread.join("schedstat")).split(' ').next().unwrap().parse::<u64>().unwrap()
        })
        .sum()
}

#[test]
fn a_worker_leaves_when_nobody_can_command_it_any_more() {
    let WorkerHandle { commands, thread, .. } = worker::spawn(WorkerConfig::default()).unwrap();
    drop(commands);
    thread.join().unwrap().unwrap();
}

#[test]
fn a_worker_may_be_started_from_within_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let worker = runtime.block_on(async { worker::spawn(WorkerConfig::default()) }).unwrap();
    stop(worker);
}

#[test]
fn a_core_that_does_not_exist_is_named_in_the_error() {
    let config = WorkerConfig { core: Some(1000), ..WorkerConfig::default() };
    let error = worker::spawn(config).unwrap_err().to_string();
    assert!(error.starts_with("worker 0 cannot be pinned to core 1000"), "{error}");
}
