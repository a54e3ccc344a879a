//! A TLS handshake without sockets: bytes of the peer go in, bytes for the peer come out.
//!
//! Flow, for both sides:
//! 1. read at most [`Handshake::wanted`] bytes and give them to [`Handshake::received`];
//! 2. [`Handshake::step`] does what can be done, and appends what is to be sent;
//! 3. send all of that; back to 1 until the step answers [`Progress::Complete`].
//!
//! Before the kernel may take over, nothing beyond the handshake's last record may have been read:
//! a record in our memory would be missing in the kernel's sequence. That is what
//! [`Reading::Exact`] is for; [`Reading::Greedy`] needs fewer system calls and rules a hand-over
//! out if it took more than the handshake. Early data is never offered and never accepted. What is
//! gathered of one message is bounded at 64 KiB and a record. The value is `Send`: a step that
//! signs with a slow key may be moved to another thread. rustls owns the protocol's state.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{
    ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig, SupportedCipherSuite,
};

use crate::connection::{Connection, Look, Outcome, Plain};
use crate::failure::HandshakeError;
use crate::hello::Hello;
use crate::record::{Front, MAX_GATHERED, MAX_RECORD, front};

/// How far ahead may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Never beyond the record that is being received: the kernel may take over.
    Exact,
    /// As much as there is: the records stay in user space.
    Greedy,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More of the peer's bytes are needed.
    NeedsBytes,
    /// The handshake is over, once what the step appended has been sent.
    Complete,
}

/// One handshake, on the server's or the client's side.
pub struct Handshake {
    connection: Connection,
    incoming: Vec<u8>,
    /// Of `incoming`, what rustls has been shown: the front of a message in several records.
    seen: usize,
    server_name: Option<String>,
    /// Nothing of ours is on the wire yet, so an alert of our own can still be in the clear.
    silent: bool,
    complete: bool,
    may_give_keys: bool,
}

impl Handshake {
    /// A server's side, which begins with the client's hello.
    ///
    /// # Errors
    /// When the configuration accepts early data, which nothing here would read.
    pub fn server(config: Arc<ServerConfig>, hello: Hello) -> Result<Self, HandshakeError> {
        if config.max_early_data_size != 0 {
            return Err(HandshakeError::early_data());
        }
        let may_give_keys = config.enable_secret_extraction;
        let connection = UnbufferedServerConnection::new(config).map_err(HandshakeError::config)?;
        let (incoming, server_name) = hello.into_parts();
        let connection = Connection::Server(Box::new(connection));
        Ok(Self { incoming, ..Self::new(connection, server_name, may_give_keys) })
    }

    /// A client's side; its first step writes the hello.
    ///
    /// # Errors
    /// When rustls refuses the configuration, for example one without a version.
    pub fn client(
        config: Arc<ClientConfig>,
        server: ServerName<'static>,
    ) -> Result<Self, HandshakeError> {
        let name = server.to_str().into_owned();
        let may_give_keys = config.enable_secret_extraction;
        let connection =
            UnbufferedClientConnection::new(config, server).map_err(HandshakeError::config)?;
        Ok(Self::new(Connection::Client(Box::new(connection)), Some(name), may_give_keys))
    }

    fn new(connection: Connection, server_name: Option<String>, may_give_keys: bool) -> Self {
        Self {
            connection,
            incoming: Vec::new(),
            seen: 0,
            server_name,
            silent: true,
            complete: false,
            may_give_keys,
        }
    }

    /// How many bytes may be read now; never zero.
    pub fn wanted(&self, reading: Reading) -> usize {
        match (reading, front(self.incoming.get(self.seen..).unwrap_or_default())) {
            (Reading::Exact, Front::Missing(bytes)) => bytes,
            // A whole record waits for its step: nothing may be read before that.
            (Reading::Exact, Front::Whole(_) | Front::Impossible) => 1,
            (Reading::Greedy, _) => MAX_RECORD,
        }
    }

