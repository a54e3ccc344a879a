//! rustls's unbuffered connection, client or server, shown a few records at a time.
//!
//! rustls answers each look at the incoming bytes with a state that must be handled before the
//! next look. That conversation is written down once, here, for both sides; what to do when it
//! falls silent is the business of the handshake and of the record loop. No bytes are kept here.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CommonState, Error};

/// One end of a connection.
pub(crate) enum Connection {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

impl Connection {
    /// Shows `incoming` to rustls once. Data that it opened is appended to `plain`, what it has to
    /// send to `out`.
    pub(crate) fn look(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Plain<'_>,
        out: &mut Vec<u8>,
    ) -> Look {
        match self {
            Self::Client(client) => handle(client.process_tls_records(incoming), plain, out),
            Self::Server(server) => handle(server.process_tls_records(incoming), plain, out),
        }
    }

    /// Writes into `outgoing`. `seen` are the bytes that rustls has been shown and still needs;
    /// what it wanted to send before goes to `out`, and so before `outgoing`.
    pub(crate) fn write(
        &mut self,
        seen: &mut [u8],
        what: Write<'_>,
        outgoing: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, WriteError> {
        // Each queued message takes two looks, and the queue is ours: it cannot be without end.
        for _ in 0..MAX_QUEUED_LOOKS {
            let written = match self {
                Self::Client(client) => {
                    write(client.process_tls_records(seen), what, outgoing, out)
                }
                Self::Server(server) => {
                    write(server.process_tls_records(seen), what, outgoing, out)
                }
            };
            if let Some(result) = written {
                return result;
            }
        }
        Err(WriteError::NotNow)
    }

    /// Moves what rustls still has to say, the alert of a failure above all, to `out`.
    ///
    /// After a failure rustls must not be shown the same bytes again: it would fail again, and its
    /// debug assertions forbid a second alert. Queued messages come before any look at the bytes.
    pub(crate) fn drain(&mut self, out: &mut Vec<u8>) {
        for _ in 0..MAX_QUEUED_LOOKS {
            if !self.common().wants_write() {
                return;
            }
            self.look(&mut [], &mut Plain::none(), out);
        }
    }

    /// What both sides know of the connection.
    pub(crate) fn common(&self) -> &CommonState {
        match self {
            Self::Client(client) => client,
            Self::Server(server) => server,
        }
    }
}

/// What came of one look.
pub(crate) struct Look {
    /// Bytes at the front of what was shown that are not needed any more.
    pub(crate) discard: usize,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    /// Something was done: look again.
    Again,
    /// Nothing more without more bytes.
    Quiet,
    /// The peer has said close_notify.
    PeerClosed,
    /// Early data, which nobody asked for.
    EarlyData,
    /// It is over.
    Failed(Error),
}

/// What may be written once the handshake is over.
#[derive(Clone, Copy)]
pub(crate) enum Write<'a> {
    Data(&'a [u8]),
    CloseNotify,
    UpdateKeys,
}

pub(crate) enum WriteError {
    /// The buffer must be of this many bytes.
    TooSmall(usize),
    /// The keys must not be used for another record.
    Exhausted,
    /// The connection is not in a state to write.
    NotNow,
    /// rustls refuses.
    Tls(Error),
}

impl From<EncryptError> for WriteError {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::TooSmall(required_size)
            }
            EncryptError::EncryptExhausted => Self::Exhausted,
        }
    }
}

/// Where opened data is gathered.
pub(crate) struct Plain<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl<'a> Plain<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// For the handshake, before whose end there is no data.
    pub(crate) fn none() -> Self {
        Self::new(&mut [])
    }

    /// Bytes gathered so far.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    fn append(&mut self, data: &[u8]) -> Result<(), Error> {
        let end = self.length + data.len();
        let room = self.buffer.get_mut(self.length..end).ok_or(Error::HandshakeNotComplete)?;
        room.copy_from_slice(data);
        self.length = end;
        Ok(())
    }
}

fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Plain<'_>,
    out: &mut Vec<u8>,
) -> Look {
    let UnbufferedStatus { mut discard, state } = status;
    let outcome = match state {
        Err(error) => Outcome::Failed(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut outcome = Outcome::Again;
            while let Some(record) = traffic.next_record() {
                let gathered = record.and_then(|record| {
                    discard += record.discard;
                    plain.append(record.payload)
                });
                if let Err(error) = gathered {
                    outcome = Outcome::Failed(error);
                    break;
                }
            }
            outcome
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(|outgoing| data.encode(outgoing), out)
                .map_or_else(Outcome::Failed, |()| Outcome::Again)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // All output goes through `out` in order, so it is as good as sent.
            data.done();
            Outcome::Again
        }
        Ok(ConnectionState::PeerClosed) => Outcome::PeerClosed,
        Ok(ConnectionState::ReadEarlyData(_)) => Outcome::EarlyData,
        Ok(
            ConnectionState::BlockedHandshake
            | ConnectionState::WriteTraffic(_)
            | ConnectionState::Closed,
        ) => Outcome::Quiet,
        Ok(_) => Outcome::Failed(Error::General("an unknown state of rustls".into())),
    };
    Look { discard, outcome }
}

/// `None`: look again.
fn write<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    what: Write<'_>,
    outgoing: &mut [u8],
    out: &mut Vec<u8>,
) -> Option<Result<usize, WriteError>> {
    match status.state {
        Err(error) => Some(Err(WriteError::Tls(error))),
        Ok(ConnectionState::WriteTraffic(traffic)) => Some(put(traffic, what, outgoing)),
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(|outgoing| data.encode(outgoing), out)
                .err()
                .map(|error| Err(WriteError::Tls(error)))
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            None
        }
        // After the peer's close_notify this is said once, and writing goes on (RFC 8446 6.1).
        Ok(ConnectionState::PeerClosed) => None,
        Ok(_) => Some(Err(WriteError::NotNow)),
    }
}

fn put<Data>(
    mut traffic: WriteTraffic<'_, Data>,
    what: Write<'_>,
    outgoing: &mut [u8],
) -> Result<usize, WriteError> {
    match what {
        Write::Data(data) => Ok(traffic.encrypt(data, outgoing)?),
        Write::CloseNotify => Ok(traffic.queue_close_notify(outgoing)?),
        Write::UpdateKeys => traffic.refresh_traffic_keys().map(|()| 0).map_err(WriteError::Tls),
    }
}

/// Appends one of rustls's messages to `out`. It tells its size only by refusing a buffer.
fn encode(
    mut message: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    let required = match message(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Err(error) => return Err(Error::General(error.to_string())),
    };
    out.resize(start + required, 0);
    match message(out.get_mut(start..).unwrap_or_default()) {
        Ok(written) => {
            out.truncate(start + written);
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(Error::General(error.to_string()))
        }
    }
}

/// Far more than one flight: a certificate chain of 64 KiB takes five.
const MAX_QUEUED_LOOKS: usize = 64;
