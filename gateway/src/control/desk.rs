//! The ng desk: datagrams and TCP messages in, replies out, and in between the cookie cache that
//! answers a retransmission from what was said, or keeps it waiting for what is being found out.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ng::cookies::{Arrival, Cookies, Duplicate, Limits};
use ng::once::{Once, Say};
use ng::reply;
use ng::request::Unknown;
use ng::wire::{self, DecodeError, Dict, Encoding, Message};

use super::tcp::Connection;
use super::udp::{self, UdpEndpoint};
use crate::throttle::Throttle;

/// The ng socket, the cookies and who waits for which.
pub(super) struct Desk {
    socket: UdpEndpoint,
    cookies: Cookies,
    /// Senders of duplicates of requests in progress.
    waiting: HashMap<Bytes, Vec<Origin>>,
    once: Once,
    noise: Throttle,
}

/// The way back to whoever asked.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Udp(udp::Origin),
    Tcp(Connection),
}

impl Origin {
    /// Who asked.
    pub(super) fn client(&self) -> IpAddr {
        match self {
            Self::Udp(origin) => origin.peer().ip(),
            Self::Tcp(connection) => connection.peer.ip(),
        }
    }
}

/// A request that has a right to exactly one reply.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) origin: Origin,
    cookie: Bytes,
    encoding: Encoding,
    pub(super) arrived: Instant,
}

/// What came of a message.
pub(super) enum Received {
    /// A request to handle.
    Request(Ticket, Dict),
    /// An unreadable one, answered; it counts as an error of this client.
    Unreadable(IpAddr),
    /// Nothing more to do.
    Settled,
}

impl Desk {
    pub(super) fn new(socket: UdpEndpoint, now: Instant) -> Self {
        Self {
            socket,
            cookies: Cookies::new(Limits::default(), now),
            waiting: HashMap::new(),
            once: Once::default(),
            noise: Throttle::new(NOISE_INTERVAL),
        }
    }

    /// Waits for a datagram.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes a datagram, if there is one. An error of the socket (a client's port was closed,
    /// say) is not the end of it.
    pub(super) fn next_datagram(&mut self) -> Option<(Origin, Bytes)> {
        for _ in 0..SOCKET_ERRORS {
            match self.socket.try_receive() {
                Ok((origin, bytes)) => {
                    return Some((Origin::Udp(origin), Bytes::copy_from_slice(bytes)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => tracing::debug!(%error, "ng socket"),
            }
        }
        None
    }

    /// Decodes a message and holds it against the cookies.
    pub(super) fn receive(&mut self, origin: Origin, message: &Bytes, now: Instant) -> Received {
        let message = match Message::decode(message) {
            Ok(message) => message,
            Err(error) => return self.unreadable(origin, error, now),
        };
        let Message { cookie, encoding, dict } = message;
        match self.cookies.arrive(&cookie, now) {
            Arrival::New => {
                Received::Request(Ticket { origin, cookie, encoding, arrived: now }, dict)
            }
            Arrival::Duplicate(Duplicate::Done(reply)) => {
                self.send(&origin, &reply);
                Received::Settled
            }
            Arrival::Duplicate(Duplicate::InProgress) => {
                self.wait(cookie, origin);
                Received::Settled
            }
        }
    }

    /// Answers a request and every duplicate of it that came meanwhile.
    pub(super) fn answer(&mut self, ticket: Ticket, dict: &Dict, now: Instant) {
        let Ticket { origin, cookie, encoding, .. } = ticket;
        let mut reply = wire::encode(&cookie, encoding, dict);
        if reply.len() > LONGEST_REPLY {
            tracing::warn!(
                bytes = reply.len(),
                "ng reply exceeds a datagram; an error goes instead"
            );
            reply = wire::encode(&cookie, encoding, &reply::error("Reply too long"));
        }
        self.send(&origin, &reply);
        for duplicate in self.waiting.remove(&cookie).into_iter().flatten() {
            self.send(&duplicate, &reply);
        }
        self.cookies.finish(&cookie, reply, now);
    }

    /// Warns of what a request had that we do not use, once each.
    pub(super) fn warn_of(&mut self, unknown: &Unknown) {
        for ignored in unknown {
            match self.once.first(ignored) {
                Say::It => tracing::warn!("ng: {ignored}; ignored from now on"),
                Say::ItAndNoMore => {
                    tracing::warn!("ng: {ignored}; no further keys or flags are warned of");
                }
                Say::Nothing => {}
            }
        }
    }

    fn unreadable(&mut self, origin: Origin, error: DecodeError, now: Instant) -> Received {
        if let Some(unsaid) = self.noise.admit(now) {
            tracing::warn!(client = %origin.client(), unsaid, "ng message refused: {error}");
        }
        let client = origin.client();
        if let DecodeError::Unreadable { cookie, encoding, reason } = error {
            let reply = wire::encode(&cookie, encoding, &reply::error(reason));
            self.send(&origin, &reply);
        }
        Received::Unreadable(client)
    }

    fn wait(&mut self, cookie: Bytes, origin: Origin) {
        if self.waiting.len() >= MAX_WAITING && !self.waiting.contains_key(&cookie) {
            return;
        }
        let waiting = self.waiting.entry(cookie).or_default();
        if waiting.len() < MAX_DUPLICATES {
            waiting.push(origin);
        }
    }

    fn send(&mut self, origin: &Origin, reply: &Bytes) {
        match origin {
            Origin::Udp(origin) => {
                if let Err(error) = self.socket.reply(*origin, reply) {
                    let peer: SocketAddr = origin.peer();
                    tracing::debug!(%peer, %error, "ng reply not sent");
                }
            }
            Origin::Tcp(connection) => connection.reply(reply.clone()),
        }
    }
}

/// The longest UDP payload over IPv4.
const LONGEST_REPLY: usize = 65_507;

/// Errors that a socket may have queued before we give the others their turn.
const SOCKET_ERRORS: usize = 8;

/// A controller retransmits five times at most; each may come from another socket.
const MAX_DUPLICATES: usize = 8;

/// Requests in progress that duplicates may wait for.
const MAX_WAITING: usize = 4096;

/// Refused messages are logged no more often.
const NOISE_INTERVAL: Duration = Duration::from_secs(10);
