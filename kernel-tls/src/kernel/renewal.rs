//! New keys for the kernel, the peer's and ours, and the counting that says when.
//!
//! A KeyUpdate of ours and the keys that it announces are one step here: nothing is sent in between,
//! and what the kernel refuses then ends the connection.

use std::io;
use std::os::fd::BorrowedFd;

use super::{KernelRecords, Sending, again};
use crate::crypto_info::{CryptoInfo, Version, Way};
use crate::fault::Fault;
use crate::post_handshake::{HANDSHAKE, key_update_message};
use crate::stream::AskPeer;
use crate::sys;
use crate::update::Headroom;

impl KernelRecords {
    pub(super) fn receive_update(
        &mut self,
        socket: BorrowedFd<'_>,
        ask: AskPeer,
    ) -> io::Result<Result<(), Fault>> {
        // How many there were is known only as long as the old keys are there.
        self.received.under_key.correct(self.number(socket, Way::Receiving)?);
        if let Err(fault) = self.install_next(socket, Way::Receiving) {
            return Ok(Err(fault));
        }
        let limit = receiving_limit(self.version, self.limit());
        self.received.renewed(limit);
        if ask == AskPeer::Renew && self.sending == Sending::Open {
            self.queue_update(AskPeer::Nothing);
            self.flush_or_wait(socket)?;
        }
        Ok(Ok(()))
    }

    /// The kernel has stopped at what was no KeyUpdate, or not all of one: it goes on with the keys
    /// that it has.
    pub(super) fn resume(&mut self, socket: BorrowedFd<'_>) -> Result<(), Fault> {
        CryptoInfo::read(socket, Way::Receiving, self.cipher)
            .and_then(|keys| keys.install(socket, Way::Receiving))
            .map_err(|error| Fault::Renewal(error.raw_os_error().unwrap_or_default()))
    }

    pub(super) fn send_update(&mut self, socket: BorrowedFd<'_>, ask: AskPeer) -> io::Result<()> {
        again(|| sys::send_record(socket, HANDSHAKE, &key_update_message(ask)))?;
        self.sent.under_key.add(1);
        self.waiting.update = None;
        if ask == AskPeer::Renew {
            self.guard.ask();
        }
        if let Err(fault) = self.install_next(socket, Way::Sending) {
            self.sending = Sending::Mute;
            return Err(self.fail(socket, fault));
        }
        self.sent.renewed(self.limit());
        Ok(())
    }

    fn install_next(&mut self, socket: BorrowedFd<'_>, way: Way) -> Result<(), Fault> {
        let schedule = self.schedule.as_mut().ok_or(Fault::Renewal(libc::EINVAL))?;
        let secrets = match way {
            Way::Sending => schedule.next_tx(),
            Way::Receiving => schedule.next_rx(),
        }
        .map_err(|_| Fault::Renewal(libc::EINVAL))?;
        CryptoInfo::new(self.version, 0, &secrets)
            .ok_or(Fault::Renewal(libc::EINVAL))?
            .install(socket, way)
            .map_err(|error| Fault::Renewal(error.raw_os_error().unwrap_or_default()))
    }

    /// Makes sure that `records` more may be sent, with new keys where it takes them.
    pub(super) fn make_room(&mut self, socket: BorrowedFd<'_>, records: u64) -> io::Result<()> {
        if self.sent.under_key.headroom(records) == Headroom::Enough {
            return Ok(());
        }
        self.sent.under_key.correct(self.number(socket, Way::Sending)?);
        if self.sent.under_key.headroom(records) == Headroom::Enough {
            return Ok(());
        }
        match self.version {
            Version::Tls13 => {
                self.queue_update(AskPeer::Nothing);
                self.flush(socket)
            }
            Version::Tls12 => Err(self.fail(socket, Fault::KeysExhausted)),
        }
    }

    /// Counts what a read brought, and asks the peer for new keys before its own are worn out.
    pub(super) fn count_received(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<()> {
        self.received.under_key.add(most as u64);
        if self.received.under_key.headroom(0) == Headroom::Enough {
            return Ok(());
        }
        self.received.under_key.correct(self.number(socket, Way::Receiving)?);
        if self.received.under_key.headroom(0) == Headroom::Enough {
            return Ok(());
        }
        // Once is enough: it has to answer, and what it sends before that is its own risk.
        self.received.under_key.unlimited();
        if self.sending == Sending::Open {
            self.queue_update(AskPeer::Renew);
            self.flush_or_wait(socket)?;
        }
        Ok(())
    }

    /// The number of the next record.
    pub(super) fn number(&self, socket: BorrowedFd<'_>, way: Way) -> io::Result<u64> {
        CryptoInfo::read(socket, way, self.cipher).map(|keys| keys.record())
    }

    /// One KeyUpdate answers any number of requests (RFC 8446 section 4.6.3).
    pub(super) fn queue_update(&mut self, ask: AskPeer) {
        self.waiting.update = match (self.waiting.update, ask) {
            (Some(AskPeer::Renew), _) | (_, AskPeer::Renew) => Some(AskPeer::Renew),
            _ => Some(AskPeer::Nothing),
        };
    }

    fn limit(&self) -> u64 {
        self.limits.records.unwrap_or(u64::MAX)
    }
}

/// After how many records the peer is asked for new keys: early enough that it can answer in time.
/// TLS 1.2 has no way to ask.
pub(super) fn receiving_limit(version: Version, limit: u64) -> u64 {
    match version {
        Version::Tls12 => u64::MAX,
        Version::Tls13 => limit / 4 * 3,
    }
}
