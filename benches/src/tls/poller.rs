//! epoll for one thread: who is ready, by token. Level-triggered, so nothing that was left unread
//! is forgotten.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The upstream's listening socket.
    Listener,
    /// A connection of the upstream.
    Upstream(u32),
    /// A connection of the client.
    Client(u32),
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// Room to write.
    Write,
}

/// An epoll set.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// An empty set.
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(READY_AT_ONCE) })
    }

    /// Adds a socket, which leaves the set when it is closed.
    pub fn add(&self, socket: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, token.pack(), interest.flags())?)
    }

    /// Takes a socket out that stays open.
    pub fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Who is ready, after at most `patience`; into `ready`, which is emptied first.
    pub fn wait(&mut self, ready: &mut Vec<Token>, patience: Duration) -> io::Result<()> {
        self.events.clear();
        ready.clear();
        let patience = Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        let events = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, events, Some(&patience)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| Token::unpack(event.data.u64())));
        Ok(())
    }
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
        }
    }
}

impl Token {
    fn pack(self) -> EventData {
        EventData::new_u64(match self {
            Self::Listener => 0,
            Self::Upstream(index) => 1 << 32 | u64::from(index),
            Self::Client(index) => 2 << 32 | u64::from(index),
        })
    }

    fn unpack(packed: u64) -> Self {
        match packed >> 32 {
            0 => Self::Listener,
            1 => Self::Upstream(packed as u32),
            _ => Self::Client(packed as u32),
        }
    }
}

const READY_AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went_in() {
        for token in [Token::Listener, Token::Upstream(7), Token::Client(u32::MAX)] {
            assert_eq!(Token::unpack(token.pack().u64()), token);
        }
    }
}
