//! The plain TCP service behind a terminator: echoes, swallows or pours out bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};

use anyhow::{Context, Result};
use slab::Slab;
use socket2::{Domain, Socket, Type};

use super::poller::{Interest, Poller, Token};

/// A listening socket and the connections that came of it.
pub struct Upstream {
    listener: TcpListener,
    connections: Slab<TcpStream>,
}

impl Upstream {
    /// Listens on a free port of loopback.
    pub fn listen(poller: &Poller) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        poller.add(&listener, Token::Listener, Interest::Read)?;
        Ok(Self { listener, connections: Slab::new() })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.connections.len()
    }

    /// Takes every connection that waits, each to be watched for `interest`.
    pub fn accept(&mut self, poller: &Poller, interest: Interest) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let entry = self.connections.vacant_entry();
                    poller.add(&stream, Token::Upstream(entry.key() as u32), interest)?;
                    entry.insert(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accepting from the terminator"),
            }
        }
    }

    /// The connection of a token that [`Poller::wait`] gave.
    pub fn connection(&mut self, index: u32) -> Option<&mut TcpStream> {
        self.connections.get_mut(index as usize)
    }

    /// Every connection, to be served elsewhere.
    pub fn take(&mut self) -> impl Iterator<Item = TcpStream> {
        std::mem::take(&mut self.connections).into_iter().map(|(_, stream)| stream)
    }

    /// Closes a connection.
    pub fn close(&mut self, index: u32) {
        self.connections.try_remove(index as usize);
    }

    /// Sends what came back whence it came. At its end the connection is closed. Meant for
    /// messages: what an empty socket buffer cannot take is a fault.
    pub fn echo(&mut self, index: u32, scratch: &mut [u8]) -> Result<()> {
        let Some(stream) = self.connection(index) else { return Ok(()) };
        match stream.read(scratch) {
            Ok(0) => self.close(index),
            Ok(length) => stream.write_all(&scratch[..length]).context("echoing")?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The terminator was stopped, or gave up on its client.
            Err(_) => self.close(index),
        }
        Ok(())
    }
}

const BACKLOG: i32 = 4096;
