//! The way up: what streams hand to the agents' threads, where DTLS and ICE take their time.
//!
//! 1. [`uplink`] makes a pair: the [`Uplink`] goes to every worker, the [`Intake`] to one agents'
//!    thread.
//! 2. A worker copies a STUN message or DTLS record into the queue of its kind. The queues are
//!    bounded, lock-free and made beforehand: a full one refuses, and nobody waits.
//! 3. After its turn it calls the thread, once however many packets there were; who is awake is
//!    not woken. Control calls it too ([`Uplink::call`]) after it left word elsewhere.
//! 4. The thread takes what is there ([`Intake::stun`] before [`Intake::dtls`], so that a storm of
//!    handshakes delays no consent check) and then sleeps ([`Intake::sleep`]).
//!
//! Nothing here judges a packet: whether it may come up at all is settled in `agents`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;

use super::bucket::{Bucket, Rate};
use super::command::{CallKey, StreamIndex};
pub use super::demultiplex::{Component, Protocol};
use super::drop_reason::DropReason;

/// One datagram for an agent.
#[derive(Clone, Debug)]
pub struct AgentPacket {
    /// The call.
    pub call: CallKey,
    /// The stream.
    pub stream: StreamIndex,
    /// On which of its sockets it came.
    pub component: Component,
    /// Who sent it, as far as its header can be believed.
    pub source: SocketAddr,
    /// The address of ours that it came to.
    pub local: SocketAddr,
    length: u16,
    bytes: [u8; Self::MAX],
}

impl AgentPacket {
    /// Longest datagram handed up, in bytes: what an Ethernet frame carries.
    pub const MAX: usize = 1500;

    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// `None` when `datagram` is too long.
    pub(super) fn new(to: Addressee, source: SocketAddr, datagram: &[u8]) -> Option<Self> {
        let Addressee { call, stream, component, local } = to;
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..datagram.len())?.copy_from_slice(datagram);
        let length = datagram.len() as u16;
        Some(Self { call, stream, component, source, local, length, bytes })
    }
}

#[cfg(test)]
impl AgentPacket {
    /// One that came to any of a stream's sockets from anywhere.
    pub(crate) fn of(call: CallKey, stream: StreamIndex, bytes: &[u8]) -> Self {
        let local = SocketAddr::from(([127, 0, 0, 1], 30_000));
        let to = Addressee { call, stream, component: Component::Rtp, local };
        Self::new(to, SocketAddr::from(([198, 51, 100, 7], 40_000)), bytes).unwrap()
    }
}

/// Whose agent a packet is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addressee {
    pub(super) call: CallKey,
    pub(super) stream: StreamIndex,
    pub(super) component: Component,
    pub(super) local: SocketAddr,
}

/// The workers' and control's end. Cloned freely.
#[derive(Clone, Debug)]
pub struct Uplink(Arc<Shared>);

/// The agents' end; stays with one thread once that has slept.
#[derive(Debug)]
pub struct Intake(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// By [`Protocol`].
    queues: [ArrayQueue<AgentPacket>; 2],
    /// [`AWAKE`], [`ASLEEP`] or [`CALLED`].
    state: AtomicU8,
    /// Who sleeps; set before it first does.
    sleeper: OnceLock<Thread>,
}

/// It will look at its queues before it sleeps, unless it has looked already.
const AWAKE: u8 = 0;
/// It sleeps, or is about to.
const ASLEEP: u8 = 1;
/// It must look once more before it sleeps.
const CALLED: u8 = 2;

/// STUN messages that wait: 1.6 MB, 10 ms of an agents' thread.
const STUN_ROOM: usize = 1024;
/// DTLS datagrams that wait: a thread takes 100 ms and more for so many, and the next flight is
/// not sent before half a second.
const DTLS_ROOM: usize = 512;

