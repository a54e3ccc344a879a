//! Sending to a schedule and receiving what came through: one thread each.
//!
//! The sender is open loop: packet `n` of a flow is due at `start + phase + n × ptime` whatever
//! came before. The receiver takes the kernel's receive time, so its own delays don't count.

mod receiver;
mod schedule;
mod sender;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

pub use receiver::Listener;
pub use schedule::Schedule;
pub use sender::Talker;

use crate::measure::Direction;

/// One leg of a call: our socket, the relay's port that faces it, and the keys of both ways.
pub struct Leg {
    /// Our RTP socket.
    pub socket: UdpSocket,
    /// The relay's RTP port.
    pub relay: SocketAddr,
    /// Protects what we send; `None` on a plain leg.
    pub protect: Option<srtp::Sender>,
    /// Opens what we receive; `None` on a plain leg.
    pub open: Option<srtp::Receiver>,
}

/// A call: the offering leg and the answering leg.
pub struct MediaCall {
    /// The leg that offered (plain RTP).
    pub offerer: Leg,
    /// The leg that answered (SRTP).
    pub answerer: Leg,
}

/// How far a run has come, for the progress bar; counts only, written with relaxed stores.
#[derive(Default)]
pub struct Progress {
    /// Packets sent.
    pub sent: AtomicU64,
    /// Packets received.
    pub received: AtomicU64,
    /// Set when the sender is done and stragglers have had their time.
    stop: AtomicBool,
}

/// What a run measured.
pub struct Measured {
    /// From offerers to answerers.
    pub forward: Direction,
    /// From answerers to offerers.
    pub backward: Direction,
    /// How late the generator itself sent, nanoseconds.
    pub lateness_ns: Histogram<u64>,
    /// Packets that our own kernel socket buffers lost: the generator's fault, not the relay's.
    pub own_receive_drops: u64,
}

/// Time after the last packet in which stragglers still count as received.
const LINGER: Duration = Duration::from_millis(500);

/// Runs media over `calls`, calling `watch` about ten times a second.
pub fn run(
    calls: Vec<MediaCall>,
    schedule: &Schedule,
    mut watch: impl FnMut(&Progress),
) -> Result<Measured> {
    let progress = Progress::default();
    let (talkers, listeners) = split(calls)?;
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receiver::run(listeners, schedule, &progress));
        let sending = scope.spawn(|| sender::run(talkers, schedule, &progress));
        while !sending.is_finished() && !receiving.is_finished() {
            watch(&progress);
            thread::sleep(Duration::from_millis(100));
        }
        thread::sleep(LINGER);
        progress.stop.store(true, Ordering::Relaxed);
        let lateness_ns = joined(sending.join()).context("sending")?;
        let received = joined(receiving.join()).context("receiving")?;
        watch(&progress);
        let [forward, backward] = received.directions;
        Ok(Measured { forward, backward, lateness_ns, own_receive_drops: received.kernel_drops })
    })
}

/// A thread's result; its panic goes on in ours.
fn joined<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Flow `2 × call` goes forward, `2 × call + 1` backward; each leg sends one and receives the
/// other.
fn split(calls: Vec<MediaCall>) -> Result<(Vec<Talker>, Vec<Listener>)> {
    let mut talkers = Vec::with_capacity(calls.len() * 2);
    let mut listeners = Vec::with_capacity(calls.len() * 2);
    for (index, call) in calls.into_iter().enumerate() {
        let forward = 2 * index as u32;
        for (leg, sends, receives) in
            [(call.offerer, forward, forward + 1), (call.answerer, forward + 1, forward)]
        {
            let socket = leg.socket.try_clone().context("a second handle for a media socket")?;
            talkers.push(Talker { flow: sends, socket, to: leg.relay, protect: leg.protect });
            listeners.push(Listener { flow: receives, socket: leg.socket, open: leg.open });
        }
    }
    Ok((talkers, listeners))
}
