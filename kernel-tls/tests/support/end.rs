//! One end of a connection: its handshake, then its records.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use kernel_tls::{
    Handshake, HandshakeError, HelloReader, KernelUse, Policy, Progress, Reading, Received,
    Scratch, Stream, Support,
};
use rustix::net::{RecvFlags, SendFlags};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::pki::NAME;

/// An end whose handshake is under way.
pub struct End {
    pub socket: OwnedFd,
    phase: Phase,
    reading: Reading,
    unsent: Vec<u8>,
}

enum Phase {
    Gathering(Box<HelloReader>, Arc<ServerConfig>),
    Shaking(Box<Handshake>),
}

impl End {
    pub fn server(socket: OwnedFd, config: Arc<ServerConfig>, reading: Reading) -> Self {
        let phase = Phase::Gathering(Box::default(), config);
        Self { socket, phase, reading, unsent: Vec::new() }
    }

    pub fn client(socket: OwnedFd, config: Arc<ClientConfig>, reading: Reading) -> Self {
        let name = ServerName::try_from(NAME).expect("a name");
        let handshake = Handshake::client(config, name).expect("a client");
        Self { socket, phase: Phase::Shaking(Box::new(handshake)), reading, unsent: Vec::new() }
    }

    /// Goes as far as the socket lets it; true when the handshake is over and all of it is sent.
    pub fn advance(&mut self) -> Result<bool, HandshakeError> {
        loop {
            let complete = match &mut self.phase {
                Phase::Shaking(handshake) => {
                    handshake.step(&mut self.unsent)? == Progress::Complete
                }
                Phase::Gathering(..) => false,
            };
            self.send();
            if complete {
                return Ok(self.unsent.is_empty());
            }
            let wanted = match &self.phase {
                Phase::Gathering(reader, _) => reader.wanted(),
                Phase::Shaking(handshake) => handshake.wanted(self.reading),
            };
            let mut buffer = vec![0; wanted];
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((read @ 1.., _)) => self.receive(&buffer[..read])?,
                _ => return Ok(false),
            }
        }
    }

    /// What is held for this connection before it is established.
    pub fn handshake(self) -> (OwnedFd, Handshake) {
        match self.phase {
            Phase::Shaking(handshake) => {
                let exact = self.reading == Reading::Exact;
                assert!(!exact || !handshake.has_read_ahead(), "it read no byte of the data");
                (self.socket, *handshake)
            }
            Phase::Gathering(..) => panic!("no handshake has begun"),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        match &mut self.phase {
            Phase::Gathering(reader, config) => {
                if let Some(hello) = reader.received(bytes)? {
                    let handshake = Handshake::server(Arc::clone(config), hello)?;
                    self.phase = Phase::Shaking(Box::new(handshake));
                }
            }
            Phase::Shaking(handshake) => handshake.received(bytes),
        }
        Ok(())
    }

    fn send(&mut self) {
        while !self.unsent.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, &self.unsent, flags) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(_) => return,
            }
        }
    }
}

/// An end that is established.
pub struct Talk {
    pub stream: Stream,
    pub socket: OwnedFd,
    pub scratch: Scratch,
    pub resumed: bool,
}

impl Talk {
    pub fn new(end: End, support: &Support, policy: &Policy) -> Self {
        let (socket, handshake) = end.handshake();
        let resumed = handshake.is_resumed();
        let stream = Stream::establish(handshake, &socket, support, policy);
        Self { stream: stream.expect("a stream"), socket, scratch: Scratch::new(), resumed }
    }

    pub fn read(&mut self) -> io::Result<Received<'_>> {
        self.stream.read(&self.socket, &mut self.scratch)
    }

    /// All the data that is there.
    pub fn read_all(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            match self.read() {
                Ok(Received::Data(data)) => all.extend_from_slice(data),
                Ok(Received::Nothing) => {}
                Ok(_) => return Ok(all),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(all),
                Err(error) => return Err(error),
            }
        }
    }

    pub fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.stream.write(&self.socket, data, &mut self.scratch)
    }
}

/// The records stay in user space.
pub fn in_user_space() -> Policy {
    Policy { kernel: KernelUse::Off, ..Policy::default() }
}

/// Two sockets that are connected to each other.
pub fn socket_pair() -> (OwnedFd, OwnedFd) {
    let (left, right) = UnixStream::pair().expect("a socket pair");
    (left.into(), right.into())
}

/// Both ends of a finished handshake: server, client.
pub fn connect(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    reading: Reading,
    policy: &Policy,
) -> (Talk, Talk) {
    let (left, right) = socket_pair();
    let mut server = End::server(left, Arc::clone(server), reading);
    let mut client = End::client(right, Arc::clone(client), reading);
    let (mut served, mut asked) = (false, false);
    for _ in 0..100 {
        served = served || server.advance().expect("the server's side");
        asked = asked || client.advance().expect("the client's side");
    }
    assert!(served && asked, "both handshakes are over");
    let support = Support::absent("a test");
    (Talk::new(server, &support, policy), Talk::new(client, &support, policy))
}
