//! The io_uring driver: multishot recvmsg into a ring of buffers, sends in place.
//!
//! 1. Each socket has one multishot receive armed. The kernel fills a buffer per packet: source,
//!    control messages, packet.
//! 2. A turn takes completions up to its budget and shows each packet to the relay in place.
//!    What is to be sent is queued straight from the buffer.
//! 3. One `io_uring_enter` sends all of it and runs the receives the kernel has deferred.
//! 4. The buffers go back; receives that ended (no buffer left, completion queue full) are armed
//!    again at the start of the next turn, after the buffers they lacked are back.
//!
//! The driver stays on the thread that opened it: the ring has a single issuer.

mod sys;

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::cqueue;
use socket2::{Domain, Socket, Type};

pub use crate::config::{Config, TaskRun};

use self::sys::{BufferId, HEADER, NAME, PACKET, Ring};
use crate::address::{self, RawAddress};
use crate::ancillary::{Ancillary, CONTROL_LENGTH};
use crate::driver::{Driver, Received, Token, Turn, Verdict};
use crate::linger::Linger;
use crate::readiness::wait_readable;
use crate::slots::{Occupant, Slots};

/// Completions copied out of the queue at once: 1 KiB of stack.
const CHUNK: usize = 64;
/// Why io_uring cannot be had, by the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No ring: no io_uring in the kernel, none allowed, or not this [`TaskRun`].
    #[error("io_uring_setup with {0}: {1}")]
    Ring(TaskRun, #[source] io::Error),
    /// No ring of receive buffers (Linux 5.19).
    #[error("registering a ring of {0} receive buffers: {1}")]
    Buffers(u16, #[source] io::Error),
    /// No eventfd to wake the thread.
    #[error("registering an eventfd: {0}")]
    Event(#[source] io::Error),
    /// The eventfd is not signalled at once: packets would wait for milliseconds, or for ever.
    #[error("being woken at once with {0}: {1}")]
    Signal(TaskRun, #[source] io::Error),
    /// No multishot recvmsg (Linux 6.0).
    #[error("arming a multishot recvmsg: {0}")]
    Multishot(#[source] io::Error),
}

/// See the module's documentation.
pub struct Uring {
    ring: Ring,
    /// Signalled by the kernel when there is work. Polling the ring itself would not do: the
    /// kernel does not wake its pollers for work that it has deferred.
    event: File,
    sockets: Slots<()>,
    /// Receives to arm, for those sockets that are still there by then.
    arm: Vec<Occupant>,
    /// Receives to end, of sockets that have gone.
    cancel: Vec<Occupant>,
    last_send_error: Option<i32>,
    linger: Linger,
    counters: Counters,
}

/// What the ring went through, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Receives armed again because they had ended.
    pub rearmed: u64,
    /// Receives that ended because all buffers were in use.
    pub buffers_exhausted: u64,
    /// Turns that found completions waiting outside their full queue.
    pub overflows: u64,
}

/// What a completion is about: the top byte of its name.
#[derive(Clone, Copy)]
enum Operation {
    Receive = 0,
    Send = 1,
    Cancel = 2,
    Probe = 3,
}

impl Operation {
    fn name(self, of: Occupant) -> u64 {
        (self as u64) << 56 | of.to_u64()
    }
}

impl Uring {
    /// Opens a driver without sockets, for the calling thread.
    ///
    /// # Errors
    /// [`SetupError`]: use [`Epoll`](crate::Epoll) instead.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let linger = match config.task_run {
            TaskRun::Deferred => config.linger,
            // Each packet's receive would interrupt the pause.
            TaskRun::Cooperative => Duration::ZERO,
        };
        let mut ring = Ring::new(config)?;
        let event = crate::sys::event_create().map_err(SetupError::Event)?;
        ring.signal(event.as_fd()).map_err(SetupError::Event)?;
        try_multishot(&mut ring).map_err(SetupError::Multishot)?;
        let event = File::from(event);
        try_signals(&mut ring, &event)
            .map_err(|error| SetupError::Signal(config.task_run, error))?;
        Ok(Self {
            ring,
            event,
            sockets: Slots::default(),
            arm: Vec::new(),
            cancel: Vec::new(),
            last_send_error: None,
            linger: Linger::new(linger),
            counters: Counters::default(),
        })
    }

    /// What the ring went through so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Queues the arming and ending of receives; what finds no room waits for the next turn.
    fn queue_changes(&mut self) {
        while let Some(gone) = self.cancel.pop() {
            let names = (Operation::Receive.name(gone), Operation::Cancel.name(gone));
            if self.ring.cancel(names.0, names.1).is_err() {
                return self.cancel.push(gone);
            }
        }
        while let Some(occupant) = self.arm.pop() {
            let Some((socket, ())) = self.sockets.occupant(occupant) else { continue };
            if self.ring.arm(socket, Operation::Receive.name(occupant)).is_err() {
                return self.arm.push(occupant);
            }
        }
    }

    fn completed<F>(&mut self, completion: &cqueue::Entry, relay: &mut F, turn: &mut Turn)
    where
        F: FnMut(Received<'_>) -> Verdict,
    {
        let name = completion.user_data();
        match name >> 56 {
            operation if operation == Operation::Receive as u64 => {
                self.received(Occupant::from_u64(name), completion, relay, turn);
            }
            operation if operation == Operation::Send as u64 => {
                // Only failures are told.
                turn.send_errors += 1;
                self.last_send_error = Some(-completion.result());
            }
            // A cancel that found nothing, since the receive had ended by itself; the end of the
            // probe.
            _ => {}
        }
    }

    fn received<F>(
        &mut self,
        occupant: Occupant,
        completion: &cqueue::Entry,
        relay: &mut F,
        turn: &mut Turn,
    ) where
        F: FnMut(Received<'_>) -> Verdict,
    {
        let present = self.sockets.occupant(occupant).is_some();
        if present && !cqueue::more(completion.flags()) {
            self.ended(occupant, completion.result());
        }
        let Some(buffer) = self.ring.filled(completion) else { return };
        if !present || completion.result() < 0 {
            return self.ring.recycle(buffer);
        }
        let Some(received) = parse(occupant.token, self.ring.bytes(&buffer)) else {
            return self.ring.recycle(buffer);
        };
        turn.received += 1;
        match relay(received) {
            Verdict::Drop => self.ring.recycle(buffer),
            Verdict::Send { from, to, range } => {
                turn.sent += 1;
                if let Err(error) = self.send(from, buffer, range, &to) {
                    turn.send_errors += 1;
                    self.last_send_error = error.raw_os_error();
                }
            }
        }
    }

    /// A receive ended: most ends are passing, and it is armed again.
    fn ended(&mut self, occupant: Occupant, result: i32) {
        match -result {
            // The kernel says that this socket cannot be received from: again would be the same.
            libc::EINVAL | libc::EBADF | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::ECANCELED => {
                return;
            }
            libc::ENOBUFS => self.counters.buffers_exhausted += 1,
            _ => {}
        }
        self.counters.rearmed += 1;
        self.arm.push(occupant);
    }

    fn send(
        &mut self,
        from: Token,
        buffer: BufferId,
        range: Range<usize>,
        to: &SocketAddr,
    ) -> io::Result<()> {
        let Some(socket) = self.sockets.socket(from) else {
            self.ring.recycle(buffer);
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        let name = Operation::Send.name(Occupant { token: from, generation: 0 });
        self.ring.send(socket, buffer, range, &RawAddress::new(to), name)
    }

    /// Makes the wake-up descriptor tell the truth again: it was readable for what is now done.
    fn settle(&mut self) {
        clear(&self.event);
    }
}

impl Driver for Uring {
    fn add(&mut self, token: Token, socket: UdpSocket) -> io::Result<()> {
        let occupant = self.sockets.insert(token, socket, ())?;
        self.arm.push(occupant);
        Ok(())
    }

    fn remove(&mut self, token: Token) {
        if self.ring.unsubmitted() {
            // A submission that failed left operations behind that name descriptors, which are
            // about to be closed and reused. If it fails again, they fail with the next one.
            let _ = self.ring.enter();
        }
        if let Some((occupant, _, ())) = self.sockets.remove(token) {
            self.cancel.push(occupant);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.arm.is_empty() && self.cancel.is_empty() {
            return Ok(());
        }
        self.queue_changes();
        self.ring.enter()
    }

    fn turn<F>(&mut self, budget: usize, mut relay: F) -> io::Result<Turn>
    where
        F: FnMut(Received<'_>) -> Verdict,
    {
        self.linger.pause();
        let mut turn = Turn::default();
        self.queue_changes();
        if self.ring.unsubmitted() || !self.ring.completed() {
            self.ring.enter()?;
        }
        self.counters.overflows += u64::from(self.ring.overflowed());
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        while turn.received < budget {
            let room = CHUNK.min(budget - turn.received);
            let completions = self.ring.completions(&mut chunk[..room]);
            if completions.is_empty() {
                break;
            }
            for completion in completions {
                self.completed(completion, &mut relay, &mut turn);
            }
        }
        self.ring.enter()?;
        turn.more = self.ring.pending() || !self.arm.is_empty();
        if self.linger.may_rest(&mut turn) {
            self.settle();
            // What came before the event was cleared is seen now, what comes after wakes.
            turn.more = self.ring.pending();
        }
        Ok(turn)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn socket(&self, token: Token) -> Option<&UdpSocket> {
        self.sockets.socket(token)
    }

    fn last_send_error(&self) -> Option<io::Error> {
        self.last_send_error.map(io::Error::from_raw_os_error)
    }
}

/// Arms a receive on a socket that gets nothing, to hear now whether the kernel knows how:
/// one that does not says EINVAL at once.
fn try_multishot(ring: &mut Ring) -> io::Result<()> {
    let nobody = Occupant { token: Token(0), generation: 0 };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), None)?;
    ring.arm(&socket, Operation::Probe.name(nobody))?;
    ring.enter()?;
    let mut answer = [const { MaybeUninit::uninit() }; 1];
    if let [refused] = ring.completions(&mut answer) {
        return Err(io::Error::from_raw_os_error(-refused.result()));
    }
    ring.cancel(Operation::Probe.name(nobody), Operation::Cancel.name(nobody))?;
    ring.enter()
}

/// Makes work for the ring, as an arriving packet does, and looks whether the eventfd says so by
/// the time the system call that made it returns.
///
/// Some kernels put the signal of deferred work off until a grace period of RCU is over (7.x of
/// 2026: 7 to 11 ms in the test VM), and some of these then lose all but the first (Debian's
/// 6.12.117): io_eventfd_signal() and io_eventfd_do_signal() in io_uring/eventfd.c.
fn try_signals(ring: &mut Ring, event: &File) -> io::Result<()> {
    let nobody = Occupant { token: Token(0), generation: 0 };
    let (mut ours, mut theirs) = UnixStream::pair()?;
    // A signal that was put off comes in time where this thread loses its CPU for that long; not
    // each time.
    for _ in 0..3 {
        ring.poll(&ours, Operation::Probe.name(nobody))?;
        ring.enter()?;
        clear(event);
        theirs.write_all(&[0])?;
        if !wait_readable(event, Duration::ZERO)? {
            let message = "the kernel puts the signal off";
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        ring.enter()?;
        ring.completions(&mut [const { MaybeUninit::uninit() }; 1]);
        ours.read_exact(&mut [0])?;
    }
    clear(event);
    Ok(())
}

/// Makes an eventfd unreadable.
fn clear(mut event: &File) {
    // WouldBlock says that nothing was signalled, which is as good.
    let _ = event.read(&mut [0; 8]);
}

/// Reads what the kernel wrote around the packet (see the layout in `sys`); `None` when the
/// source is not an Internet address.
fn parse(token: Token, buffer: &mut [u8]) -> Option<Received<'_>> {
    let word = |at: usize| {
        let bytes = buffer.get(at..at + 4)?;
        bytes.try_into().ok().map(u32::from_ne_bytes)
    };
    let (name, control) = (word(0)? as usize, word(4)? as usize);
    let (length, flags) = (word(8)? as usize, word(12)?);
    let source = address::parse(&buffer[HEADER..HEADER + name.min(NAME)])?;
    let control = &buffer[HEADER + NAME..HEADER + NAME + control.min(CONTROL_LENGTH)];
    let Ancillary { timestamp_ns, kernel_drops } = Ancillary::parse(control);
    Some(Received {
        token,
        source,
        timestamp_ns,
        kernel_drops,
        range: PACKET..PACKET + length.min(Received::MAX_PACKET),
        truncated: flags & libc::MSG_TRUNC as u32 != 0,
        buffer,
    })
}
