//! An established connection: one type, whether its records are the kernel's or ours.
//!
//! The caller owns the socket, which must be non-blocking, and the thread's [`Scratch`]. A call
//! does what can be done at once and answers `WouldBlock` where it cannot: wait for the socket and
//! call again. Read until `WouldBlock` before waiting, and see [`Stream::has_pending`]: data may
//! already be here. An idle stream holds no buffer.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustls::{AlertDescription, CipherSuite, ProtocolVersion};

use crate::diag::diagnose;
use crate::handshake::Handshake;
use crate::install::{self, Prepared, ReadAhead};
use crate::kernel::{KernelRecords, Spliced};
use crate::path::{Paths, RecordPath};
use crate::policy::{KernelUse, Policy};
use crate::probe::{Support, TlsFeature};
use crate::scratch::Scratch;
use crate::user::UserRecords;

/// A connection after its handshake.
pub struct Stream {
    records: Records,
    paths: Paths,
    version: ProtocolVersion,
    suite: CipherSuite,
}

enum Records {
    User(Box<UserRecords>),
    Kernel(Box<KernelRecords>),
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// Data, in the thread's `Scratch`.
    Data(&'a [u8]),
    /// The peer will send nothing more; we may go on sending.
    CloseNotify,
    /// The peer has given up: nothing more can be read or written.
    Alert(AlertDescription),
    /// Something was done that is no data: read again.
    Nothing,
}

/// Whether a KeyUpdate asks the peer for new keys too (RFC 8446 section 4.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskPeer {
    /// `update_requested`.
    Renew,
    /// `update_not_requested`. In user space rustls 0.23 always asks, and so does this.
    Nothing,
}

