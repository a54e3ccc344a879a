//! CPU per proxied gigabyte: four connections, TLS 1.3, one direction at a time.
//!
//! Up, the clients seal and the upstream swallows; down, the upstream pours and the clients
//! swallow. Before a direction is timed, the same connections' first megabytes are opened and
//! compared byte by byte; afterwards what is swallowed is counted and thrown away unread
//! (`MSG_TRUNC`), so that the load stays ahead of the terminator.

use std::fmt;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{RecvFlags, recv};
use serde::Serialize;

use crate::accounting::{cpu_ns, own_cpu};
use crate::tls::client::{Suite, Tickets, configuration};
use crate::tls::load::{Load, PATIENCE};
use crate::tls::peer::{Peer, RECORD, Received, Speech};
use crate::tls::poller::{Interest, Poller, Token};
use crate::tls::terminator::Process;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// From the clients: the terminator opens.
    Up,
    /// To the clients: the terminator seals.
    Down,
}

/// A cipher and a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Case {
    pub(super) suite: Suite,
    pub(super) way: Way,
}

impl Case {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let ways = |suite| [Way::Up, Way::Down].map(|way| Self { suite, way });
        Suite::ALL.into_iter().flat_map(ways)
    }

    pub(super) fn name(self) -> String {
        let way = match self.way {
            Way::Up => "opened",
            Way::Down => "sealed",
        };
        format!("{} {way}", self.suite.name())
    }
}

/// What a run showed.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    #[serde(flatten)]
    pub(super) case: Case,
    bytes: u64,
    /// Of the terminator, for 10^9 bytes of plaintext.
    pub(super) cpu_seconds_per_gb: f64,
    gigabits_per_second: f64,
    core_use: f64,
    load_core_use: f64,
}

/// Four connections up or down for `run`.
pub(super) fn measure(
    mut load: Load,
    process: &Process,
    case: Case,
    run: Duration,
) -> Result<Figures> {
    let speech = Speech::Tls(configuration(case.suite, &Tickets::counted())?);
    let peers = load.establish(process.address(), &speech, CONNECTIONS)?;
    let mut flow = Flow::new(load, peers, case.way)?;
    flow.carry(Amount::EachOf(COMPARED), Reading::Compared)?;
    let before = (cpu_ns(process.pid())?, own_cpu()?);
    let start = Instant::now();
    let bytes = flow.carry(Amount::Until(start + run), Reading::Counted)?;
    let elapsed = start.elapsed().as_secs_f64();
    let spent = (cpu_ns(process.pid())? - before.0) as f64 / 1e9;
    let own = (own_cpu()? - before.1).as_secs_f64();
    Ok(Figures {
        case,
        bytes,
        cpu_seconds_per_gb: spent / (bytes as f64 / 1e9),
        gigabits_per_second: bytes as f64 * 8.0 / 1e9 / elapsed,
        core_use: spent / elapsed,
        load_core_use: own / elapsed,
    })
}

/// Connections that bytes go through one way.
struct Flow {
    poller: Poller,
    way: Way,
    pouring: Vec<End>,
    swallowing: Vec<End>,
    pattern: Vec<u8>,
    wire: Vec<u8>,
    plain: Vec<u8>,
}

/// One end of a connection, and how much went through it.
struct End {
    peer: Peer,
    bytes: u64,
    /// Whether there is more to come.
    open: bool,
}

/// How much to pour.
#[derive(Clone, Copy)]
enum Amount {
    /// On each connection, which then stays open.
    EachOf(u64),
    /// Until then; after which the connections end.
    Until(Instant),
}

/// What the swallowing end does with bytes.
#[derive(Clone, Copy)]
enum Reading {
    Compared,
    Counted,
}

impl Flow {
    fn new(mut load: Load, peers: Vec<Peer>, way: Way) -> Result<Self> {
        let clients: Vec<End> = peers.into_iter().map(End::of).collect();
        let upstreams = load.upstream.take().map(|stream| End::of(Peer::plain(stream))).collect();
        let poller = Poller::new()?;
        let (pouring, swallowing): (Vec<End>, Vec<End>) = match way {
            Way::Up => (clients, upstreams),
            Way::Down => (upstreams, clients),
        };
        ensure!(pouring.len() == swallowing.len(), "a connection is missing");
        let pattern = (0..CHUNK + PERIOD).map(|place| (place % PERIOD) as u8).collect();
        let flow = Self {
            poller,
            way,
            pouring,
            swallowing,
            pattern,
            wire: vec![0; SWALLOWED],
            plain: vec![0; SWALLOWED + RECORD],
        };
        for index in 0..flow.swallowing.len() {
            let socket = flow.swallowing[index].peer.socket();
            flow.poller.add(socket, flow.token(Interest::Read, index), Interest::Read)?;
        }
        Ok(flow)
    }

