//! One connection of the load: TLS, or plain TCP for the path without a terminator.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::identity::NAME;

/// How a connection speaks.
#[derive(Clone)]
pub enum Speech {
    /// TCP.
    Plain,
    /// TLS over TCP.
    Tls(Arc<ClientConfig>),
}

/// A connection; its socket does not block.
pub struct Peer {
    stream: TcpStream,
    tls: Option<ClientConnection>,
}

/// What one look at the socket brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes of plaintext, perhaps none.
    Bytes(usize),
    /// The other side has ended.
    End,
}

impl Peer {
    /// Connects and says hello.
    pub fn connect(address: SocketAddr, speech: &Speech) -> Result<Self> {
        // Blocks for as long as the three packets take: on loopback they are done when it returns.
        let stream = TcpStream::connect(address).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let tls = match speech {
            Speech::Plain => None,
            Speech::Tls(config) => {
                let name = ServerName::try_from(NAME)?;
                let mut tls = ClientConnection::new(Arc::clone(config), name)?;
                tls.set_buffer_limit(None);
                Some(tls)
            }
        };
        let mut peer = Self { stream, tls };
        peer.flush()?;
        Ok(peer)
    }

    /// A connection that was accepted, without TLS.
    pub fn plain(stream: TcpStream) -> Self {
        Self { stream, tls: None }
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether plaintext may go out.
    pub fn is_ready(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    /// Whether the handshake used a ticket.
    pub fn is_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|tls| tls.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }

    /// Queues plaintext, to go out with whatever else waits at the next [`Self::flush`].
    pub fn queue(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes).context("sealing"),
            None => self.stream.write_all(bytes).context("sending"),
        }
    }

    /// Sends what is queued; `false` where the socket has no room for all of it.
    pub fn flush(&mut self) -> Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("sending"),
            }
        }
        Ok(true)
    }

    /// Sends as much as there is room for; says how much was taken.
    pub fn pour(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.tls.is_some() {
            if !self.flush()? {
                return Ok(0);
            }
            self.queue(bytes)?;
            self.flush()?;
            return Ok(bytes.len());
        }
        match self.stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            written => written.context("sending"),
        }
    }

    /// Ends our direction: close_notify, then FIN.
    pub fn end(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        ensure!(self.flush()?, "there is no room for close_notify");
        self.stream.shutdown(std::net::Shutdown::Write).context("ending")
    }

    /// Looks at the socket once. What comes in passes through `wire`; plaintext goes to the
    /// front of `into`, which must hold [`RECORD`] more than `wire`. Answers of TLS itself are sent.
    pub fn receive(&mut self, wire: &mut [u8], into: &mut [u8]) -> Result<Received> {
        let Some(tls) = &mut self.tls else { return receive_plain(&mut self.stream, into) };
        let length = match self.stream.read(wire) {
            Ok(0) => return Ok(Received::End),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Bytes(0)),
            Err(error) => return Err(error).context("receiving"),
        };
        let (mut rest, mut plain) = (&wire[..length], 0);
        while !rest.is_empty() {
            tls.read_tls(&mut rest)?;
            let state = tls.process_new_packets().context("the terminator's TLS is wrong")?;
            let available = state.plaintext_bytes_to_read();
            tls.reader().read_exact(&mut into[plain..plain + available])?;
            plain += available;
        }
        // After the handshake the caller has something to add to our last flight.
        if tls.is_handshaking() {
            self.flush()?;
        }
        Ok(Received::Bytes(plain))
    }
}

/// The most plaintext of one record (RFC 8446, section 5.1): the rest of one may be what comes.
pub const RECORD: usize = 1 << 14;

fn receive_plain(stream: &mut TcpStream, into: &mut [u8]) -> Result<Received> {
    match stream.read(into) {
        Ok(0) => Ok(Received::End),
        Ok(length) => Ok(Received::Bytes(length)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Bytes(0)),
        Err(error) => Err(error).context("receiving"),
    }
}
