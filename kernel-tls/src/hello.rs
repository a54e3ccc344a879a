//! The ClientHello, gathered before a configuration is chosen.
//!
//! rustls lets a server look at the ClientHello only through its buffered `Acceptor`, which cannot
//! become an unbuffered connection. So the `Acceptor` is given a copy, and the same bytes go into
//! the real connection afterwards. It is bounded at what rustls accepts (64 KiB), may come in
//! several records, and byte by byte. Nothing is answered here except an alert to a hello that
//! is none. The caller owns the socket and the reading.

use std::fmt;

use rustls::server::{Accepted, Acceptor, ClientHello};
use rustls::{AlertDescription, CipherSuite, Error, ProtocolVersion};

use crate::failure::HandshakeError;
use crate::record::{Front, HEADER, MAX_GATHERED, front};

/// Gathers a ClientHello.
#[derive(Default)]
pub struct HelloReader {
    bytes: Vec<u8>,
    acceptor: Acceptor,
    /// How much of `bytes` the acceptor has been given: whole records only.
    accepted: usize,
}

impl HelloReader {
    /// Nothing gathered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes may be read now without taking any that follow the record that is being
    /// received: what is missing of its header, then of its body. Never zero.
    pub fn wanted(&self) -> usize {
        match front(self.bytes.get(self.accepted..).unwrap_or_default()) {
            Front::Missing(bytes) => bytes,
            Front::Whole(_) | Front::Impossible => HEADER,
        }
    }

    /// True before the first byte: a peer that leaves now has said nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes bytes from the peer; answers with the hello once it is whole.
    ///
    /// # Errors
    /// When it is no ClientHello, too long, or such that rustls refuses it whatever the
    /// configuration: the error holds the alert to send.
    pub fn received(&mut self, bytes: &[u8]) -> Result<Option<Hello>, HandshakeError> {
        self.bytes.extend_from_slice(bytes);
        loop {
            let rest = self.bytes.get(self.accepted..).unwrap_or_default();
            let shown = match front(rest) {
                Front::Missing(_) if self.bytes.len() > MAX_GATHERED => {
                    return Err(HandshakeError::too_long());
                }
                Front::Missing(_) => return Ok(None),
                Front::Whole(length) => length,
                Front::Impossible => rest.len(),
            };
            if let Some(accepted) = self.accept(shown)? {
                let bytes = std::mem::take(&mut self.bytes);
                return Ok(Some(Hello { bytes, accepted: Box::new(accepted) }));
            }
        }
    }

    /// Gives the acceptor its copy of the next `shown` bytes.
    fn accept(&mut self, shown: usize) -> Result<Option<Accepted>, HandshakeError> {
        let end = self.accepted + shown;
        let mut copy = self.bytes.get(self.accepted..end).unwrap_or_default();
        // It reads no more than 4 KiB at a time, and refuses to hold more than 64 KiB.
        while !copy.is_empty() {
            let read = self.acceptor.read_tls(&mut copy).map_err(|_| HandshakeError::too_long())?;
            if read == 0 {
                return Err(HandshakeError::too_long());
            }
        }
        self.accepted = end;
        self.acceptor.accept().map_err(|(error, mut alert)| {
            let mut bytes = Vec::new();
            // Writing to memory does not fail; without the alert the peer learns less, that is all.
            let _written = alert.write_all(&mut bytes);
            if matches!(error, Error::PeerIncompatible(_)) && self.is_too_old() {
                // rustls misses an extension that TLS 1.1 does not have, and says only that.
                return HandshakeError::too_old();
            }
            HandshakeError::in_clear(error, bytes)
        })
    }

    /// Whether this is a ClientHello that offers nothing newer than TLS 1.1.
    fn is_too_old(&self) -> bool {
        let message = message(self.bytes.get(..self.accepted).unwrap_or_default());
        message.first() == Some(&CLIENT_HELLO)
            && message.get(4..6).is_some()
            && !offers(&message, ProtocolVersion::TLSv1_2)
            && !offers(&message, ProtocolVersion::TLSv1_3)
    }
}