    fn token(&self, interest: Interest, index: usize) -> Token {
        match (self.way, interest) {
            (Way::Up, Interest::Write) | (Way::Down, Interest::Read) => Token::Client(index as u32),
            (Way::Up, Interest::Read) | (Way::Down, Interest::Write) => {
                Token::Upstream(index as u32)
            }
        }
    }

    /// Pours, and swallows until everything has come. Says how much was poured meanwhile.
    fn carry(&mut self, amount: Amount, reading: Reading) -> Result<u64> {
        for index in 0..self.pouring.len() {
            let socket = self.pouring[index].peer.socket();
            self.poller.add(socket, self.token(Interest::Write, index), Interest::Write)?;
            self.pouring[index].open = true;
        }
        let before = total(&self.pouring);
        let mut ready = Vec::new();
        while !self.is_carried(amount) {
            self.poller.wait(&mut ready, PATIENCE)?;
            ensure!(!ready.is_empty(), "nothing moved for {PATIENCE:?}");
            for token in &ready {
                match (self.way, *token) {
                    (Way::Up, Token::Client(index)) | (Way::Down, Token::Upstream(index)) => {
                        self.pour(index as usize, amount)?;
                    }
                    (Way::Up, Token::Upstream(index)) | (Way::Down, Token::Client(index)) => {
                        self.swallow(index as usize, reading)?;
                    }
                    (_, Token::Listener) => bail!("nobody listens here"),
                }
            }
        }
        let (poured, swallowed) = (total(&self.pouring), total(&self.swallowing));
        // Sealed bytes that were counted unread are a little more.
        ensure!(swallowed >= poured, "{swallowed} of {poured} bytes came out");
        Ok(poured - before)
    }

    fn is_carried(&self, amount: Amount) -> bool {
        let poured = self.pouring.iter().all(|end| !end.open);
        poured
            && match amount {
                Amount::EachOf(_) => total(&self.swallowing) == total(&self.pouring),
                Amount::Until(_) => self.swallowing.iter().all(|end| !end.open),
            }
    }

    fn pour(&mut self, index: usize, amount: Amount) -> Result<()> {
        let end = &mut self.pouring[index];
        let (done, limit) = match amount {
            Amount::EachOf(bytes) => (end.bytes >= bytes, bytes.saturating_sub(end.bytes)),
            Amount::Until(deadline) => (Instant::now() >= deadline, u64::MAX),
        };
        if done {
            if !end.peer.flush()? {
                return Ok(());
            }
            self.poller.remove(end.peer.socket())?;
            end.open = false;
            if let Amount::Until(_) = amount {
                end.peer.end()?;
            }
            return Ok(());
        }
        let from = (end.bytes % PERIOD as u64) as usize;
        let length = CHUNK.min(usize::try_from(limit).unwrap_or(CHUNK));
        end.bytes += end.peer.pour(&self.pattern[from..from + length])? as u64;
        Ok(())
    }

    fn swallow(&mut self, index: usize, reading: Reading) -> Result<()> {
        let end = &mut self.swallowing[index];
        let received = match reading {
            Reading::Compared => end.peer.receive(&mut self.wire, &mut self.plain)?,
            Reading::Counted => discard(end.peer.socket(), &mut self.wire)?,
        };
        let length = match received {
            Received::Bytes(length) => length,
            Received::End => {
                end.open = false;
                self.poller.remove(end.peer.socket())?;
                return Ok(());
            }
        };
        if let Reading::Compared = reading {
            let from = (end.bytes % PERIOD as u64) as usize;
            let right = (0..length).all(|at| self.plain[at] == ((from + at) % PERIOD) as u8);
            ensure!(right, "what came out differs from what went in");
        }
        end.bytes += length as u64;
        Ok(())
    }
}

impl End {
    fn of(peer: Peer) -> Self {
        Self { peer, bytes: 0, open: true }
    }
}

fn total(ends: &[End]) -> u64 {
    ends.iter().map(|end| end.bytes).sum()
}

/// Reads without copying: tcp(7), `MSG_TRUNC`.
fn discard(stream: &TcpStream, buffer: &mut [u8]) -> Result<Received> {
    match recv(stream, buffer, RecvFlags::TRUNC) {
        Ok((_, 0)) => Ok(Received::End),
        Ok((_, length)) => Ok(Received::Bytes(length)),
        Err(rustix::io::Errno::AGAIN) => Ok(Received::Bytes(0)),
        Err(error) => Err(error).context("swallowing"),
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "bulk    {:<18} {:6.3} s CPU/GB  {:5.2} Gbit/s  core {:3.0} %  load's core {:3.0} %",
            self.case.name(),
            self.cpu_seconds_per_gb,
            self.gigabits_per_second,
            100.0 * self.core_use,
            100.0 * self.load_core_use,
        )
    }
}

const CONNECTIONS: usize = 4;
/// Of each connection, before the count begins.
const COMPARED: u64 = 4 << 20;
const CHUNK: usize = 64 << 10;
/// A prime, so that a chunk that is lost or comes twice shows.
const PERIOD: usize = 251;
const SWALLOWED: usize = 1 << 20;
