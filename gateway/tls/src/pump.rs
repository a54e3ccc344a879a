//! Moves data between the TLS socket and the plain one, both ways, in one task.
//!
//! What was read is written at once, from the thread's buffers; only what a socket does not take
//! stays with the connection, and until that is gone nothing more is read in that direction. So a
//! slow reader slows its writer down, and a connection holds at most one read's worth each way. A
//! turn is bounded, so that one busy connection does not keep the thread from the others.
//!
//! Ends are kept apart, as careful peers tell them apart:
//! * close_notify becomes a FIN and a FIN becomes close_notify; the other direction goes on;
//! * a TLS peer that goes without close_notify may have been cut off by anybody on the way (RFC
//!   8446 section 6.1), so the plain peer gets a reset and not a FIN, which would tell it that
//!   this was all. SIP messages have lengths and need no such care, but "any TCP" does not. What was
//!   opened is written before that. It is counted as `truncated`;
//! * a reset of either side becomes a reset of the other, without close_notify.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crypto_offload::Direction;
use kernel_tls::{AskPeer, Received, RecordError, Spliced, Stream};

use crate::counters::{Ending, Tally};
use crate::registry::Entered;
use crate::socket::{Side, Socket};
use crate::splice::{Lane, Pipes, move_plain};
use crate::thread::{Buffers, Local};

/// A connection's two sockets, and what is between them.
pub(crate) struct Pump {
    tls: Socket,
    plain: Socket,
    stream: Stream,
    /// Opened, and not taken by the plain socket.
    opened: Rest,
    /// Read from the plain socket, and not sealed.
    unsealed: Rest,
    /// Through the kernel, where it has the records.
    inward_lane: Lane,
    outward_lane: Lane,
    inward: Way,
    outward: Way,
    idle_timeout: Option<Duration>,
    /// KeyUpdates that were counted, those sent and those received.
    renewals: (u64, u64),
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// Its source has ended properly; what remains is on its way.
    Ending,
    /// Its source was cut off; what remains is on its way.
    Cut,
    /// `outward` only: close_notify is said, and perhaps not sent yet.
    Farewell,
    Done,
}

impl Pump {
    pub(crate) fn new(
        tls: Socket,
        plain: Socket,
        stream: Stream,
        idle_timeout: Option<Duration>,
    ) -> Self {
        Self {
            tls,
            plain,
            stream,
            opened: Rest::default(),
            unsealed: Rest::default(),
            inward_lane: Lane::default(),
            outward_lane: Lane::default(),
            inward: Way::Open,
            outward: Way::Open,
            idle_timeout,
            renewals: (0, 0),
        }
    }

    /// The handshake's time limit ends, that of an idle connection begins.
    pub(crate) fn begin(&self, entered: &Entered) {
        entered.allow(Instant::now(), self.idle_timeout);
    }

