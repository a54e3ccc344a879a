//! CPU and latency of a plain relay, per driver, with nothing but the drivers in it.
//!
//! One thread relays flows between pairs of sockets; another sends to all of them in turn, on a
//! fixed schedule, and measures what comes back from the time each packet was due. The first is
//! pinned to CPU 0, the second to CPU 1 (with taskset(1), when it is there).
//!
//! ```text
//! cargo run --release -p packet-io --example relay -- [FLOWS [PACKETS_PER_SECOND [SECONDS [NAME...]]]]
//! ```

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{env, error, fs, io, thread};

use packet_io::{
    AnyDriver, Config, Driver, Epoll, Received, SocketOptions, TaskRun, Token, Uring, Verdict,
    open_media_socket, wait_readable,
};

type Result<T> = std::result::Result<T, Box<dyn error::Error + Send + Sync>>;

/// G.711, 20 ms, in RTP.
const PACKET: usize = 172;
const BUDGET: usize = 256;
/// Packets that leave together, as when many calls share a clock edge.
const BURST: u64 = 8;

/// What the relay thread tells of one run.
struct Relayed {
    packets: u64,
    turns: u64,
    wakes: u64,
    cpu: Duration,
    set_up: Duration,
}

/// What the sending thread tells of one run.
struct Measured {
    sent: u64,
    latencies: Vec<u32>,
}

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut number = |default: u64| match arguments.next() {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    let (flows, rate, seconds) = (number(1000)?, number(100_000)?, number(5)?);
    let names: Vec<String> = arguments.collect();
    println!("{flows} flows, {rate} packets/s of {PACKET} bytes, {seconds} s each");
    println!(
        "driver      us/packet  packets/turn  wakes/s  p50 us  p99 us  p99.9 us  lost  us/socket"
    );
    for (name, open) in variants() {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            run(name, open, flows, rate, Duration::from_secs(seconds))?;
        }
    }
    Ok(())
}

type Open = fn() -> io::Result<AnyDriver>;

fn variants() -> [(&'static str, Open); 6] {
    const AT_ONCE: Duration = Duration::ZERO;
    [
        ("uring", || uring(Config::default())),
        ("uring-now", || uring(Config { linger: AT_ONCE, ..Config::default() })),
        ("uring-4096", || uring(Config { buffers: 4096, ..Config::default() })),
        ("uring-coop", || uring(Config { task_run: TaskRun::Cooperative, ..Config::default() })),
        ("epoll", || epoll(Config::default())),
        ("epoll-now", || epoll(Config { linger: AT_ONCE, ..Config::default() })),
    ]
}

fn epoll(config: Config) -> io::Result<AnyDriver> {
    Epoll::new(&config).map(AnyDriver::Epoll)
}

fn uring(config: Config) -> io::Result<AnyDriver> {
    Uring::new(&config).map(AnyDriver::Uring).map_err(io::Error::other)
}

fn run(name: &str, open: Open, flows: u64, rate: u64, length: Duration) -> Result<()> {
    let sink = UdpSocket::bind("127.0.0.1:0")?;
    let sink_address = sink.local_addr()?;
    let stop = Arc::new(AtomicBool::new(false));
    let (ready, addresses) = mpsc::channel();
    let stopped = Arc::clone(&stop);
    let relay = thread::spawn(move || -> Result<Relayed> {
        pin(0);
        let mut driver = open()?;
        let mut addresses = Vec::new();
        let start = Instant::now();
        for token in 0..flows as u32 {
            let any = "127.0.0.1:0".parse()?;
            let socket = open_media_socket(any, SocketOptions::default())?;
            addresses.push(socket.local_addr()?);
            driver.add(Token(token), socket)?;
        }
        driver.flush()?;
        let set_up = start.elapsed() / flows as u32;
        ready.send(addresses)?;
        let relayed = relay(&mut driver, sink_address, &stopped)?;
        Ok(Relayed { set_up, ..relayed })
    });
    let addresses = addresses.recv()?;
    pin(1);
    let measured = blast(&sink, &addresses, rate, length)?;
    stop.store(true, Ordering::Relaxed);
    let relayed = relay.join().map_err(|_| "the relay thread panicked")??;
    report(name, &relayed, measured, length);
    Ok(())
}

/// Sends what each socket receives to `sink` from the other socket of its pair.
fn relay(driver: &mut AnyDriver, sink: SocketAddr, stop: &AtomicBool) -> Result<Relayed> {
    let before = cpu_time()?;
    let (mut packets, mut turns, mut wakes) = (0, 0, 0);
    while !stop.load(Ordering::Relaxed) {
        wait_readable(driver.readiness(), Duration::from_millis(100))?;
        wakes += 1;
        loop {
            let turn = driver.turn(BUDGET, |packet: Received<'_>| Verdict::Send {
                from: Token(packet.token.0 ^ 1),
                to: sink,
                range: packet.range,
            })?;
            packets += turn.sent as u64;
            turns += 1;
            if !turn.more {
                break;
            }
        }
    }
    Ok(Relayed { packets, turns, wakes, cpu: cpu_time()? - before, set_up: Duration::ZERO })
}

