//! Writing: data is sealed into the thread's [`Scratch`] and sent from there; what the socket does
//! not take is kept. What rustls has to say comes in front of data, and new keys are asked for
//! before the old ones are worn out.

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;

use rustix::net::SendFlags;

use super::{Inbound, Outbound, UserRecords};
use crate::connection::{Write, WriteError};
use crate::record;
use crate::scratch::{MAX_WRITE, Scratch};

impl UserRecords {
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

    /// Sends what the socket takes now of what waits.
    pub(super) fn flush_or_wait(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        match self.flush(fd) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    /// Queues our close_notify and tries to send it.
    pub(crate) fn close_write(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.outbound == Outbound::Open && !matches!(self.inbound, Inbound::Failed(_)) {
            self.outbound = Outbound::Closed;
            self.queue(Write::CloseNotify)?;
        }
        self.flush_or_wait(fd)
    }

    /// New keys for what we send, and the peer is asked for new ones too.
    pub(crate) fn update_keys(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.check_open()?;
        if !self.is_tls13() {
            return Err(ErrorKind::Unsupported.into());
        }
        self.refresh()?;
        self.flush_or_wait(fd)
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
        // rustls asks each time.
        self.guard.ask();
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