    /// Takes bytes of the peer, at most as many as were [`wanted`](Self::wanted).
    pub fn received(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// Does all that can be done with what was received, and appends to `out` what is to be sent.
    ///
    /// # Errors
    /// When the handshake has failed. What `out` then holds is still to be sent, and behind it
    /// [`HandshakeError::alert_bytes`].
    pub fn step(&mut self, out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        let before = out.len();
        let result = self.advance(out);
        self.silent &= out.len() == before;
        if self.incoming.is_empty() {
            // Between flights a waiting peer costs no buffer.
            self.incoming = Vec::new();
        }
        result
    }

    /// The name that the client asked for, or that we ask for.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The protocol agreed on by ALPN.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.connection.common().alpn_protocol()
    }

    /// The version, once it is agreed on.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.connection.common().protocol_version()
    }

    /// The cipher suite, once it is agreed on.
    pub fn suite(&self) -> Option<SupportedCipherSuite> {
        self.connection.common().negotiated_cipher_suite()
    }

    /// The group of the key exchange; none in a resumed TLS 1.2 connection.
    pub fn group(&self) -> Option<NamedGroup> {
        self.connection.common().negotiated_key_exchange_group().map(|group| group.name())
    }

    /// The peer's chain, its own certificate first; a server has one where it asked for it.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.connection.common().peer_certificates()
    }

    /// Whether an earlier session goes on.
    pub fn is_resumed(&self) -> bool {
        self.connection.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether the handshake is over.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether bytes beyond the handshake were read: they can be opened in user space only.
    pub fn has_read_ahead(&self) -> bool {
        self.complete && !self.incoming.is_empty()
    }

    /// Whether the configuration lets the kernel have the keys.
    pub(crate) fn may_give_keys(&self) -> bool {
        self.may_give_keys
    }

    /// The connection, bytes read beyond the handshake, and how many of those rustls has seen.
    pub(crate) fn into_parts(self) -> (Connection, Vec<u8>, usize) {
        (self.connection, self.incoming, self.seen)
    }

    /// Shows rustls one record after the other, and not one beyond the handshake.
    fn advance(&mut self, out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        loop {
            self.look(out)?;
            if self.is_over() {
                self.complete = true;
                return Ok(Progress::Complete);
            }
            let rest = self.incoming.get(self.seen..).unwrap_or_default();
            match front(rest) {
                Front::Whole(length) => self.seen += length,
                Front::Impossible if self.seen < self.incoming.len() => {
                    self.seen = self.incoming.len();
                }
                _ if self.incoming.len() > MAX_GATHERED => {
                    return Err(self.too_long());
                }
                _ => return Ok(Progress::NeedsBytes),
            }
        }
    }

    /// Until rustls has nothing more to do with what it has seen.
    fn look(&mut self, out: &mut Vec<u8>) -> Result<(), HandshakeError> {
        loop {
            let shown = self.incoming.get_mut(..self.seen).unwrap_or_default();
            let Look { discard, outcome } = self.connection.look(shown, &mut Plain::none(), out);
            let discard = discard.min(self.incoming.len());
            self.incoming.drain(..discard);
            self.seen = self.seen.saturating_sub(discard);
            match outcome {
                Outcome::Again => {}
                Outcome::Quiet => return Ok(()),
                Outcome::EarlyData => return Err(HandshakeError::early_data()),
                Outcome::PeerClosed => {
                    let alert = rustls::AlertDescription::CloseNotify;
                    return Err(HandshakeError::new(rustls::Error::AlertReceived(alert), vec![]));
                }
                Outcome::Failed(error) => return Err(self.failed(error, out)),
            }
        }
    }

    fn is_over(&self) -> bool {
        let common = self.connection.common();
        !common.is_handshaking() && !common.wants_write()
    }

    fn failed(&mut self, error: rustls::Error, out: &[u8]) -> HandshakeError {
        let mut alert = Vec::new();
        self.connection.drain(&mut alert);
        if self.silent && out.is_empty() {
            HandshakeError::in_clear(error, alert)
        } else {
            HandshakeError::new(error, alert)
        }
    }

    fn too_long(&self) -> HandshakeError {
        let error = rustls::InvalidMessage::HandshakePayloadTooLarge.into();
        if self.silent { HandshakeError::too_long() } else { HandshakeError::new(error, vec![]) }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("server_name", &self.server_name)
            .field("version", &self.version())
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}
