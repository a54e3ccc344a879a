//! Steady traffic through the tunnels, every packet of which is accounted for.
//!
//! Each pair of SAs carries one flow each way: UDP packets with numbers from 0, sent at a steady
//! rate from start to stop. The receiver marks each number; what is missing, came twice or was
//! damaged shows at the end.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::net::sockopt;
use socket2::SockRef;

use crate::hosts::{Hosts, Side};

/// Flows of all pairs, both ways, while it lives.
pub(crate) struct Traffic {
    stop_sending: Arc<AtomicBool>,
    stop_receiving: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Result<Sent>>>,
    receivers: Vec<JoinHandle<Result<Vec<Flow>>>>,
    /// Packets that came, of all flows.
    received: Arc<AtomicU64>,
}

/// What became of all flows.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) damaged: u64,
    /// Longest run of lost packets in one flow, as time at its rate.
    pub(crate) longest_gap: Duration,
}

/// Packets sent in each flow.
struct Sent(Vec<u64>);

#[derive(Default)]
struct Flow {
    seen: Vec<u8>,
    damaged: u64,
}

impl Traffic {
    /// `rate` packets a second each way, spread over all pairs.
    pub(crate) fn start(hosts: &Hosts, pairs: usize, rate: f64) -> Result<Self> {
        let (stop_sending, stop_receiving) = (Arc::default(), Arc::default());
        let (senders, receivers, received) = (Vec::new(), Vec::new(), Arc::default());
        let mut traffic = Self { stop_sending, stop_receiving, senders, receivers, received };
        for side in Side::BOTH {
            let stop = Arc::clone(&traffic.stop_receiving);
            let received = Arc::clone(&traffic.received);
            let (ready, is_ready) = std::sync::mpsc::channel();
            let receive = move || receive(side, pairs, &stop, &received, &ready);
            traffic.receivers.push(hosts.spawn(side, receive)?);
            is_ready.recv().context("the receiver does not start")?;
        }
        for side in Side::BOTH {
            let stop = Arc::clone(&traffic.stop_sending);
            traffic.senders.push(hosts.spawn(side, move || send(side, pairs, rate, &stop))?);
        }
        Ok(traffic)
    }

    /// Stops, waits for what is on its way, and counts.
    pub(crate) fn finish(mut self, rate_per_flow: f64) -> Result<Account> {
        self.stop_sending.store(true, Ordering::Relaxed);
        let sent = join(&mut self.senders)?;
        self.wait_for_silence();
        self.stop_receiving.store(true, Ordering::Relaxed);
        let received = join(&mut self.receivers)?;
        let mut account = Account::default();
        // What left the one side came to the other.
        for (sent, flows) in sent.iter().zip(received.iter().rev()) {
            for (&sent, flow) in sent.0.iter().zip(flows) {
                account.add(sent, flow, rate_per_flow);
            }
        }
        Ok(account)
    }
}

impl Traffic {
    /// An emulated machine may have seconds of traffic still in its queues.
    fn wait_for_silence(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut before = None;
        while Instant::now() < deadline {
            let received = self.received.load(Ordering::Relaxed);
            if before.replace(received) == Some(received) {
                return;
            }
            thread::sleep(SILENCE);
        }
    }
}

impl Account {
    fn add(&mut self, sent: u64, flow: &Flow, rate: f64) {
        let (mut run, mut longest) = (0_u64, 0);
        for number in 0..sent {
            let seen = flow.seen.get(number as usize).copied().unwrap_or_default();
            run = if seen == 0 { run + 1 } else { 0 };
            longest = longest.max(run);
            self.lost += u64::from(seen == 0);
            self.duplicated += u64::from(seen.saturating_sub(1));
        }
        self.sent += sent;
        self.damaged += flow.damaged;
        self.longest_gap = self.longest_gap.max(Duration::from_secs_f64(longest as f64 / rate));
    }
}

fn join<T>(threads: &mut Vec<JoinHandle<Result<T>>>) -> Result<Vec<T>> {
    let join =
        |thread: JoinHandle<Result<T>>| thread.join().map_err(|_| anyhow::anyhow!("panic"))?;
    threads.drain(..).map(join).collect()
}

fn send(side: Side, pairs: usize, rate: f64, stop: &AtomicBool) -> Result<Sent> {
    let sockets = (0..pairs).map(|index| {
        let socket = UdpSocket::bind((side.inner(index).1.as_str(), 0))?;
        socket.connect((side.other().inner(index).1.as_str(), PORT))?;
        SockRef::from(&socket).set_send_buffer_size(BUFFER)?;
        Ok(socket)
    });
    let sockets = sockets.collect::<std::io::Result<Vec<_>>>().context("a sender's sockets")?;
    let mut sent = vec![0_u64; pairs];
    let (mut start, mut total) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let mut due = (start.elapsed().as_secs_f64() * rate) as u64;
        // A machine that stood still is not made up for: one burst would only fill its buffers.
        let most = total + (rate * BURST.as_secs_f64()) as u64 + 1;
        if due > most {
            start += Duration::from_secs_f64((due - most) as f64 / rate);
            due = most;
        }
        while total < due {
            let flow = (total % pairs as u64) as usize;
            // Refused where there is no route yet or no more: then it is lost like any other.
            let _ = sockets[flow].send(&payload(sent[flow]));
            sent[flow] += 1;
            total += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(Sent(sent))
}

fn receive(
    side: Side,
    pairs: usize,
    stop: &AtomicBool,
    received: &AtomicU64,
    ready: &std::sync::mpsc::Sender<()>,
) -> Result<Vec<Flow>> {
    let sockets = (0..pairs).map(|index| {
        let socket = UdpSocket::bind((side.inner(index).1.as_str(), PORT))?;
        sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    let sockets = sockets.collect::<std::io::Result<Vec<_>>>().context("a receiver's sockets")?;
    let _ = ready.send(());
    let mut flows: Vec<Flow> = (0..pairs).map(|_| Flow::default()).collect();
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        for (socket, flow) in sockets.iter().zip(&mut flows) {
            while let Ok(len) = socket.recv(&mut buffer) {
                flow.mark(&buffer[..len]);
                received.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(flows)
}

impl Flow {
    fn mark(&mut self, packet: &[u8]) {
        let number = packet.first_chunk().map(|number| u64::from_be_bytes(*number));
        let Some(number) = number.filter(|number| *packet == payload(*number)) else {
            self.damaged += 1;
            return;
        };
        let at = number as usize;
        if self.seen.len() <= at {
            self.seen.resize(at + 1, 0);
        }
        self.seen[at] = self.seen[at].saturating_add(1);
    }
}

/// 160 bytes that follow from the number.
fn payload(number: u64) -> [u8; 160] {
    let mut payload = [number as u8; 160];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload
}

const PORT: u16 = 7000;
const BUFFER: usize = 4 << 20;
const BURST: Duration = Duration::from_millis(50);
/// As long as this nothing came: then nothing is on its way.
const SILENCE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);
