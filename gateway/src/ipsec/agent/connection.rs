//! One connection to the offload agent: JSON documents, one a packet, on a Unix SEQPACKET socket.
//!
//! Messages carry keys, so that the buffers here are wiped when they go.

use std::io::{self, Read, Write};
use std::path::Path;

use gateway_control::agent::{AGENT_VERSION, AgentHello, MAX_MESSAGE, Request, Response};
use serde::{Serialize, de::DeserializeOwned};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;
use zeroize::Zeroizing;

use crate::sys;

/// A document as it goes over the socket.
pub(super) struct Message(Zeroizing<Vec<u8>>);

impl Message {
    /// # Errors
    /// When it is larger than the agent takes.
    pub(super) fn new(content: &impl Serialize) -> io::Result<Self> {
        // One size for all, so that no key is left behind in a buffer that grew.
        let mut bytes = Zeroizing::new(Vec::with_capacity(USUAL_MESSAGE));
        serde_json::to_writer(&mut *bytes, content)?;
        if bytes.len() > MAX_MESSAGE {
            return Err(io::Error::other(format!("a message of {} bytes", bytes.len())));
        }
        Ok(Self(bytes))
    }
}

/// A connected socket.
pub(super) struct Connection(AsyncFd<Socket>);

/// Room for one message.
pub(super) struct Buffer(Zeroizing<Vec<u8>>);

impl Buffer {
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(vec![0; MAX_MESSAGE]))
    }
}

impl Connection {
    /// Connects, which with a Unix socket is done at once or not at all.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET.nonblocking().cloexec(), None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Self::of(socket)
    }

    /// On a socket that is connected and does not block.
    pub(super) fn of(socket: Socket) -> io::Result<Self> {
        Ok(Self(sys::watch(socket)?))
    }

    /// Sends one message, whole. Cancelled, it has sent nothing.
    pub(super) async fn send(&self, message: &Message) -> io::Result<()> {
        loop {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|socket| socket.get_ref().write(&message.0)) {
                Ok(sent) => return sent.map(drop),
                Err(_would_block) => {}
            }
        }
    }

    /// The next message. Cancelled, it has taken none.
    pub(super) async fn receive<T: DeserializeOwned>(&self, buffer: &mut Buffer) -> io::Result<T> {
        let length = loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|socket| socket.get_ref().read(&mut buffer.0)) {
                Ok(length) => break length?,
                Err(_would_block) => {}
            }
        };
        if length == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
        }
        serde_json::from_slice(&buffer.0[..length])
            .map_err(|error| io::Error::other(format!("it answered nonsense: {error}")))
    }

    /// One request and its answer, where nothing else is on its way.
    pub(super) async fn exchange(
        &self,
        request: &Request,
        buffer: &mut Buffer,
    ) -> io::Result<Response> {
        self.send(&Message::new(request)?).await?;
        self.receive(buffer).await
    }

    /// The first exchange of a connection.
    pub(super) async fn greet(
        &self,
        seen_generation: Option<u64>,
        buffer: &mut Buffer,
    ) -> io::Result<AgentHello> {
        let request = Request::Hello { version: AGENT_VERSION, seen_generation };
        match self.exchange(&request, buffer).await? {
            Response::Hello(hello) if hello.version == AGENT_VERSION => Ok(hello),
            Response::Hello(hello) => Err(io::Error::other(format!(
                "it speaks version {} and we {AGENT_VERSION}: run both of one release",
                hello.version
            ))),
            Response::Refused(error) => Err(io::Error::other(error)),
            _ => Err(io::Error::other("it answers a hello with something else")),
        }
    }
}

/// More than any request but those with a long list, and there are none.
const USUAL_MESSAGE: usize = 4096;