/// A new pair of ends, with nothing in between.
pub fn uplink() -> (Uplink, Intake) {
    let shared = Arc::new(Shared {
        queues: [ArrayQueue::new(STUN_ROOM), ArrayQueue::new(DTLS_ROOM)],
        state: AtomicU8::new(AWAKE),
        sleeper: OnceLock::new(),
    });
    (Uplink(Arc::clone(&shared)), Intake(shared))
}

impl Uplink {
    /// Something waits for the thread, here or elsewhere: wakes it if it sleeps, else it will not
    /// sleep before it has looked.
    pub fn call(&self) {
        // Released: who sees the call sees what it is about.
        if self.0.state.swap(CALLED, Ordering::Release) == ASLEEP
            && let Some(sleeper) = self.0.sleeper.get()
        {
            sleeper.unpark();
        }
    }

    fn queue(&self, protocol: Protocol) -> &ArrayQueue<AgentPacket> {
        &self.0.queues[protocol as usize]
    }
}

impl Intake {
    /// The STUN message that waits longest.
    pub fn stun(&self) -> Option<AgentPacket> {
        self.0.queues[Protocol::Stun as usize].pop()
    }

    /// The DTLS datagram that waits longest.
    pub fn dtls(&self) -> Option<AgentPacket> {
        self.0.queues[Protocol::Dtls as usize].pop()
    }

    /// Sleeps until somebody calls, or for `patience`; not at all if somebody called since it was
    /// last here. May return early: look, and come back. Always from the same thread.
    pub fn sleep(&self, patience: Duration) {
        let Shared { state, sleeper, .. } = &*self.0;
        sleeper.get_or_init(thread::current);
        let (relaxed, release) = (Ordering::Relaxed, Ordering::Release);
        if state.compare_exchange(AWAKE, ASLEEP, release, relaxed).is_ok() {
            thread::park_timeout(patience);
        }
        // Acquired: what somebody called about is seen from here on.
        state.swap(AWAKE, Ordering::Acquire);
    }
}

/// How well a sender is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// ICE or signalling vouches for its address.
    Known,
    /// Nobody does.
    Stranger,
}

/// One worker's use of an [`Uplink`].
#[derive(Debug)]
pub(super) struct Lane {
    uplink: Uplink,
    /// Of all its streams together.
    strangers: Bucket,
    /// Something was handed up since the thread was last called.
    pending: bool,
}

impl Lane {
    /// Twenty checks a second (RFC 8445 section 14.2: one in 50 ms) of 500 calls being set up. What
    /// strangers send beyond that would cost the thread more than a tenth of its core.
    const STRANGERS: Rate = Rate { interval: Duration::from_micros(100), at_once: 1000 };

    pub(super) fn new(uplink: Uplink) -> Self {
        Self { uplink, strangers: Bucket::default(), pending: false }
    }

    /// Puts a packet in the queue of its kind. Strangers fill no more than half of it.
    pub(super) fn hand_up(
        &mut self,
        protocol: Protocol,
        standing: Standing,
        packet: AgentPacket,
        now: Instant,
    ) -> Result<(), DropReason> {
        let queue = self.uplink.queue(protocol);
        if standing == Standing::Stranger {
            if !self.strangers.admit(Self::STRANGERS, now) {
                return Err(DropReason::AgentRate);
            }
            if queue.len() >= queue.capacity() / 2 {
                return Err(DropReason::AgentQueue);
            }
        }
        queue.push(packet).map_err(|_| DropReason::AgentQueue)?;
        self.pending = true;
        Ok(())
    }

