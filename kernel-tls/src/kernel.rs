//! The record loop of a connection whose records the kernel processes.
//!
//! The kernel seals and opens; what records mean stays with us. It hands every record that is not
//! data to us with its type, and it limits nothing: so this counts what is sent and received, and
//! renews keys in time. A KeyUpdate of the peer goes like this (Linux 6.14 and newer):
//! 1. the record comes as a handshake record, and the kernel stops opening records;
//! 2. [`FloodGuard`] says whether the peer may still ask for that;
//! 3. rustls derives the next keys and `TLS_RX` gets them, whereupon reading goes on;
//! 4. where the peer asked for it, our KeyUpdate goes out in front of any more data, and `TLS_TX`
//!    gets our next keys directly behind it.
//!
//! The kernel recognises a KeyUpdate by a record's first byte alone. So it also stops at the first
//! part of a KeyUpdate that comes in several records, and at a part of a ticket that happens to
//! begin with that byte: then it is given back the keys that it has. And it does not stop at a
//! KeyUpdate behind a ticket in one record, which needs no stopping, as nothing is opened before
//! the next read.
//!
//! No buffer is kept but the front of an incomplete handshake message. At most one alert and one
//! KeyUpdate wait to be sent. A fault ends both directions and is told to the peer.

mod control;
mod renewal;

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;

use rustix::net::SendFlags;
use rustix::pipe::SpliceFlags;
use rustls::{AlertDescription, SupportedCipherSuite};

use crate::crypto_info::{Cipher, Version, Way};
use crate::fault::Fault;
use crate::handover::KeySchedule;
use crate::kernel::renewal::receiving_limit;
use crate::post_handshake::Messages;
use crate::stream::{AskPeer, Received};
use crate::sys;
use crate::update::{FloodGuard, MAX_PLAINTEXT, RecordCount, UpdateLimits, most_records};

/// A connection whose records are the kernel's, both ways.
pub(crate) struct KernelRecords {
    version: Version,
    cipher: Cipher,
    /// TLS 1.3 only: TLS 1.2 has nothing to derive after its handshake.
    schedule: Option<Box<KeySchedule>>,
    sent: Counter,
    received: Counter,
    limits: UpdateLimits,
    guard: FloodGuard,
    messages: Messages,
    waiting: Waiting,
    sending: Sending,
    receiving: Receiving,
    /// Warnings, and attempts to renegotiate, that the peer may still send.
    patience: Patience,
}

/// Records in one direction.
struct Counter {
    under_key: RecordCount,
    /// Under the keys before, and in the handshake: told, not limited.
    before: u64,
    renewals: u64,
}

/// What has to be sent before any more data, in this order.
#[derive(Default)]
struct Waiting {
    update: Option<AskPeer>,
    alert: Option<[u8; 2]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// The last alert is waiting or gone.
    Ended,
    /// Nothing can be said: the socket has failed, or the peer has been told of keys that the
    /// kernel did not take.
    Mute,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Open,
    Closed,
    Alert(AlertDescription),
    /// With what the peer is told of it.
    Failed(Fault, Option<AlertDescription>),
}

struct Patience {
    warnings: u8,
    renegotiations: u8,
}

/// What `splice` from the socket came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spliced {
    /// This many bytes of data are in the pipe.
    Data(usize),
    /// Something else than data is next: read it.
    Record,
}

impl KernelRecords {
    /// For a socket whose records the kernel has had since the handshake: `sent` and `received`
    /// were the numbers of the next records then.
    pub(crate) fn new(
        suite: SupportedCipherSuite,
        version: Version,
        cipher: Cipher,
        schedule: KeySchedule,
        numbers: (u64, u64),
        limits: UpdateLimits,
    ) -> Self {
        let limit = limits.records.unwrap_or(u64::MAX).min(confidentiality_limit(suite));
        let limits = UpdateLimits { records: Some(limit), ..limits };
        Self {
            version,
            cipher,
            schedule: (version == Version::Tls13).then(|| Box::new(schedule)),
            sent: Counter::new(numbers.0, limit),
            received: Counter::new(numbers.1, receiving_limit(version, limit)),
            guard: FloodGuard::new(&limits),
            limits,
            messages: Messages::default(),
            waiting: Waiting::default(),
            sending: Sending::Open,
            receiving: Receiving::Open,
            patience: Patience { warnings: MAX_WARNINGS, renegotiations: 1 },
        }
    }