    /// Moves what can be moved. Ready: both directions have ended, or neither can go on.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        entered: &Entered,
        local: &Local,
    ) -> Poll<Ending> {
        let tally = local.tally(&entered.listener);
        let buffers = &mut *local.buffers.borrow_mut();
        let pipes = &local.pipes;
        let before = self.ways();
        let mut moved = Moved::default();
        if entered.take_new_keys() {
            self.renew_keys(entered);
        }
        // Before reading: what the kernel reads may have to wait for an answer to go out.
        let _outward_says = self.poll_flush(cx);
        let inward = self.poll_inward(cx, buffers, pipes, &mut moved);
        let outward = self.poll_outward(cx, buffers, pipes, &mut moved);
        moved.count(tally, entered);
        self.count_renewals(tally, entered);
        if let Some(limit) = self.limit()
            && (moved.any() || self.ways() != before)
        {
            entered.allow(Instant::now(), Some(limit));
        }
        match (inward, outward) {
            (Poll::Ready(Err(ending)), _) | (_, Poll::Ready(Err(ending))) => Poll::Ready(ending),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ending::Closed),
            _ => Poll::Pending,
        }
    }

    /// Lets each peer know how it ended; the sockets close with `self`.
    pub(crate) fn end(mut self, ending: Ending) {
        match ending {
            Ending::Closed => {
                if self.inward == Way::Cut {
                    self.plain.reset_on_close();
                }
            }
            Ending::Idle => self.part(),
            Ending::PlainReset => self.tls.reset_on_close(),
            _ => self.plain.reset_on_close(),
        }
    }

    /// A silent connection ends properly, and one whose peer has stopped to read does not: a FIN or
    /// close_notify would tell that peer that what it has got was all.
    fn part(&mut self) {
        if self.unsealed.is_empty() && !self.outward_lane.is_filled() && !self.stream.wants_flush()
        {
            let _gone = self.stream.close_write(&self.tls);
        } else {
            self.tls.reset_on_close();
        }
        if !self.opened.is_empty() || self.inward_lane.is_filled() {
            self.plain.reset_on_close();
        }
    }

    /// From the TLS socket to the plain one. Ready: it has ended, and the plain peer knows.
    fn poll_inward(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        pipes: &Pipes,
        moved: &mut Moved,
    ) -> Poll<Result<(), Ending>> {
        for _ in 0..TURN {
            if self.inward == Way::Done {
                return Poll::Ready(Ok(()));
            }
            ready!(self.opened.poll_send(cx, &self.plain)).map_err(|_| Ending::PlainReset)?;
            ready!(self.poll_inward_lane(cx, pipes)).map_err(|_| Ending::PlainReset)?;
            match self.inward {
                Way::Open => {}
                Way::Cut if self.outward != Way::Done => {
                    return Poll::Ready(Err(Ending::Truncated));
                }
                Way::Cut | Way::Farewell | Way::Done => return Poll::Ready(Ok(())),
                Way::Ending => {
                    self.inward = Way::Done;
                    // Where it fails the plain peer has gone; the other direction finds out.
                    let _gone = self.plain.end();
                    return Poll::Ready(Ok(()));
                }
            }
            if self.stream.is_kernel() && self.stream.wants_flush() {
                // Reading would say that it cannot, which must not be taken for an empty socket.
                return Poll::Pending;
            }
            if !self.stream.has_pending() {
                ready!(self.tls.poll_ready(cx, Side::Read));
            }
            if !self.inward_lane.is_open() || !self.splice_tls(cx, pipes, moved)? {
                self.read_tls(cx, buffers, moved)?;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves from the TLS socket into the pipe. False: something else than data is next.
    fn splice_tls(
        &mut self,
        cx: &mut Context<'_>,
        pipes: &Pipes,
        moved: &mut Moved,
    ) -> Result<bool, Ending> {
        let (stream, tls) = (&mut self.stream, &self.tls);
        let filled = self.inward_lane.fill(pipes, |pipe, room| {
            stream.splice_from(tls, pipe, room).map(|spliced| match spliced {
                Spliced::Data(count) => Some(count),
                Spliced::Record => None,
            })
        });
        match filled {
            Ok(Some(count)) => moved.inward += count as u64,
            Ok(None) => return Ok(false),
            Err(error) => self.tls_failed(cx, &error, moved)?,
        }
        Ok(true)
    }

    /// Empties the pipe into the plain socket.
    fn poll_inward_lane(&mut self, cx: &mut Context<'_>, pipes: &Pipes) -> Poll<io::Result<()>> {
        while let Some(pipe) = self.inward_lane.filled() {
            match pipe.drain(|pipe, length| move_plain(pipe, &self.plain, length)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.plain.poll_again(cx, Side::Write).map(Ok);
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.inward_lane.release(pipes);
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes what came.
    fn read_tls(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        moved: &mut Moved,
    ) -> Result<(), Ending> {
        match self.stream.read(&self.tls, &mut buffers.tls) {
            Ok(Received::Data(data)) => {
                moved.inward += data.len() as u64;
                if self.stream.is_kernel() {
                    self.inward_lane.has_read(data.len());
                }
                self.opened.send(data, &self.plain).map_err(|_| Ending::PlainReset)?;
            }
            Ok(Received::CloseNotify) => self.inward = Way::Ending,
            Ok(Received::Alert(alert)) => {
                moved.alert = Some(alert.into());
                return Err(Ending::Alerted);
            }
            Ok(Received::Nothing) => {}
            Err(error) => self.tls_failed(cx, &error, moved)?,
        }
        if self.stream.has_drained() {
            self.tls.clear(cx, Side::Read);
        }
        Ok(())
    }

    /// What an error of the TLS socket's reading side means.
    fn tls_failed(
        &mut self,
        cx: &mut Context<'_>,
        error: &io::Error,
        moved: &mut Moved,
    ) -> Result<(), Ending> {
        match error.kind() {
            ErrorKind::WouldBlock => self.tls.clear(cx, Side::Read),
            ErrorKind::Interrupted => {}
            ErrorKind::UnexpectedEof => self.inward = Way::Cut,
            ErrorKind::InvalidData => {
                // The alert is in the stream.
                moved.told = told(error);
                let _gone = self.stream.flush(&self.tls);
                return Err(Ending::Protocol);
            }
            _ => return Err(Ending::TlsReset),
        }
        Ok(())
    }

    /// From the plain socket to the TLS one. Ready: it has ended, and the TLS peer knows.
    fn poll_outward(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        pipes: &Pipes,
        moved: &mut Moved,
    ) -> Poll<Result<(), Ending>> {
        for _ in 0..TURN {
            ready!(self.poll_flush(cx)).map_err(|error| self.unwritable(&error, moved))?;
            ready!(self.poll_unsealed(cx, buffers))
                .map_err(|error| self.unwritable(&error, moved))?;
            ready!(self.poll_outward_lane(cx, pipes))
                .map_err(|error| self.unwritable(&error, moved))?;
            match self.outward {
                Way::Open => {}
                Way::Cut | Way::Done => return Poll::Ready(Ok(())),
                Way::Ending => {
                    self.outward = Way::Farewell;
                    self.stream
                        .close_write(&self.tls)
                        .map_err(|error| self.unwritable(&error, moved))?;
                    continue;
                }
                Way::Farewell => {
                    self.outward = Way::Done;
                    let _gone = self.tls.end();
                    return Poll::Ready(Ok(()));
                }
            }
            ready!(self.plain.poll_ready(cx, Side::Read));
            match self.outward_lane.is_open() {
                true => self.splice_plain(cx, buffers, pipes, moved)?,
                false => self.read_plain(cx, buffers, moved)?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves from the plain socket into the pipe.
    fn splice_plain(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        pipes: &Pipes,
        moved: &mut Moved,
    ) -> Result<(), Ending> {
        let plain = &self.plain;
        let fill = |pipe: &OwnedFd, room: usize| move_plain(plain, pipe, room).map(Some);
        match self.outward_lane.fill(pipes, fill) {
            Ok(None) => self.read_plain(cx, buffers, moved)?,
            Ok(Some(0)) => self.outward = Way::Ending,
            Ok(Some(count)) => moved.outward += count as u64,
            Err(error) => self.plain_failed(cx, &error)?,
        }
        Ok(())
    }

    /// Empties the pipe into the TLS socket.
    fn poll_outward_lane(&mut self, cx: &mut Context<'_>, pipes: &Pipes) -> Poll<io::Result<()>> {
        while let Some(pipe) = self.outward_lane.filled() {
            let (stream, tls) = (&mut self.stream, &self.tls);
            match pipe.drain(|pipe, length| stream.splice_to(tls, pipe, length)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.tls.poll_again(cx, Side::Write).map(Ok);
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.outward_lane.release(pipes);
        Poll::Ready(Ok(()))
    }

    /// Reads once, and seals what came.
    fn read_plain(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        moved: &mut Moved,
    ) -> Result<(), Ending> {
        let Buffers { tls, plain } = buffers;
        match self.plain.recv(plain) {
            Ok(0) => self.outward = Way::Ending,
            Ok(count) => {
                if count < plain.len() {
                    self.plain.clear(cx, Side::Read);
                }
                let data = plain.get(..count).unwrap_or_default();
                moved.outward += count as u64;
                if self.stream.is_kernel() {
                    self.outward_lane.has_read(count);
                }
                let sealed = seal(&mut self.stream, &self.tls, data, tls)
                    .map_err(|error| self.unwritable(&error, moved))?;
                self.unsealed.keep(data.get(sealed..).unwrap_or_default());
            }
            Err(error) => self.plain_failed(cx, &error)?,
        }
        Ok(())
    }

    /// What an error of the plain socket's reading side means.
    fn plain_failed(&self, cx: &mut Context<'_>, error: &io::Error) -> Result<(), Ending> {
        match error.kind() {
            ErrorKind::WouldBlock => self.plain.clear(cx, Side::Read),
            ErrorKind::Interrupted => {}
            _ => return Err(Ending::PlainReset),
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.stream.wants_flush() {
            return Poll::Ready(Ok(()));
        }
        match self.stream.flush(&self.tls) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.tls.poll_again(cx, Side::Write).map(Ok)
            }
            result => Poll::Ready(result),
        }
    }

    fn poll_unsealed(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
    ) -> Poll<io::Result<()>> {
        while !self.unsealed.is_empty() {
            let sealed =
                seal(&mut self.stream, &self.tls, self.unsealed.bytes(), &mut buffers.tls)?;
            self.unsealed.advance(sealed);
            if self.stream.wants_flush() {
                ready!(self.poll_flush(cx))?;
            } else if sealed == 0 {
                return self.tls.poll_again(cx, Side::Write).map(Ok);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn renew_keys(&mut self, entered: &Entered) {
        if let Err(error) = self.stream.update_keys(&self.tls, AskPeer::Renew) {
            // TLS 1.2 has none, or the connection is about to end: the data tells how.
            tracing::debug!(connection = entered.id, %error, "no new keys");
        }
    }

    /// Counts KeyUpdates since the last time.
    fn count_renewals(&mut self, tally: &Tally, entered: &Entered) {
        let now = self.stream.renewals();
        if now != self.renewals {
            tally.key_updates_sent.add(now.0 - self.renewals.0);
            tally.key_updates_received.add(now.1 - self.renewals.1);
            entered.key_updates.set(now.0 + now.1);
            self.renewals = now;
        }
    }

    /// A peer that said close_notify and closed has nothing to be told any more.
    fn unwritable(&self, error: &io::Error, moved: &mut Moved) -> Ending {
        moved.told = moved.told.or_else(|| told(error));
        match (self.inward, error.kind()) {
            (_, ErrorKind::InvalidData) => Ending::Protocol,
            (Way::Open | Way::Cut, _) => Ending::TlsReset,
            (_, _) if self.outward == Way::Open => Ending::TlsReset,
            (Way::Ending | Way::Farewell | Way::Done, _) => Ending::Closed,
        }
    }

    /// A half-closed connection whose other half says nothing is not kept for ever: the peer that
    /// has ended may be gone altogether, and no one else would ever find out.
    fn limit(&self) -> Option<Duration> {
        let half = [self.inward, self.outward].iter().any(|way| *way != Way::Open);
        let half = half.then_some(HALF_CLOSED);
        [self.idle_timeout, half].into_iter().flatten().min()
    }

    fn ways(&self) -> (Way, Way) {
        (self.inward, self.outward)
    }
}

/// What was moved in one turn.
#[derive(Default)]
struct Moved {
    inward: u64,
    outward: u64,
    /// The alert that came.
    alert: Option<u8>,
    /// The alert that the peer is sent.
    told: Option<u8>,
}

impl Moved {
    fn any(&self) -> bool {
        self.inward + self.outward > 0
    }

    fn count(&self, tally: &Tally, entered: &Entered) {
        if self.inward > 0 {
            tally.bytes_in.add(self.inward);
            entered.bytes_in.set(entered.bytes_in.get() + self.inward);
        }
        if self.outward > 0 {
            tally.bytes_out.add(self.outward);
            entered.bytes_out.set(entered.bytes_out.get() + self.outward);
        }
        if let Some(alert) = self.alert {
            tally.alert(Direction::Inbound, alert);
        }
        if let Some(alert) = self.told {
            tally.alert(Direction::Outbound, alert);
        }
    }
}

/// What the peer is told of an error of its stream. A connection ends with the first, so that each
/// alert is counted once.
fn told(error: &io::Error) -> Option<u8> {
    RecordError::of(error)?.alert().map(u8::from)
}

/// Bytes that could not go on yet; holds no memory when there are none.
#[derive(Debug, Default)]
struct Rest {
    bytes: Vec<u8>,
    gone: usize,
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.gone == self.bytes.len()
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.gone..).unwrap_or_default()
    }

    fn keep(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn advance(&mut self, count: usize) {
        self.gone += count;
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Sends `data` and keeps what the socket does not take; nothing was kept before.
    fn send(&mut self, data: &[u8], socket: &Socket) -> io::Result<()> {
        let sent = match socket.send(data) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.keep(data.get(sent..).unwrap_or_default());
        Ok(())
    }

    /// Sends what was kept.
    fn poll_send(&mut self, cx: &mut Context<'_>, socket: &Socket) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            match socket.send(self.bytes()) {
                Ok(sent) => self.advance(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return socket.poll_again(cx, Side::Write).map(Ok);
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Seals and sends `data` until the socket is full; answers how much was taken.
fn seal(
    stream: &mut Stream,
    tls: &Socket,
    data: &[u8],
    scratch: &mut kernel_tls::Scratch,
) -> io::Result<usize> {
    let mut taken = 0;
    while let Some(rest) = data.get(taken..)
        && !rest.is_empty()
        && !stream.wants_flush()
    {
        match stream.write(tls, rest, scratch) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// Reads in one direction before others have their turn: a quarter of a megabyte, some 100 µs.
const TURN: usize = 4;

/// Longer than any answer takes that a peer waits for after it has said its last word.
const HALF_CLOSED: Duration = Duration::from_secs(300);
