//! Handshakes a second on one core: TLS 1.3, X25519, ECDSA P-256, AES-128-GCM; full, and resumed
//! by PSK with (EC)DHE.
//!
//! A connection is made, greets, has the greeting echoed by the upstream, and is ended from the
//! client on, as a connection of a SIP client is: TCP, both sides of it, is part of the price, and
//! the same for all. What is held against the target is CPU time, which a slow load cannot
//! flatter; the rate says how many really were made a second.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::accounting::{cpu_ns, own_cpu};
use crate::tls::client::{Suite, Tickets, configuration};
use crate::tls::load::{Conversation, IN_FLIGHT, Load, PATIENCE, Progress};
use crate::tls::peer::Speech;
use crate::tls::terminator::Process;

/// What a run showed.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) kind: Kind,
    connections: u64,
    /// Of the terminator, all threads, user and system, a connection.
    pub(super) cpu_us: f64,
    pub(super) per_second: f64,
    /// Of the terminator's core: near 1 where the rate is what it can do.
    pub(super) core_use: f64,
    /// Of the load's core: near 1 where the rate is what the load can do.
    pub(super) load_core_use: f64,
    /// Tickets that came with each connection.
    tickets: f64,
}

/// How connections began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Full,
    Resumed,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Full, Self::Resumed];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
        }
    }
}

/// Both kinds, one after the other.
pub(super) fn measure(mut load: Load, process: &Process, run: Duration) -> Result<Vec<Figures>> {
    let speech =
        |tickets: &_| -> Result<_> { Ok(Speech::Tls(configuration(Suite::Aes128Gcm, tickets)?)) };
    let (counted, kept) = (Tickets::counted(), Tickets::kept());
    let (fresh, resuming) = (speech(&counted)?, speech(&kept)?);
    // The first are full handshakes, and bring tickets for what follows: with the same
    // configuration, as rustls uses no ticket of another. They also pay for what is done once.
    drop(load.establish(process.address(), &resuming, PRIMED)?);
    let full = one(&mut load, process, Kind::Full, &fresh, &counted, run)?;
    let resumed = one(&mut load, process, Kind::Resumed, &resuming, &kept, run)?;
    Ok(vec![full, resumed])
}

fn one(
    load: &mut Load,
    process: &Process,
    kind: Kind,
    speech: &Speech,
    tickets: &Tickets,
    run: Duration,
) -> Result<Figures> {
    let before = (cpu_ns(process.pid())?, own_cpu()?, tickets.received());
    let start = Instant::now();
    let connections = converse(load, process, kind, speech, start + run)?;
    let elapsed = start.elapsed().as_secs_f64();
    let own = (own_cpu()? - before.1).as_secs_f64();
    let received = tickets.received() - before.2;
    // Work that was put off is part of the price.
    std::thread::sleep(Duration::from_millis(100));
    let spent = (cpu_ns(process.pid())? - before.0) as f64;
    Ok(Figures {
        kind,
        connections,
        cpu_us: spent / 1e3 / connections as f64,
        per_second: connections as f64 / elapsed,
        core_use: spent / 1e9 / elapsed,
        load_core_use: own / elapsed,
        tickets: received as f64 / connections as f64,
    })
}

/// Keeps [`IN_FLIGHT`] conversations going until `deadline`, and has each reach its end.
fn converse(
    load: &mut Load,
    process: &Process,
    kind: Kind,
    speech: &Speech,
    deadline: Instant,
) -> Result<u64> {
    let mut slots = Vec::with_capacity(IN_FLIGHT);
    for index in 0..IN_FLIGHT {
        let conversation = Conversation::begin(process.address(), speech)?;
        conversation.watch(&load.poller, index)?;
        slots.push(Some(conversation));
    }
    let (mut open, mut over) = (IN_FLIGHT, 0);
    while open > 0 {
        let ready = load.turn(PATIENCE, |index, poller, buffers| {
            let slot = &mut slots[index as usize];
            let Some(conversation) = slot else { return Ok(()) };
            match conversation.advance(buffers)? {
                Progress::Waiting => {}
                Progress::Answered => {
                    let resumed = conversation.is_resumed();
                    ensure!(resumed == (kind == Kind::Resumed), "resumed: {resumed}");
                    conversation.end()?;
                }
                Progress::Over => {
                    ensure!(conversation.is_answered(), "ended before the echo came");
                    over += 1;
                    *slot = None;
                    if Instant::now() < deadline {
                        let next = Conversation::begin(process.address(), speech)?;
                        next.watch(poller, index as usize)?;
                        *slot = Some(next);
                    } else {
                        open -= 1;
                    }
                }
            }
            Ok(())
        })?;
        ensure!(ready > 0, "nothing happened for {PATIENCE:?}; {open} connections hang");
    }
    Ok(over)
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:<7} {:7.1} µs CPU/handshake  {:6.0} handshakes/s  core {:3.0} %  load's core \
             {:3.0} %  {:.1} tickets",
            self.kind.name(),
            self.cpu_us,
            self.per_second,
            100.0 * self.core_use,
            100.0 * self.load_core_use,
            self.tickets,
        )
    }
}

/// Enough for every connection in flight to have a ticket.
const PRIMED: usize = 4 * IN_FLIGHT;