impl fmt::Debug for HelloReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelloReader").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// A whole ClientHello, understood by rustls, and its bytes as they came.
pub struct Hello {
    bytes: Vec<u8>,
    accepted: Box<Accepted>,
}

impl Hello {
    /// What the client offers, as a certificate resolver sees it.
    pub fn client_hello(&self) -> ClientHello<'_> {
        self.accepted.client_hello()
    }

    /// The name that the client asks for (RFC 6066 section 3), in lower case.
    pub fn server_name(&self) -> Option<String> {
        self.client_hello().server_name().map(str::to_owned)
    }

    /// Whether the client offers `suite`.
    pub fn offers_suite(&self, suite: CipherSuite) -> bool {
        self.client_hello().cipher_suites().contains(&suite)
    }

    /// Whether the client offers `version`: in `supported_versions` where it sent that (RFC 8446
    /// section 4.2.1), else by its `legacy_version`.
    pub fn offers_version(&self, version: ProtocolVersion) -> bool {
        offers(&message(&self.bytes), version)
    }

    /// A refusal in the clear, for what only the caller can decide: an unknown name, a limit.
    pub fn refuse(&self, alert: AlertDescription, label: &'static str) -> HandshakeError {
        HandshakeError::refusal(alert, label)
    }

    /// The bytes as they came, records and all; with greedy reading, and what came behind them.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Option<String>) {
        let name = self.server_name();
        (self.bytes, name)
    }
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello").field("server_name", &self.server_name()).finish_non_exhaustive()
    }
}

/// The handshake message in `records`, without their headers.
fn message(records: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(records.len());
    let mut rest = records;
    while let Front::Whole(length) = front(rest) {
        let (record, behind) = rest.split_at(length);
        if record.first() == Some(&HANDSHAKE) {
            message.extend_from_slice(record.get(HEADER..).unwrap_or_default());
        }
        rest = behind;
    }
    message
}

/// Whether a ClientHello offers `version`.
fn offers(message: &[u8], version: ProtocolVersion) -> bool {
    match offered_versions(message) {
        Some(mut versions) => versions.any(|offered| offered == u16::from(version)),
        None => message.get(4..6).is_some_and(|legacy| {
            version != ProtocolVersion::TLSv1_3 && legacy >= &u16::from(version).to_be_bytes()[..]
        }),
    }
}

/// Walks a ClientHello (RFC 8446 section 4.1.2), header included, to its `supported_versions`.
fn offered_versions(message: &[u8]) -> Option<impl Iterator<Item = u16> + '_> {
    const TYPE_LENGTH_VERSION_RANDOM: usize = 1 + 3 + 2 + 32;
    let rest = message.get(TYPE_LENGTH_VERSION_RANDOM..)?;
    let (_session, rest) = counted::<1>(rest)?;
    let (_suites, rest) = counted::<2>(rest)?;
    let (_compression, rest) = counted::<1>(rest)?;
    let (mut extensions, _) = counted::<2>(rest)?;
    while let Some((kind, rest)) = extensions.split_first_chunk::<2>() {
        let (body, behind) = counted::<2>(rest)?;
        if u16::from_be_bytes(*kind) == SUPPORTED_VERSIONS {
            let (versions, _) = counted::<1>(body)?;
            let (versions, _odd) = versions.as_chunks::<2>();
            return Some(versions.iter().map(|version| u16::from_be_bytes(*version)));
        }
        extensions = behind;
    }
    None
}

/// A vector with a length of `N` bytes in front, and what follows it.
fn counted<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<N>()?;
    let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

/// `ContentType.handshake`.
const HANDSHAKE: u8 = 22;

/// `HandshakeType.client_hello`.
const CLIENT_HELLO: u8 = 1;

/// `ExtensionType.supported_versions`.
const SUPPORTED_VERSIONS: u16 = 43;
