//! A client of the agent's socket, well-behaved or not.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use gateway_control::agent::{AGENT_VERSION, MAX_MESSAGE, Request, Response};
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

/// One connection.
pub struct Client(OwnedFd);

impl Client {
    /// Connects and says nothing.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        let patience = Some(Duration::from_secs(20));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, patience)?;
        Ok(Self(socket))
    }

    /// Connects, as soon as somebody listens, and says hello.
    pub fn greet(path: &Path) -> Self {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(client) = Self::connect(path)
                && let Ok(Response::Hello(_)) = client.try_ask(&hello(AGENT_VERSION))
            {
                return client;
            }
            assert!(Instant::now() < deadline, "nobody listens at {}", path.display());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        net::send(&self.0, message, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message; empty when the other side closed.
    pub fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let (length, _) = net::recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty())?;
        buffer.truncate(length);
        Ok(buffer)
    }

    pub fn try_ask(&self, request: &Request) -> io::Result<Response> {
        self.send(&serde_json::to_vec(request)?)?;
        let answer = self.receive()?;
        Ok(serde_json::from_slice(&answer)?)
    }

    pub fn ask(&self, request: &Request) -> Response {
        self.try_ask(request).expect("an answer")
    }
}

pub fn hello(version: u32) -> Request {
    Request::Hello { version, seen_generation: None }
}