    /// Reads data, or handles one record that is none. `buffer` takes at least one whole record.
    pub(crate) fn read<'b>(
        &mut self,
        socket: BorrowedFd<'_>,
        buffer: &'b mut [u8],
    ) -> io::Result<Received<'b>> {
        if let Some(end) = self.end() {
            return end;
        }
        if self.wants_flush() {
            self.flush_or_wait(socket)?;
        }
        if buffer.len() < MAX_PLAINTEXT {
            return Err(ErrorKind::InvalidInput.into());
        }
        let record = match sys::receive_record(socket, buffer) {
            Ok(record) => record,
            Err(error) => return Err(self.unreadable(socket, error)),
        };
        let content = buffer.get(..record.length).unwrap_or_default();
        if let Err(fault) = self.handle(socket, record, content)? {
            return Err(self.fail(socket, fault));
        }
        match record.content_type {
            Some(APPLICATION_DATA) if !content.is_empty() => Ok(Received::Data(content)),
            _ => self.end().unwrap_or(Ok(Received::Nothing)),
        }
    }

    /// Moves data from the socket into a pipe, without a copy. `WouldBlock`: the socket has
    /// nothing, or the pipe is full.
    pub(crate) fn splice_from(
        &mut self,
        socket: BorrowedFd<'_>,
        pipe: BorrowedFd<'_>,
        length: usize,
    ) -> io::Result<Spliced> {
        if self.receiving != Receiving::Open || !self.messages.is_between() {
            return Ok(Spliced::Record);
        }
        if self.wants_flush() {
            self.flush_or_wait(socket)?;
        }
        match splice(socket, pipe, length) {
            // An empty record looks like the end here; a read can tell them apart.
            Ok(0) => Ok(Spliced::Record),
            Ok(moved) => {
                self.count_received(socket, moved)?;
                Ok(Spliced::Data(moved))
            }
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EKEYEXPIRED)) =>
            {
                Ok(Spliced::Record)
            }
            Err(error) => Err(self.unreadable(socket, error)),
        }
    }

    /// Sends the front of `data`; answers how much the kernel took, which it sends by itself.
    pub(crate) fn write(&mut self, socket: BorrowedFd<'_>, data: &[u8]) -> io::Result<usize> {
        self.check_open()?;
        self.flush(socket)?;
        let data = data.get(..data.len().min(MAX_WRITE)).unwrap_or_default();
        if data.is_empty() {
            return Ok(0);
        }
        self.make_room(socket, most_records(data.len()))?;
        let sent = again(|| {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            Ok(rustix::net::send(socket, data, flags)?)
        })?;
        // Interrupted for want of memory, the kernel may begin another record with the rest.
        let interrupted = u64::from(sent < data.len());
        self.sent.under_key.add(most_records(sent) + interrupted);
        Ok(sent)
    }

    /// Moves data from a pipe to the socket, without a copy.
    pub(crate) fn splice_to(
        &mut self,
        socket: BorrowedFd<'_>,
        pipe: BorrowedFd<'_>,
        length: usize,
    ) -> io::Result<usize> {
        self.check_open()?;
        self.flush(socket)?;
        let length = length.min(MAX_SPLICE);
        self.make_room(socket, most_records(length) + PIPE_BUFFERS)?;
        let moved = again(|| splice(pipe, socket, length))?;
        // How the pipe's buffers became records is not told: at least a byte went into each.
        self.sent.under_key.add(moved as u64);
        Ok(moved)
    }

    /// True while an alert or a KeyUpdate waits for the socket to become writable.
    pub(crate) fn wants_flush(&self) -> bool {
        self.waiting.update.is_some() || self.waiting.alert.is_some()
    }

    /// Sends what waits; an error of kind `WouldBlock` while some of it remains.
    pub(crate) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        if let Some(ask) = self.waiting.update {
            self.send_update(socket, ask)?;
        }
        if let Some(alert) = self.waiting.alert {
            again(|| sys::send_record(socket, ALERT, &alert))?;
            self.waiting.alert = None;
            self.sent.under_key.add(1);
        }
        Ok(())
    }

    /// Queues our close_notify and tries to send it.
    pub(crate) fn close_write(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.say_last(WARNING, AlertDescription::CloseNotify);
        self.flush_or_wait(socket)
    }

    /// Queues a fatal alert and tries to send it.
    pub(crate) fn send_alert(
        &mut self,
        socket: BorrowedFd<'_>,
        alert: AlertDescription,
    ) -> io::Result<()> {
        let level = if alert == AlertDescription::CloseNotify { WARNING } else { FATAL };
        self.say_last(level, alert);
        self.flush_or_wait(socket)
    }

    /// New keys for what we send, and for what the peer sends if it is asked.
    pub(crate) fn update_keys(&mut self, socket: BorrowedFd<'_>, ask: AskPeer) -> io::Result<()> {
        self.check_open()?;
        if self.version == Version::Tls12 {
            return Err(ErrorKind::Unsupported.into());
        }
        self.queue_update(ask);
        self.flush_or_wait(socket)
    }

    /// True when a read has something to say without asking the socket.
    pub(crate) fn has_pending(&self) -> bool {
        self.receiving != Receiving::Open
    }

    /// Records sent since the handshake's first, at most.
    pub(crate) fn records_sent(&self) -> u64 {
        self.sent.total()
    }

    /// Records received, at most: until the kernel is asked, a byte may have been a record.
    pub(crate) fn records_received(&self) -> u64 {
        self.received.total()
    }

    /// How often keys were renewed: ours, the peer's.
    pub(crate) fn renewals(&self) -> (u64, u64) {
        (self.sent.renewals, self.received.renewals)
    }

    /// Asks the kernel how many records there were, which makes both counts exact.
    pub(crate) fn count(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.sent.under_key.correct(self.number(socket, Way::Sending)?);
        self.received.under_key.correct(self.number(socket, Way::Receiving)?);
        Ok(())
    }

    fn say_last(&mut self, level: u8, alert: AlertDescription) {
        if self.sending == Sending::Open {
            self.sending = Sending::Ended;
            self.waiting = Waiting { update: None, alert: Some([level, u8::from(alert)]) };
        }
    }

    /// Sends what waits; what the socket does not take yet stays, and is no error.
    fn flush_or_wait(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self.flush(socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    /// What it means that the kernel could not read a record.
    fn unreadable(&mut self, socket: BorrowedFd<'_>, error: io::Error) -> io::Error {
        let fault = match error.raw_os_error() {
            Some(libc::EBADMSG) => Fault::BadRecord,
            Some(libc::EMSGSIZE) => Fault::RecordOverflow,
            Some(libc::EINVAL) => Fault::BadHeader,
            Some(errno @ libc::EKEYEXPIRED) => Fault::Renewal(errno),
            _ => {
                if is_final(error.kind()) {
                    // The kernel goes on taking records for nobody, and calls that a success.
                    self.sending = Sending::Mute;
                    self.waiting = Waiting::default();
                }
                return error;
            }
        };
        // The kernel also keeps it as the socket's error, on which our alert would run aground;
        // reading that takes it away.
        let _taken = rustix::net::sockopt::socket_error(socket);
        self.fail(socket, fault)
    }

    /// Ends both directions, and tells the peer if the socket takes it.
    fn fail(&mut self, socket: BorrowedFd<'_>, fault: Fault) -> io::Error {
        let told = (self.sending == Sending::Open).then(|| fault.alert());
        self.receiving = Receiving::Failed(fault, told);
        self.messages = Messages::default();
        let level = if fault == Fault::KeysExhausted { WARNING } else { FATAL };
        self.say_last(level, fault.alert());
        // What the socket does not take now, `wants_flush` tells of.
        let _later = self.flush(socket);
        fault.error(told)
    }

    /// How reading ended, if it has.
    fn end<'b>(&self) -> Option<io::Result<Received<'b>>> {
        match self.receiving {
            Receiving::Open => None,
            Receiving::Closed => Some(Ok(Received::CloseNotify)),
            Receiving::Alert(alert) => Some(Ok(Received::Alert(alert))),
            Receiving::Failed(fault, told) => Some(Err(fault.error(told))),
        }
    }

    fn check_open(&self) -> io::Result<()> {
        match (self.receiving, self.sending) {
            (Receiving::Failed(fault, told), _) => Err(fault.error(told)),
            (_, Sending::Open) => Ok(()),
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Counter {
    fn new(number: u64, limit: u64) -> Self {
        Self { under_key: RecordCount::new(number, limit), before: 0, renewals: 0 }
    }

    fn renewed(&mut self, limit: u64) {
        self.before = self.total();
        self.renewals += 1;
        self.under_key = RecordCount::new(0, limit);
    }

    fn total(&self) -> u64 {
        self.before.saturating_add(self.under_key.bound())
    }
}

/// Whether nothing can be sent after such an error.
fn is_final(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::TimedOut
    )
}

/// What rustls knows of the cipher (RFC 8446 section 5.5).
fn confidentiality_limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}

fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::pipe::splice(from, None, to, None, length, flags)?)
}

/// Repeats a call that a signal interrupted.
fn again(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// `ContentType.alert`.
const ALERT: u8 = 21;
/// `ContentType.application_data`.
const APPLICATION_DATA: u8 = 23;

/// `AlertLevel.warning`.
const WARNING: u8 = 1;
/// `AlertLevel.fatal`.
const FATAL: u8 = 2;

/// As many as BoringSSL and rustls bear.
const MAX_WARNINGS: u8 = 4;

/// Data taken by one write. With [`UpdateLimits::LEAST_RECORDS`] its records are always within a
/// limit.
const MAX_WRITE: usize = 32 * MAX_PLAINTEXT;

/// Data taken by one splice, which is a pipe's usual capacity.
const MAX_SPLICE: usize = 4 * MAX_PLAINTEXT;

/// Of a pipe: each may become a record.
const PIPE_BUFFERS: u64 = 16;
