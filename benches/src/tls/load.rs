//! The load's one thread: its poller, the upstream, the buffers, and how connections get made.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::peer::{Peer, RECORD, Received, Speech};
use super::poller::{Interest, Poller, Token};
use super::upstream::Upstream;

/// What every connection says once, and has echoed.
pub const GREETING: &[u8] = b"OPTIONS sip:edge@example.com SIP/2.0\r\n\r\n";

/// One thread's sockets and buffers.
pub struct Load {
    /// Who is ready.
    pub poller: Poller,
    /// What stands behind the terminator.
    pub upstream: Upstream,
    /// Shared by all connections.
    pub buffers: Buffers,
    ready: Vec<Token>,
}

/// Room for what one look at a socket brings.
pub struct Buffers {
    /// As it came.
    pub wire: Vec<u8>,
    /// Opened.
    pub plain: Vec<u8>,
}

impl Load {
    /// An upstream without connections.
    pub fn new() -> Result<Self> {
        let poller = Poller::new()?;
        let upstream = Upstream::listen(&poller)?;
        let buffers = Buffers { wire: vec![0; BUFFER], plain: vec![0; BUFFER + RECORD] };
        Ok(Self { poller, upstream, buffers, ready: Vec::new() })
    }

    /// Waits for at most `patience` and serves what is ready: the upstream echoes, the client's
    /// connections are `client`'s. Says how many sockets were ready.
    pub fn turn(
        &mut self,
        patience: Duration,
        mut client: impl FnMut(u32, &Poller, &mut Buffers) -> Result<()>,
    ) -> Result<usize> {
        let Self { poller, upstream, ready, buffers } = self;
        poller.wait(ready, patience)?;
        for token in ready.iter() {
            match *token {
                Token::Listener => upstream.accept(poller, Interest::Read)?,
                Token::Upstream(index) => upstream.echo(index, &mut buffers.plain)?,
                Token::Client(index) => client(index, poller, buffers)?,
            }
        }
        Ok(ready.len())
    }

    /// Makes `count` connections to `address`, some at a time, and has each greeting echoed.
    pub fn establish(
        &mut self,
        address: SocketAddr,
        speech: &Speech,
        count: usize,
    ) -> Result<Vec<Peer>> {
        let mut conversations: Vec<Conversation> = Vec::with_capacity(count);
        let mut answered = 0;
        while answered < count {
            while conversations.len() < count && conversations.len() - answered < IN_FLIGHT {
                let conversation = Conversation::begin(address, speech)?;
                conversation.watch(&self.poller, conversations.len())?;
                conversations.push(conversation);
            }
            let ready = self.turn(PATIENCE, |index, _, buffers| {
                match conversations[index as usize].advance(buffers)? {
                    Progress::Answered => answered += 1,
                    Progress::Over => bail!("a connection ended while others were made"),
                    Progress::Waiting => {}
                }
                Ok(())
            })?;
            ensure!(
                ready > 0,
                "no answer for {PATIENCE:?}, {answered} of {count} connections made"
            );
        }
        Ok(conversations.into_iter().map(|conversation| conversation.peer).collect())
    }
}

/// A connection up to the echo of its greeting, and then to its end.
pub struct Conversation {
    peer: Peer,
    greeted: bool,
    heard: usize,
}

/// Where a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// On its way.
    Waiting,
    /// The greeting came back; told once.
    Answered,
    /// The other side has ended.
    Over,
}

impl Conversation {
    /// Connects.
    pub fn begin(address: SocketAddr, speech: &Speech) -> Result<Self> {
        let mut conversation =
            Self { peer: Peer::connect(address, speech)?, greeted: false, heard: 0 };
        conversation.greet()?;
        Ok(conversation)
    }

    /// Has it watched as client number `index`.
    pub fn watch(&self, poller: &Poller, index: usize) -> Result<()> {
        Ok(poller.add(self.peer.socket(), Token::Client(index as u32), Interest::Read)?)
    }

    /// Takes what is there.
    pub fn advance(&mut self, buffers: &mut Buffers) -> Result<Progress> {
        let length = match self.peer.receive(&mut buffers.wire, &mut buffers.plain)? {
            Received::End => return Ok(Progress::Over),
            Received::Bytes(length) => length,
        };
        self.greet()?;
        if length == 0 {
            return Ok(Progress::Waiting);
        }
        let rest = GREETING.get(self.heard..).context("more was echoed than was said")?;
        ensure!(rest.starts_with(&buffers.plain[..length]), "the echo differs");
        self.heard += length;
        Ok(if self.heard == GREETING.len() { Progress::Answered } else { Progress::Waiting })
    }

    /// Whether a ticket was taken.
    pub fn is_resumed(&self) -> bool {
        self.peer.is_resumed()
    }

    /// Whether the greeting has come back.
    pub fn is_answered(&self) -> bool {
        self.heard == GREETING.len()
    }

    /// Ends our direction.
    pub fn end(&mut self) -> Result<()> {
        self.peer.end()
    }

    /// As soon as it may: with TLS in the packet that ends the handshake.
    fn greet(&mut self) -> Result<()> {
        if !self.greeted && self.peer.is_ready() {
            self.greeted = true;
            self.peer.queue(GREETING)?;
            self.peer.flush()?;
        }
        Ok(())
    }
}

/// Connections being made at a time.
pub const IN_FLIGHT: usize = 64;
/// How long nothing at all may happen.
pub const PATIENCE: Duration = Duration::from_secs(5);
const BUFFER: usize = 64 << 10;
