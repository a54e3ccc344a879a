//! The hand-over: the one place where traffic secrets leave rustls.
//!
//! rustls 0.23 gives them out for good: the connection is consumed, and what remains of it can
//! only derive the next keys and keep session tickets. So everything that could refuse the keys is
//! asked before, and a failure afterwards ends the connection. rustls 0.24 moves this entry
//! elsewhere; nothing outside this file knows where it is.

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, Error, ExtractedSecrets};

use crate::connection::Connection;

/// What remains of rustls's connection when its records are the kernel's.
pub(crate) enum KeySchedule {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

impl KeySchedule {
    /// The next keys for what we send; their sequence begins at nought.
    pub(crate) fn next_tx(&mut self) -> Result<ConnectionTrafficSecrets, Error> {
        match self {
            Self::Client(client) => client.update_tx_secret(),
            Self::Server(server) => server.update_tx_secret(),
        }
        .map(|(_sequence, secrets)| secrets)
    }

    /// The next keys for what the peer sends; their sequence begins at nought.
    pub(crate) fn next_rx(&mut self) -> Result<ConnectionTrafficSecrets, Error> {
        match self {
            Self::Client(client) => client.update_rx_secret(),
            Self::Server(server) => server.update_rx_secret(),
        }
        .map(|(_sequence, secrets)| secrets)
    }

    /// Keeps a session ticket: the body of a NewSessionTicket message, without its header.
    ///
    /// # Errors
    /// On a server, which receives none, and where the body is malformed.
    pub(crate) fn keep_ticket(&mut self, body: &[u8]) -> Result<(), Error> {
        match self {
            Self::Client(client) => client.handle_new_session_ticket(body),
            Self::Server(_) => Err(Error::General("a session ticket from a client".into())),
        }
    }
}

/// Takes the traffic secrets out of a finished handshake.
///
/// # Errors
/// When the configuration does not have `enable_secret_extraction`, or the handshake is not over.
pub(crate) fn extract(connection: Connection) -> Result<(ExtractedSecrets, KeySchedule), Error> {
    match connection {
        Connection::Client(client) => client
            .dangerous_into_kernel_connection()
            .map(|(secrets, rest)| (secrets, KeySchedule::Client(rest))),
        Connection::Server(server) => server
            .dangerous_into_kernel_connection()
            .map(|(secrets, rest)| (secrets, KeySchedule::Server(rest))),
    }
}
