//! Netlink sockets: one that asks and waits for the answer, one that listens.
//!
//! The kernel answers a request before sending it returns, so that waiting is short; the timeout
//! is for a kernel in trouble.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    sys,
    wire::{
        netlink::{Message, Refusal, messages},
        request::Request,
    },
};

/// Which of the kernel's netlink families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Route,
    Xfrm,
}

/// A socket for requests.
#[derive(Debug)]
pub(crate) struct Requester {
    socket: Socket,
    port: u32,
    sequence: u32,
    /// Answers have keys in them: it is wiped after each datagram.
    buffer: Zeroizing<Vec<u8>>,
}

impl Requester {
    pub(crate) fn open(family: Family) -> io::Result<Self> {
        let socket = open(family)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        sys::bind_netlink(socket.as_fd(), 0)?;
        // The kernel's own words, and our requests, which hold keys, not repeated to us.
        sys::set_option(socket.as_fd(), libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1)?;
        sys::set_option(socket.as_fd(), libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)?;
        let port = sys::netlink_port(socket.as_fd())?;
        Ok(Self { socket, port, sequence: 0, buffer: buffer() })
    }

    /// What the kernel's reports of our requests carry.
    pub(crate) const fn port(&self) -> u32 {
        self.port
    }

    /// Sends a request that wants no more than a yes.
    pub(crate) fn tell(&mut self, request: Request) -> Result<(), Refusal> {
        self.exchange(request, |_| ()).map(drop)
    }

    /// Sends a request and reads the one thing that it asks for.
    pub(crate) fn ask<T>(
        &mut self,
        request: Request,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, Refusal> {
        let mut found = None;
        self.exchange(request, |message| found = decode(message.payload))?;
        found.ok_or_else(|| Refusal {
            errno: libc::EPROTO,
            message: Some("an answer that is none".to_owned()),
        })
    }

    /// Reads all there is, anew when it changed meanwhile.
    pub(crate) fn dump<T>(
        &mut self,
        request: impl Fn() -> Request,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            let whole =
                self.exchange(request(), |message| found.extend(decode(message.payload)))?;
            if whole == Dump::Whole {
                return Ok(found);
            }
        }
        Err(Refusal {
            errno: libc::EAGAIN,
            message: Some("the table changes faster than it can be read".to_owned()),
        })
    }

    /// Sends, and hands every message of the answer to `each`, up to its end.
    fn exchange(
        &mut self,
        request: Request,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<Dump, Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence, self.port);
        (&self.socket).write_all(&bytes).map_err(|error| Refusal::of_call(&error))?;
        let mut dump = Dump::Whole;
        loop {
            let length = self.receive()?;
            let mut end = None;
            // An older number is the rest of an answer for which we did not wait.
            let ours = |message: &Message<'_>| message.sequence == self.sequence;
            for message in messages(&self.buffer[..length]).filter(ours) {
                if message.is_interrupted() {
                    dump = Dump::Interrupted;
                }
                if message.is_last() {
                    end = Some(message.outcome());
                    break;
                }
                each(message);
            }
            self.buffer[..length].zeroize();
            if let Some(outcome) = end {
                return outcome.map(|()| dump);
            }
        }
    }

    fn receive(&mut self) -> Result<usize, Refusal> {
        loop {
            match (&self.socket).read(&mut self.buffer) {
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let message = Some(format!("no answer within {PATIENCE:?}"));
                    return Err(Refusal { errno: libc::ETIMEDOUT, message });
                }
                Err(error) => return Err(Refusal::of_call(&error)),
            }
        }
    }
}

/// A socket that hears what happens.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    buffer: Zeroizing<Vec<u8>>,
}

/// What listening came to.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Every message of a datagram was handed over.
    Messages,
    /// There was more than the socket could hold: some is lost.
    Overrun,
    /// No more for now.
    Nothing,
}

impl Listener {
    /// Takes part in `groups`, a bit each.
    pub(crate) fn open(family: Family, groups: u32) -> io::Result<Self> {
        let socket = open(family)?;
        socket.set_nonblocking(true)?;
        // Rotating 1,000 SAs tells of some thousands of SAs at once. More than the system's limit
        // is cut to it, unless we may override that; overrunning is told either way.
        socket.set_recv_buffer_size(LISTENING_BYTES)?;
        let force = LISTENING_BYTES as i32;
        let _ = sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, force);
        sys::bind_netlink(socket.as_fd(), groups)?;
        Ok(Self { socket, buffer: buffer() })
    }

    /// Hands one datagram's messages to `each`. Does not wait.
    pub(crate) fn hear(&mut self, each: impl FnMut(Message<'_>)) -> io::Result<Heard> {
        let length = loop {
            match (&self.socket).read(&mut self.buffer) {
                Ok(length) => break length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Heard::Nothing);
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Heard::Overrun);
                }
                Err(error) => return Err(error),
            }
        };
        messages(&self.buffer[..length]).for_each(each);
        self.buffer[..length].zeroize();
        Ok(Heard::Messages)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a dump shows one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dump {
    Whole,
    Interrupted,
}

fn open(family: Family) -> io::Result<Socket> {
    let protocol = match family {
        Family::Route => libc::NETLINK_ROUTE,
        Family::Xfrm => libc::NETLINK_XFRM,
    };
    let kind = Type::RAW.cloexec();
    Socket::new(Domain::from(libc::AF_NETLINK), kind, Some(Protocol::from(protocol)))
}

fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(vec![0; DATAGRAM_LEN])
}

/// The kernel fills datagrams of a dump up to 32 KiB, however large our buffer.
const DATAGRAM_LEN: usize = 64 * 1024;
const LISTENING_BYTES: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
const DUMP_ATTEMPTS: usize = 8;
