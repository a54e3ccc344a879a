//! The record loop in user space, after the handshake: what a connection does where the kernel
//! takes no records.
//!
//! Records are read into the thread's [`Scratch`], opened in place one after the other, and their
//! data handed on in one piece; what is written is sealed into the `Scratch` and sent from there.
//! Only the front of an incomplete record and what the socket would not take stay with the stream.
//! rustls answers KeyUpdates (its answer goes out in front of the next data, as RFC 8446 section
//! 4.6.3 demands), keeps session tickets, and refuses renegotiation. We ask for new keys before
//! the old ones are worn out. Nothing is repeated after a failure: it ends both directions, and
//! the alert waits in the unsent bytes.

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::net::{RecvFlags, SendFlags};
use rustls::{AlertDescription, Error, ProtocolVersion, SupportedCipherSuite};

use crate::connection::{Connection, Look, Outcome, Plain, Write, WriteError};
use crate::failure::{RecordError, expected_alert};
use crate::handover;
use crate::last_words::sealed_alert;
use crate::record::{self, Front, MAX_GATHERED, front};
use crate::scratch::{MAX_WRITE, READ_AHEAD, Scratch};
use crate::stream::Received;
use crate::update::{FloodGuard, UpdateLimits};

/// A connection whose records are ours.
pub(crate) struct UserRecords {
    /// `None` once an alert of ours has ended it.
    connection: Option<Connection>,
    version: ProtocolVersion,
    suite: SupportedCipherSuite,
    /// Bytes received and not done with: the front of a record, or of a message in several.
    held: Vec<u8>,
    /// Of `held`, what rustls has been shown.
    seen: usize,
    /// `held` has whole records that were read during the handshake.
    read_ahead: bool,
    /// The last read got less than it asked the socket for.
    drained: bool,
    unsent: Vec<u8>,
    /// Of `unsent`, what has been sent.
    sent: usize,
    inbound: Inbound,
    outbound: Outbound,
    records_sent: u64,
    records_received: u64,
    /// Records under the keys in use.
    under_key: u64,
    update_after: u64,
    guard: FloodGuard,
    renewals: (u64, u64),
}

enum Inbound {
    Open,
    Closed,
    Alert(AlertDescription),
    Failed(Box<RecordError>),
}

#[derive(PartialEq, Eq)]
enum Outbound {
    Open,
    Closed,
}

impl UserRecords {
    /// Goes on where the handshake ended. `read_ahead` are bytes that came behind it, `seen` of
    /// them known to rustls.
    pub(crate) fn new(
        connection: Connection,
        (version, suite): (ProtocolVersion, SupportedCipherSuite),
        read_ahead: Vec<u8>,
        seen: usize,
        limits: &UpdateLimits,
    ) -> Self {
        Self {
            connection: Some(connection),
            version,
            suite,
            seen,
            read_ahead: read_ahead.len() > seen,
            held: read_ahead,
            drained: false,
            unsent: Vec::new(),
            sent: 0,
            inbound: Inbound::Open,
            outbound: Outbound::Open,
            records_sent: 0,
            records_received: 0,
            under_key: 0,
            update_after: limits.records.unwrap_or(u64::MAX).max(UpdateLimits::LEAST_RECORDS),
            guard: FloodGuard::new(limits),
            renewals: (0, 0),
        }
    }

