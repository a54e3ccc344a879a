//! Records that are no data: alerts, handshake messages, and what has no place after a handshake.
//!
//! Decisions only; keys are changed by [`renewal`](super::renewal), and the state is the record
//! loop's.

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustls::AlertDescription;

use super::{ALERT, APPLICATION_DATA, FATAL, KernelRecords, Receiving, Sending, WARNING, Waiting};
use crate::crypto_info::Version;
use crate::fault::Fault;
use crate::handover::KeySchedule;
use crate::post_handshake::{HANDSHAKE, KEY_UPDATE, Message};
use crate::sys::ReceivedRecord;

impl KernelRecords {
    /// Deals with one record. The outer error is the socket's, the inner one the peer's.
    pub(super) fn handle(
        &mut self,
        socket: BorrowedFd<'_>,
        record: ReceivedRecord,
        content: &[u8],
    ) -> io::Result<Result<(), Fault>> {
        let kind = match record.content_type {
            Some(kind) => kind,
            None if content.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            None => return Ok(Err(Fault::Untyped)),
        };
        self.count_received(socket, content.len() + 1)?;
        if kind != HANDSHAKE && !self.messages.is_between() {
            return Ok(Err(Fault::Interleaved));
        }
        match kind {
            APPLICATION_DATA => Ok(Ok(())),
            ALERT => Ok(self.alert(content)),
            HANDSHAKE if self.version == Version::Tls12 => Ok(self.renegotiation(socket, content)),
            HANDSHAKE => self.handshake(socket, content),
            other => Ok(Err(Fault::UnexpectedRecord(other))),
        }
    }

    /// RFC 8446 section 6: one whole alert in a record, and in TLS 1.3 hardly any warnings.
    fn alert(&mut self, content: &[u8]) -> Result<(), Fault> {
        let (level, alert) = match *content {
            [level @ (WARNING | FATAL), alert] => (level, AlertDescription::from(alert)),
            [] => return Err(Fault::EmptyRecord(ALERT)),
            _ => return Err(Fault::BadAlert),
        };
        let harmless = self.version == Version::Tls12 || alert == AlertDescription::UserCanceled;
        if alert == AlertDescription::CloseNotify {
            self.receiving = Receiving::Closed;
        } else if level == FATAL {
            self.receiving = Receiving::Alert(alert);
            self.sending = Sending::Ended;
            self.waiting = Waiting::default();
        } else if !harmless {
            return Err(Fault::BadAlert);
        } else {
            self.patience.warnings =
                self.patience.warnings.checked_sub(1).ok_or(Fault::TooManyWarnings)?;
        }
        Ok(())
    }

    /// TLS 1.2: a HelloRequest or a ClientHello. It is declined once (RFC 5746 section 4.5).
    fn renegotiation(&mut self, socket: BorrowedFd<'_>, content: &[u8]) -> Result<(), Fault> {
        match content.first() {
            None => return Err(Fault::EmptyRecord(HANDSHAKE)),
            Some(&(HELLO_REQUEST | CLIENT_HELLO)) => {}
            Some(&other) => return Err(Fault::UnexpectedMessage(other)),
        }
        let left = self.patience.renegotiations.checked_sub(1).ok_or(Fault::Renegotiation)?;
        self.patience.renegotiations = left;
        if self.sending == Sending::Open {
            self.waiting.alert = Some([WARNING, u8::from(AlertDescription::NoRenegotiation)]);
            // What the socket does not take now, `wants_flush` tells of.
            let _later = self.flush(socket);
        }
        Ok(())
    }

    fn handshake(
        &mut self,
        socket: BorrowedFd<'_>,
        content: &[u8],
    ) -> io::Result<Result<(), Fault>> {
        let mut update = None;
        let Self { messages, schedule, guard, .. } = self;
        let result = messages.record(content, |message| {
            let admitted = match message {
                Message::KeyUpdate(_) => guard.admits_update(Instant::now()),
                Message::NewSessionTicket(_) => guard.admits(Instant::now()),
            };
            if !admitted {
                return Err(Fault::Flood);
            }
            match message {
                Message::NewSessionTicket(body) => keep_ticket(schedule.as_deref_mut(), body),
                Message::KeyUpdate(ask) => {
                    update = Some(ask);
                    Ok(())
                }
            }
        });
        if let Err(fault) = result {
            return Ok(Err(fault));
        }
        match update {
            Some(ask) => self.receive_update(socket, ask),
            None if content.first() == Some(&KEY_UPDATE) => Ok(self.resume(socket)),
            None => Ok(Ok(())),
        }
    }
}

fn keep_ticket(schedule: Option<&mut KeySchedule>, body: &[u8]) -> Result<(), Fault> {
    match schedule {
        Some(KeySchedule::Server(_)) | None => Err(Fault::UnexpectedMessage(NEW_SESSION_TICKET)),
        Some(client) => client.keep_ticket(body).map_err(|_| Fault::BadTicket),
    }
}

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
