//! The record loop in user space, after the handshake: what a connection does where the kernel
//! takes no records.
//!
//! Only the front of an incomplete record and what the socket would not take stay with the stream.
//! rustls answers KeyUpdates (its answer goes out in front of the next data, as RFC 8446 section
//! 4.6.3 demands), keeps session tickets, and refuses renegotiation. We ask for new keys before
//! the old ones are worn out. Nothing is repeated after a failure: it ends both directions, and
//! the alert waits in the unsent bytes.

mod inbound;
mod outbound;

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;

use rustls::{AlertDescription, Error, ProtocolVersion, SupportedCipherSuite};

use crate::connection::{Connection, WriteError};
use crate::failure::{RecordError, expected_alert};
use crate::handover;
use crate::last_words::sealed_alert;
use crate::record;
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

    /// Ends both directions with a fatal alert, and tries to send it.
    pub(crate) fn send_alert(
        &mut self,
        fd: BorrowedFd<'_>,
        alert: AlertDescription,
    ) -> io::Result<()> {
        self.check_open()?;
        let said = self.say_last(alert);
        self.outbound = Outbound::Closed;
        self.inbound = Inbound::Failed(Box::new(RecordError::given_up()));
        if said { self.flush_or_wait(fd) } else { Err(ErrorKind::Unsupported.into()) }
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
        // A peer that is not told sees the socket end, which is as final.
        let told =
            self.unsent.len() > queued || (self.outbound == Outbound::Open && self.say_last(alert));
        let error = error.telling(told.then_some(alert));
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
}