    pub(crate) fn read<'s>(
        &mut self,
        fd: BorrowedFd<'_>,
        scratch: &'s mut Scratch,
    ) -> io::Result<Received<'s>> {
        if let Some(end) = self.end() {
            return end;
        }
        let filled = self.fill(fd, &mut scratch.incoming)?;
        let length = self.open(filled, scratch);
        if self.wants_flush() {
            // An alert or an answer; what the socket does not take now, `wants_flush` tells of,
            // and an error of the socket comes with the next call that needs it.
            let _later = self.flush(fd);
        }
        match scratch.plain.get(..length) {
            Some(data) if !data.is_empty() => Ok(Received::Data(data)),
            _ => self.end().unwrap_or(Ok(Received::Nothing)),
        }
    }

    /// True when a read has something to say without asking the socket.
    pub(crate) fn has_pending(&self) -> bool {
        self.read_ahead || !matches!(self.inbound, Inbound::Open)
    }

    /// True when the last read emptied the socket.
    pub(crate) fn has_drained(&self) -> bool {
        self.drained
    }

    pub(crate) fn write(
        &mut self,
        fd: BorrowedFd<'_>,
        data: &[u8],
        scratch: &mut Scratch,
    ) -> io::Result<usize> {
        self.check_open()?;
        if self.wants_flush() {
            self.send_unsent(fd)?;
            scratch.spare.put_back(&mut self.unsent);
        }
        if data.is_empty() {
            return Ok(0);
        }
        if self.under_key >= self.update_after && self.is_tls13() {
            self.refresh()?;
        }
        let (taken, sealed) = self.seal(data, &mut scratch.outgoing)?;
        let sealed = scratch.outgoing.get(..sealed).unwrap_or_default();
        if self.wants_flush() {
            // rustls had something to say first.
            self.unsent.extend_from_slice(sealed);
            let _later = self.flush(fd);
            return Ok(taken);
        }
        let sent = send(fd, sealed)?;
        scratch.spare.keep(sealed.get(sent..).unwrap_or_default(), &mut self.unsent);
        Ok(taken)
    }

    pub(crate) fn wants_flush(&self) -> bool {
        self.sent < self.unsent.len()
    }

    pub(crate) fn flush(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.send_unsent(fd)?;
        self.unsent = Vec::new();
        Ok(())
    }

    /// Queues our close_notify and tries to send it.
    pub(crate) fn close_write(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.outbound == Outbound::Open && !matches!(self.inbound, Inbound::Failed(_)) {
            self.outbound = Outbound::Closed;
            self.queue(Write::CloseNotify)?;
        }
        match self.flush(fd) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    /// New keys for what we send, and the peer is asked for new ones too.
    pub(crate) fn update_keys(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.check_open()?;
        if !self.is_tls13() {
            return Err(ErrorKind::Unsupported.into());
        }
        self.refresh()?;
        match self.flush(fd) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    /// Ends both directions with a fatal alert, and tries to send it.
    pub(crate) fn send_alert(
        &mut self,
        fd: BorrowedFd<'_>,
        alert: AlertDescription,
    ) -> io::Result<()> {
        self.check_open()?;
        if !self.say_last(alert) {
            return Err(ErrorKind::Unsupported.into());
        }
        self.outbound = Outbound::Closed;
        self.inbound = Inbound::Failed(Box::new(RecordError::given_up()));
        match self.flush(fd) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    /// How often keys were renewed: ours, the peer's. KeyUpdates with padding are not counted.
    pub(crate) fn renewals(&self) -> (u64, u64) {
        self.renewals
    }

    pub(crate) fn records_sent(&self) -> u64 {
        self.records_sent
    }

    pub(crate) fn records_received(&self) -> u64 {
        self.records_received
    }

    /// How reading ended, if it has.
    fn end<'s>(&self) -> Option<io::Result<Received<'s>>> {
        match &self.inbound {
            Inbound::Open => None,
            Inbound::Closed => Some(Ok(Received::CloseNotify)),
            Inbound::Alert(alert) => Some(Ok(Received::Alert(*alert))),
            Inbound::Failed(error) => Some(Err(error.as_ref().clone().into())),
        }
    }

    /// Puts what was held back, and what the socket has, into `incoming`.
    fn fill(&mut self, fd: BorrowedFd<'_>, incoming: &mut [u8]) -> io::Result<usize> {
        let had = self.held.len();
        let Some((held, room)) = incoming.split_at_mut_checked(had) else {
            return Err(self.fail(RecordError::too_long(), AlertDescription::DecodeError));
        };
        held.copy_from_slice(&self.held);
        self.drained = false;
        if std::mem::take(&mut self.read_ahead) {
            return Ok(had);
        }
        let room = room.get_mut(..READ_AHEAD).ok_or(ErrorKind::OutOfMemory)?;
        match rustix::net::recv(fd, room, RecvFlags::DONTWAIT)?.0 {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.drained = read < READ_AHEAD;
                Ok(had + read)
            }
        }
    }

    /// Opens the whole records in the first `filled` bytes; answers how much data they held.
    fn open(&mut self, filled: usize, scratch: &mut Scratch) -> usize {
        let Scratch { incoming, plain, spare, .. } = scratch;
        let incoming = incoming.get_mut(..filled).unwrap_or_default();
        let mut plain = Plain::new(plain);
        let (mut start, mut end) = (0, self.seen);
        while matches!(self.inbound, Inbound::Open) {
            let length = match front(incoming.get(end..).unwrap_or_default()) {
                Front::Missing(_) => break,
                Front::Whole(length) => length,
                Front::Impossible => filled - end,
            };
            end += length;
            self.records_received += 1;
            let opened = plain.len();
            start += self.show(incoming.get_mut(start..end).unwrap_or_default(), &mut plain);
            if plain.len() == opened {
                self.admit(length);
            }
        }
        if matches!(self.inbound, Inbound::Open) && filled - start > MAX_GATHERED {
            self.fail(RecordError::too_long(), AlertDescription::DecodeError);
        }
        if matches!(self.inbound, Inbound::Open) {
            self.seen = end - start;
            spare.keep(incoming.get(start..).unwrap_or_default(), &mut self.held);
        } else {
            // Whatever follows an end is not for us (RFC 8446 section 6.1).
            self.seen = 0;
            spare.put_back(&mut self.held);
        }
        plain.len()
    }

    /// Shows rustls records until it has nothing more to do; answers how many bytes are done with.
    fn show(&mut self, shown: &mut [u8], plain: &mut Plain<'_>) -> usize {
        let mut done = 0;
        while let (Inbound::Open, Some(connection)) = (&self.inbound, &mut self.connection) {
            let queued = self.unsent.len();
            let rest = shown.get_mut(done..).unwrap_or_default();
            let Look { discard, outcome } = connection.look(rest, plain, &mut self.unsent);
            self.count_queued(queued);
            done += discard;
            match outcome {
                Outcome::Again => {}
                Outcome::Quiet => return done,
                Outcome::PeerClosed => self.inbound = Inbound::Closed,
                Outcome::Failed(Error::AlertReceived(alert)) => {
                    self.inbound = Inbound::Alert(alert);
                    self.outbound = Outbound::Closed;
                }
                Outcome::EarlyData => {
                    self.fail_with(Error::HandshakeNotComplete);
                }
                Outcome::Failed(error) => {
                    self.fail_with(error);
                }
            }
        }
        done
    }

    /// Judges a record without data. In TLS 1.3 that is a KeyUpdate, a ticket, a part of one, or
    /// nothing at all; a clock is read for these alone.
    fn admit(&mut self, length: usize) {
        if !self.is_tls13() || !matches!(self.inbound, Inbound::Open) {
            return;
        }
        self.renewals.1 += u64::from(length == KEY_UPDATE_RECORD);
        if !self.guard.admits(Instant::now()) {
            self.fail(RecordError::flood(), AlertDescription::UnexpectedMessage);
        }
    }

    fn fail_with(&mut self, error: Error) -> io::Error {
        let alert = expected_alert(&error).unwrap_or(AlertDescription::InternalError);
        self.fail(error.into(), alert)
    }

    /// Ends both directions; the alert waits in the unsent bytes: rustls's, or `alert` where it has
    /// none for what happened.
    fn fail(&mut self, error: RecordError, alert: AlertDescription) -> io::Error {
        let queued = self.unsent.len();
        if let Some(connection) = &mut self.connection {
            connection.drain(&mut self.unsent);
        }
        self.count_queued(queued);
        if self.outbound == Outbound::Open && self.unsent.len() == queued {
            // A peer that is not told sees the socket end, which is as final.
            let _told = self.say_last(alert);
        }
        self.outbound = Outbound::Closed;
        self.inbound = Inbound::Failed(Box::new(error.clone()));
        error.into()
    }

    /// Seals an alert that rustls does not let us say, which costs the connection its keys. False
    /// where the configuration does not let us have them.
    fn say_last(&mut self, alert: AlertDescription) -> bool {
        let Some(Ok((secrets, _))) = self.connection.take().map(handover::extract) else {
            return false;
        };
        let (number, keys) = secrets.tx;
        let Some(record) = sealed_alert(self.suite, number, keys, alert) else { return false };
        self.unsent.extend_from_slice(&record);
        self.records_sent += 1;
        true
    }

    fn check_open(&self) -> io::Result<()> {
        match (&self.outbound, &self.inbound) {
            (_, Inbound::Failed(error)) => Err(error.as_ref().clone().into()),
            (Outbound::Closed, _) => Err(ErrorKind::BrokenPipe.into()),
            (Outbound::Open, _) => Ok(()),
        }
    }

    /// Seals as much of `data` as fits: answers the bytes of it taken, and those written.
    fn seal(&mut self, data: &[u8], outgoing: &mut [u8]) -> io::Result<(usize, usize)> {
        let mut taken = data.len().min(MAX_WRITE);
        loop {
            let chunk = data.get(..taken).unwrap_or_default();
            let queued = self.unsent.len();
            let seen = self.held.get_mut(..self.seen).unwrap_or_default();
            let Some(connection) = &mut self.connection else {
                return Err(ErrorKind::BrokenPipe.into());
            };
            let result = connection.write(seen, Write::Data(chunk), outgoing, &mut self.unsent);
            self.count_queued(queued);
            match result {
                Ok(written) => {
                    let records = record::count(outgoing.get(..written).unwrap_or_default());
                    self.records_sent += records;
                    self.under_key += records;
                    return Ok((taken, written));
                }
                // Smaller records than usual need more room for their headers and tags.
                Err(WriteError::TooSmall(_)) if taken > 1 => taken /= 2,
                Err(error) => return Err(self.refused(error)),
            }
        }
    }

    fn refresh(&mut self) -> io::Result<()> {
        self.queue(Write::UpdateKeys)?;
        // An empty write makes rustls put its KeyUpdate into the queue.
        self.queue(Write::Data(&[]))?;
        self.under_key = 0;
        self.renewals.0 += 1;
        Ok(())
    }

    /// Writes something that is not data, behind what is unsent.
    fn queue(&mut self, what: Write<'_>) -> io::Result<()> {
        let mut outgoing = vec![0; SMALL];
        loop {
            let queued = self.unsent.len();
            let seen = self.held.get_mut(..self.seen).unwrap_or_default();
            let Some(connection) = &mut self.connection else {
                return Err(ErrorKind::BrokenPipe.into());
            };
            let result = connection.write(seen, what, &mut outgoing, &mut self.unsent);
            match result {
                Ok(written) => {
                    self.unsent.extend_from_slice(outgoing.get(..written).unwrap_or_default());
                    self.count_queued(queued);
                    return Ok(());
                }
                Err(WriteError::TooSmall(required)) => outgoing.resize(required, 0),
                Err(error) => return Err(self.refused(error)),
            }
        }
    }

    fn refused(&mut self, error: WriteError) -> io::Error {
        match error {
            WriteError::Tls(error) => self.fail_with(error),
            WriteError::Exhausted => {
                self.fail(RecordError::exhausted(), AlertDescription::CloseNotify)
            }
            WriteError::NotNow | WriteError::TooSmall(_) => ErrorKind::BrokenPipe.into(),
        }
    }

    /// Counts the records that rustls has put behind the first `queued` unsent bytes.
    fn count_queued(&mut self, queued: usize) {
        let records = record::count(self.unsent.get(queued..).unwrap_or_default());
        self.records_sent += records;
        self.under_key += records;
    }

    fn is_tls13(&self) -> bool {
        self.version == ProtocolVersion::TLSv1_3
    }

    /// Sends what is unsent; an error of kind `WouldBlock` while some of it remains.
    fn send_unsent(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match send(fd, rest)? {
                0 => return Err(ErrorKind::WouldBlock.into()),
                sent => self.sent += sent,
            }
        }
        self.sent = 0;
        self.unsent.clear();
        Ok(())
    }
}

/// Sends what the socket takes, which may be nothing.
fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Enough for a close_notify and a KeyUpdate or two.
const SMALL: usize = 256;

/// A KeyUpdate's record without padding: header, message, inner type, tag.
const KEY_UPDATE_RECORD: usize = record::HEADER + 5 + 1 + 16;