/// Sends to `addresses` in turn, each packet carrying when it was due, and reads what returns.
fn blast(
    sink: &UdpSocket,
    addresses: &[SocketAddr],
    rate: u64,
    length: Duration,
) -> Result<Measured> {
    sink.set_nonblocking(true)?;
    let source = UdpSocket::bind("127.0.0.1:0")?;
    let start = Instant::now();
    let total = rate * length.as_secs();
    let mut measured = Measured { sent: 0, latencies: Vec::with_capacity(total as usize) };
    let mut packet = [0x80; PACKET];
    while measured.sent < total {
        let due = measured.sent / BURST * BURST * 1_000_000_000 / rate;
        if (start.elapsed().as_nanos() as u64) < due {
            collect(sink, start, &mut measured)?;
            continue;
        }
        packet[12..20].copy_from_slice(&due.to_ne_bytes());
        source.send_to(&packet, addresses[measured.sent as usize % addresses.len()])?;
        measured.sent += 1;
    }
    let end = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        collect(sink, start, &mut measured)?;
    }
    Ok(measured)
}

/// Reads what has come back, a burst at most.
fn collect(sink: &UdpSocket, start: Instant, measured: &mut Measured) -> Result<()> {
    let mut packet = [0; PACKET];
    for _ in 0..BURST {
        match sink.recv(&mut packet) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
        let due = u64::from_ne_bytes(packet[12..20].try_into()?);
        let late = (start.elapsed().as_nanos() as u64).saturating_sub(due);
        measured.latencies.push(late.try_into().unwrap_or(u32::MAX));
    }
    Ok(())
}

fn report(name: &str, relayed: &Relayed, mut measured: Measured, length: Duration) {
    measured.latencies.sort_unstable();
    let at = |quantile: f64| {
        let index = (measured.latencies.len() as f64 * quantile) as usize;
        measured.latencies.get(index).map_or(f64::NAN, |&ns| f64::from(ns) / 1000.0)
    };
    println!(
        "{name:10}  {:9.2}  {:12.1}  {:7.0}  {:6.0}  {:6.0}  {:8.0}  {:4}  {:9.1}",
        relayed.cpu.as_secs_f64() * 1e6 / relayed.packets as f64,
        relayed.packets as f64 / relayed.turns as f64,
        relayed.wakes as f64 / length.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        measured.sent - measured.latencies.len() as u64,
        relayed.set_up.as_secs_f64() * 1e6,
    );
}

/// CPU time of the calling thread so far.
fn cpu_time() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// Pins the calling thread; without taskset the figures are noisier, nothing else.
fn pin(cpu: u32) {
    let thread = fs::read_link("/proc/thread-self").unwrap_or_default();
    let id = thread.file_name().unwrap_or_default();
    let pinned = Command::new("taskset").arg("-cp").arg(cpu.to_string()).arg(id).output();
    if !pinned.is_ok_and(|output| output.status.success()) {
        eprintln!("not pinned to CPU {cpu}: no taskset, or no such CPU");
    }
}