impl Stream {
    /// Takes a finished handshake, all of whose output has been sent, and places its records.
    ///
    /// # Errors
    /// When the handshake is not over, or when the policy requires the kernel and the kernel does
    /// not take these records: the error says why.
    pub fn establish(
        handshake: Handshake,
        fd: impl AsFd,
        support: &Support,
        policy: &Policy,
    ) -> io::Result<Self> {
        let (Some(version), Some(suite), true) =
            (handshake.version(), handshake.suite(), handshake.is_complete())
        else {
            return Err(io::Error::other("the TLS handshake is not over"));
        };
        let prepared = match policy.kernel {
            KernelUse::Off => Err(None),
            _ => prepare(&handshake, fd.as_fd(), support).map_err(Some),
        };
        let (records, paths) = match prepared {
            Ok(prepared) => {
                let (connection, _, _) = handshake.into_parts();
                let limits = policy.limits();
                let records = prepared.install(fd.as_fd(), connection, support, limits)?;
                (Records::Kernel(Box::new(records)), kernel_paths(fd.as_fd(), support))
            }
            Err(Some(reason)) if policy.kernel == KernelUse::Require => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
            }
            Err(reason) => {
                let (connection, read_ahead, seen) = handshake.into_parts();
                let limits = policy.limits();
                let agreed = (version, suite);
                let records = UserRecords::new(connection, agreed, read_ahead, seen, &limits);
                let paths = Paths { tx: RecordPath::Base, rx: RecordPath::Base, reason };
                (Records::User(Box::new(records)), paths)
            }
        };
        Ok(Self { records, paths, version, suite: suite.suite() })
    }

    /// Reads and opens what the socket has.
    ///
    /// # Errors
    /// * `WouldBlock`: wait for the socket to become readable;
    /// * `UnexpectedEof`: the peer closed without close_notify, the data may be cut short;
    /// * `InvalidData` with a [`RecordError`](crate::RecordError): the peer broke the protocol.
    ///   Flush, which sends the alert, and close;
    /// * anything else is the socket's.
    pub fn read<'s>(
        &mut self,
        fd: impl AsFd,
        scratch: &'s mut Scratch,
    ) -> io::Result<Received<'s>> {
        match &mut self.records {
            Records::User(records) => records.read(fd.as_fd(), scratch),
            Records::Kernel(records) => records.read(fd.as_fd(), &mut scratch.plain),
        }
    }

    /// True when a read has something to say without the socket becoming readable: bytes that came
    /// with the handshake, or an end that came with the last data.
    pub fn has_pending(&self) -> bool {
        match &self.records {
            Records::User(records) => records.has_pending(),
            Records::Kernel(records) => records.has_pending(),
        }
    }

    /// True when the last read left nothing in the socket, so that the next one would answer
    /// `WouldBlock`: a caller with edge-triggered readiness may wait without asking. False: unknown.
    pub fn has_drained(&self) -> bool {
        match &self.records {
            Records::User(records) => records.has_drained(),
            Records::Kernel(_) => false,
        }
    }

    /// Seals and sends `data`, or the front of it; answers how much was taken. What was taken and
    /// could not be sent yet is kept: see [`wants_flush`](Self::wants_flush).
    ///
    /// # Errors
    /// * `WouldBlock`: nothing was taken; wait for the socket to become writable;
    /// * `BrokenPipe`: the writing side is closed;
    /// * `InvalidData` with a [`RecordError`](crate::RecordError): the connection has failed;
    /// * anything else is the socket's.
    pub fn write(
        &mut self,
        fd: impl AsFd,
        data: &[u8],
        scratch: &mut Scratch,
    ) -> io::Result<usize> {
        match &mut self.records {
            Records::User(records) => records.write(fd.as_fd(), data, scratch),
            Records::Kernel(records) => records.write(fd.as_fd(), data),
        }
    }

    /// True while sealed bytes, an alert or a KeyUpdate wait for the socket to become writable.
    pub fn wants_flush(&self) -> bool {
        match &self.records {
            Records::User(records) => records.wants_flush(),
            Records::Kernel(records) => records.wants_flush(),
        }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// `WouldBlock` while some of it remains; anything else is the socket's.
    pub fn flush(&mut self, fd: impl AsFd) -> io::Result<()> {
        match &mut self.records {
            Records::User(records) => records.flush(fd.as_fd()),
            Records::Kernel(records) => records.flush(fd.as_fd()),
        }
    }

    /// Says close_notify: we send nothing more, and go on reading (RFC 8446 section 6.1). Flush
    /// while [`wants_flush`](Self::wants_flush), then `shutdown(SHUT_WR)` is the caller's.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn close_write(&mut self, fd: impl AsFd) -> io::Result<()> {
        match &mut self.records {
            Records::User(records) => records.close_write(fd.as_fd()),
            Records::Kernel(records) => records.close_write(fd.as_fd()),
        }
    }

    /// Sends an alert: close_notify, or a fatal one, which ends both directions.
    ///
    /// # Errors
    /// `Unsupported` in user space for a fatal alert where the configuration does not have
    /// `enable_secret_extraction`: rustls 0.23 does not say it for us. The connection is over
    /// nevertheless, and its end is as good as the alert. Else as [`write`](Self::write).
    pub fn send_alert(&mut self, fd: impl AsFd, alert: AlertDescription) -> io::Result<()> {
        match (&mut self.records, alert) {
            (Records::User(records), AlertDescription::CloseNotify) => {
                records.close_write(fd.as_fd())
            }
            (Records::User(records), alert) => records.send_alert(fd.as_fd(), alert),
            (Records::Kernel(records), alert) => records.send_alert(fd.as_fd(), alert),
        }
    }

    /// Sends a KeyUpdate and uses new keys from then on. This also happens by itself, before the
    /// keys are worn out.
    ///
    /// # Errors
    /// `Unsupported` with TLS 1.2, which has none; else as [`write`](Self::write).
    pub fn update_keys(&mut self, fd: impl AsFd, ask: AskPeer) -> io::Result<()> {
        match &mut self.records {
            Records::User(records) => records.update_keys(fd.as_fd()),
            Records::Kernel(records) => records.update_keys(fd.as_fd(), ask),
        }
    }

    /// Moves data from the socket into a pipe, without a copy through this process. Only where
    /// [`is_kernel`](Self::is_kernel). [`Spliced::Record`]: what comes next has to be read.
    ///
    /// # Errors
    /// `WouldBlock` when the socket has nothing or the pipe is full; `Unsupported` in user space;
    /// else as [`read`](Self::read).
    pub fn splice_from(
        &mut self,
        fd: impl AsFd,
        pipe: impl AsFd,
        length: usize,
    ) -> io::Result<Spliced> {
        match &mut self.records {
            Records::User(_) => Err(io::ErrorKind::Unsupported.into()),
            Records::Kernel(records) => records.splice_from(fd.as_fd(), pipe.as_fd(), length),
        }
    }

    /// Moves data from a pipe to the socket, without a copy through this process. The pipe should
    /// have no more than its usual 16 buffers, each of which may become a record.
    ///
    /// # Errors
    /// `WouldBlock` when the pipe is empty or the socket full; `Unsupported` in user space; else as
    /// [`write`](Self::write).
    pub fn splice_to(
        &mut self,
        fd: impl AsFd,
        pipe: impl AsFd,
        length: usize,
    ) -> io::Result<usize> {
        match &mut self.records {
            Records::User(_) => Err(io::ErrorKind::Unsupported.into()),
            Records::Kernel(records) => records.splice_to(fd.as_fd(), pipe.as_fd(), length),
        }
    }

    /// Asks the kernel how many records there were, which makes the counts exact; in user space
    /// they always are.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn count_records(&mut self, fd: impl AsFd) -> io::Result<()> {
        match &mut self.records {
            Records::User(_) => Ok(()),
            Records::Kernel(records) => records.count(fd.as_fd()),
        }
    }

    /// How often keys were renewed: ours by KeyUpdates that we began, the peer's by its own. In
    /// user space, where rustls hides them, a KeyUpdate is known by the length of its record.
    pub fn renewals(&self) -> (u64, u64) {
        match &self.records {
            Records::User(records) => records.renewals(),
            Records::Kernel(records) => records.renewals(),
        }
    }

    /// Records sent since the handshake; in the kernel at most so many.
    pub fn records_sent(&self) -> u64 {
        match &self.records {
            Records::User(records) => records.records_sent(),
            Records::Kernel(records) => records.records_sent(),
        }
    }

    /// Records received since the handshake; in the kernel at most so many.
    pub fn records_received(&self) -> u64 {
        match &self.records {
            Records::User(records) => records.records_received(),
            Records::Kernel(records) => records.records_received(),
        }
    }

    /// Where records are processed, each way, and why not in the kernel.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// True when data may be spliced: the kernel has both directions.
    pub fn is_kernel(&self) -> bool {
        self.paths.tx != RecordPath::Base && self.paths.rx != RecordPath::Base
    }

    /// The version agreed on.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// The cipher suite agreed on.
    pub fn suite(&self) -> CipherSuite {
        self.suite
    }
}

/// What can be done before rustls gives up its keys; the error says why they stay in user space.
fn prepare(
    handshake: &Handshake,
    socket: BorrowedFd<'_>,
    support: &Support,
) -> Result<Prepared, String> {
    if !handshake.may_give_keys() {
        return Err("the configuration does not have enable_secret_extraction".to_owned());
    }
    match (handshake.version(), handshake.suite()) {
        (Some(version), Some(suite)) => {
            let ahead = if handshake.has_read_ahead() { ReadAhead::Some } else { ReadAhead::None };
            install::prepare(socket, version, suite, support, ahead)
        }
        _ => Err("the TLS handshake is not over".to_owned()),
    }
}

/// Who has the records now, if the kernel tells us.
fn kernel_paths(socket: BorrowedFd<'_>, support: &Support) -> Paths {
    let told = if support.has(TlsFeature::Diagnosis) { diagnose(socket).ok() } else { None };
    let (tx, rx) =
        told.map_or((RecordPath::Software, RecordPath::Software), |told| (told.tx, told.rx));
    Paths { tx, rx, reason: None }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("version", &self.version)
            .field("suite", &self.suite)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}
