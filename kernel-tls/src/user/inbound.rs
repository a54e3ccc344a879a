//! Reading: records come into the thread's [`Scratch`], are opened in place, one after the other,
//! and their data leaves in one piece. Records without data are judged here, and an end is told
//! once all data before it is.

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::net::RecvFlags;
use rustls::{AlertDescription, Error};

use super::{Inbound, Outbound, UserRecords};
use crate::connection::{Look, Outcome, Plain};
use crate::failure::RecordError;
use crate::record::{self, Front, MAX_GATHERED, front};
use crate::scratch::{READ_AHEAD, Scratch};
use crate::stream::Received;

impl UserRecords {
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
        let update = length == KEY_UPDATE_RECORD;
        self.renewals.1 += u64::from(update);
        let now = Instant::now();
        let admitted = if update { self.guard.admits_update(now) } else { self.guard.admits(now) };
        if !admitted {
            self.fail(RecordError::flood(), AlertDescription::UnexpectedMessage);
        }
    }
}

/// A KeyUpdate's record without padding: header, message, inner type, tag.
const KEY_UPDATE_RECORD: usize = record::HEADER + 5 + 1 + 16;
