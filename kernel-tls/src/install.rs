//! Giving a connection's keys to the kernel: both ways, or the connection ends.
//!
//! rustls's connection is given up in between, so there are two halves:
//! 1. [`prepare`] does all that may fail harmlessly, `TCP_ULP` last: without keys a socket with it
//!    works as one without. Until then the connection can stay in user space.
//! 2. [`Prepared::install`] takes the secrets out of rustls and gives them to the kernel. If that
//!    fails, which after a probe is want of memory or a device's whim, nobody could go on: the peer
//!    is told by a fatal alert, sealed by the kernel where it has our sending keys already, and
//!    else by [`last_words`](crate::last_words).

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;

use rustls::{AlertDescription, ConnectionTrafficSecrets, ProtocolVersion, SupportedCipherSuite};

use crate::connection::Connection;
use crate::crypto_info::{Cipher, CryptoInfo, Version, Way};
use crate::handover;
use crate::kernel::KernelRecords;
use crate::last_words::sealed_alert;
use crate::probe::{Support, TlsFeature, cipher_of};
use crate::sys::{self, TlsOption};
use crate::update::UpdateLimits;

/// A connection that the kernel is ready to take.
pub(crate) struct Prepared {
    version: Version,
    cipher: Cipher,
    suite: SupportedCipherSuite,
}

/// Makes the socket ready for keys.
///
/// # Errors
/// Why the connection has to stay in user space, where it can: nothing has changed for it.
pub(crate) fn prepare(
    socket: BorrowedFd<'_>,
    version: ProtocolVersion,
    suite: SupportedCipherSuite,
    support: &Support,
    read_ahead: ReadAhead,
) -> Result<Prepared, String> {
    let name = suite.suite();
    let unknown = || format!("the kernel does not know {version:?} with {name:?}");
    let version = Version::of(version).ok_or_else(unknown)?;
    let cipher = cipher_of(name).ok_or_else(unknown)?;
    support.takes(version, cipher)?;
    // Asked after what holds for all connections: whoever knows that the kernel takes nothing reads
    // as much as there is, and that is then not the reason.
    if read_ahead == ReadAhead::Some {
        return Err("records were read together with the handshake".to_owned());
    }
    match sys::attach(socket).map_err(|error| (error.raw_os_error(), error)) {
        // It has it already: whoever opened the socket was early.
        Ok(()) | Err((Some(libc::EEXIST), _)) => Ok(Prepared { version, cipher, suite }),
        // Only an established connection can have it (net/tls/tls_main.c, tls_init).
        Err((Some(libc::ENOTCONN), _)) => {
            Err("the peer closed its side before the hand-over".to_owned())
        }
        Err((_, error)) => Err(format!("TCP_ULP: {error}")),
    }
}

/// Whether records beyond the handshake are in our memory: the kernel counts from those that it
/// sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadAhead {
    None,
    Some,
}

impl Prepared {
    /// Takes the secrets out of rustls and gives them to the kernel.
    ///
    /// # Errors
    /// Then the connection is over, and its peer has been told as well as could be.
    pub(crate) fn install(
        self,
        socket: BorrowedFd<'_>,
        connection: Connection,
        support: &Support,
        limits: UpdateLimits,
    ) -> io::Result<KernelRecords> {
        let (secrets, schedule) = handover::extract(connection).map_err(io::Error::other)?;
        let (sent, tx) = secrets.tx;
        let (received, rx) = secrets.rx;
        if let Err(error) = self.give(socket, Way::Sending, sent, &tx) {
            // The socket sends as it is told, still.
            if let Some(alert) = sealed_alert(self.suite, sent, tx, AlertDescription::InternalError)
            {
                // There is nothing left to do if even that fails.
                let _told = rustix::net::send(socket, &alert, rustix::net::SendFlags::NOSIGNAL);
            }
            return Err(refused(Way::Sending, &error, support));
        }
        let mut records = KernelRecords::new(
            self.suite,
            self.version,
            self.cipher,
            schedule,
            (sent, received),
            limits,
        );
        if let Err(error) = self.give(socket, Way::Receiving, received, &rx) {
            // As above.
            let _told = records.send_alert(socket, AlertDescription::InternalError);
            return Err(refused(Way::Receiving, &error, support));
        }
        self.switch_on_options(socket, support);
        Ok(records)
    }

    fn give(
        &self,
        socket: BorrowedFd<'_>,
        way: Way,
        record: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> io::Result<()> {
        CryptoInfo::new(self.version, record, secrets)
            .ok_or(io::Error::from(ErrorKind::InvalidInput))?
            .install(socket, way)
    }

    /// They make things faster where they work, and nothing else where they do not. Zero copy is
    /// harmless here, as what is spliced comes from sockets and is never written to again.
    fn switch_on_options(&self, socket: BorrowedFd<'_>, support: &Support) {
        if support.has(TlsFeature::Zerocopy) {
            let _slower = sys::switch_on(socket, TlsOption::ZerocopyReadOnly);
        }
        if self.version == Version::Tls13 && support.has(TlsFeature::NoPad) {
            let _slower = sys::switch_on(socket, TlsOption::ExpectNoPad);
        }
    }
}

/// What worked in the probe and fails now is not tried again, unless memory was short.
fn refused(way: Way, error: &io::Error, support: &Support) -> io::Error {
    let text = format!("{way} failed on a connection although its probe had succeeded: {error}");
    let passing = [libc::ENOMEM, libc::ENOBUFS, libc::EAGAIN, libc::EINTR];
    if !error.raw_os_error().is_some_and(|errno| passing.contains(&errno)) {
        support.switch_off(&text);
    }
    io::Error::other(text)
}