    /// The turn is over: calls the thread if there is anything for it.
    pub(super) fn end_turn(&mut self) {
        if std::mem::take(&mut self.pending) {
            self.uplink.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn packet(source: SocketAddr) -> AgentPacket {
        let local = "127.0.0.1:30000".parse().unwrap();
        let (call, stream, component) = (CallKey(1), StreamIndex(0), Component::Rtp);
        AgentPacket::new(Addressee { call, stream, component, local }, source, b"stun").unwrap()
    }

    fn source() -> SocketAddr {
        "[2001:db8::1]:4000".parse().unwrap()
    }

    #[test]
    fn what_goes_up_comes_out_by_its_kind_and_in_order() {
        let (uplink, intake) = uplink();
        let mut lane = Lane::new(uplink);
        let now = Instant::now();
        let at = |port| SocketAddr::new(source().ip(), port);
        for (protocol, port) in [(Protocol::Dtls, 1), (Protocol::Stun, 2), (Protocol::Stun, 3)] {
            lane.hand_up(protocol, Standing::Known, packet(at(port)), now).unwrap();
        }
        let stun: Vec<_> = std::iter::from_fn(|| intake.stun()).collect();
        assert_eq!(stun.iter().map(|packet| packet.source.port()).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(intake.dtls().unwrap().bytes(), b"stun");
        assert!(intake.dtls().is_none());
    }

    #[test]
    fn a_full_queue_refuses_and_strangers_leave_half_of_it_to_the_known() {
        let (uplink, _intake) = uplink();
        let mut lane = Lane::new(uplink);
        let mut now = Instant::now();
        let mut handed = |standing| {
            (0..4 * STUN_ROOM)
                .filter(|_| {
                    now += Lane::STRANGERS.interval;
                    lane.hand_up(Protocol::Stun, standing, packet(source()), now).is_ok()
                })
                .count()
        };
        assert_eq!(handed(Standing::Stranger), STUN_ROOM / 2);
        assert_eq!(handed(Standing::Known), STUN_ROOM / 2);
        assert_eq!(handed(Standing::Known), 0);
    }

    #[test]
    fn a_call_before_the_sleep_is_not_lost_and_counts_once() {
        let (uplink, intake) = uplink();
        for _ in 0..3 {
            uplink.call();
        }
        let start = Instant::now();
        intake.sleep(LONG);
        assert!(start.elapsed() < LONG);
        intake.sleep(Duration::from_millis(20));
        assert_eq!(intake.0.state.load(Ordering::Relaxed), AWAKE);
    }

    #[test]
    fn a_sleeper_is_woken_by_another_thread_every_time() {
        let (uplink, intake) = uplink();
        let mut lane = Lane::new(uplink);
        let sleeper = thread::spawn(move || {
            let mut taken = 0;
            while taken < 1000 {
                match intake.stun() {
                    Some(_) => taken += 1,
                    None => {
                        let start = Instant::now();
                        intake.sleep(LONG);
                        assert!(start.elapsed() < LONG, "asleep over packet {taken}");
                    }
                }
            }
        });
        for round in 0..1000 {
            lane.hand_up(Protocol::Stun, Standing::Known, packet(source()), Instant::now())
                .unwrap();
            lane.end_turn();
            if round % 10 == 0 {
                thread::sleep(Duration::from_micros(200));
            }
        }
        sleeper.join().unwrap();
    }

    #[test]
    fn a_turn_without_packets_calls_nobody() {
        let (uplink, intake) = uplink();
        let mut lane = Lane::new(uplink);
        lane.end_turn();
        assert_eq!(intake.0.state.load(Ordering::Relaxed), AWAKE);
        lane.hand_up(Protocol::Dtls, Standing::Known, packet(source()), Instant::now()).unwrap();
        assert_eq!(intake.0.state.load(Ordering::Relaxed), AWAKE, "not before the turn's end");
        lane.end_turn();
        assert_eq!(intake.0.state.load(Ordering::Relaxed), CALLED);
    }

    #[test]
    fn what_no_frame_carries_is_not_copied() {
        let packet = packet(source());
        let to = Addressee {
            call: packet.call,
            stream: packet.stream,
            component: packet.component,
            local: packet.local,
        };
        assert!(AgentPacket::new(to, source(), &[0; AgentPacket::MAX]).is_some());
        assert!(AgentPacket::new(to, source(), &[0; AgentPacket::MAX + 1]).is_none());
    }
}
