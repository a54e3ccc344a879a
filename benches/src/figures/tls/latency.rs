//! Latency of 500-byte SIP messages over 1,000 connections, there and back through an echoing
//! upstream, on an open-loop schedule.
//!
//! Messages come at random times (a Poisson process, the same for everyone), each on the next
//! connection, whatever became of those before. Latency is from the time a message was due to the
//! time its echo is whole and opened. Nothing is subtracted; the direct path, without terminator
//! and TLS, is measured beside it. How late the load itself sent is kept apart.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use loadgen::report::Percentiles;
use serde::Serialize;

use crate::accounting::cpu_ns;
use crate::tls::client::{Suite, Tickets, configuration};
use crate::tls::load::{Buffers, Load};
use crate::tls::peer::{Peer, Received, Speech};
use crate::tls::terminator::Process;

/// What a run showed.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    connections: usize,
    messages_per_second: f64,
    messages: u64,
    pub(super) latency_us: Percentiles,
    /// How late the load itself sent.
    pub(super) own_lateness_us: Percentiles,
    /// Of the terminator, a message and its echo.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us: Option<f64>,
}

/// Through a terminator.
pub(super) fn measure(load: Load, process: &Process, run: Duration) -> Result<Figures> {
    let speech = Speech::Tls(configuration(Suite::Aes128Gcm, &Tickets::counted())?);
    let mut traffic = Traffic::begin(load, process.address(), &speech)?;
    let before = cpu_ns(process.pid())?;
    traffic.run(run)?;
    let spent = (cpu_ns(process.pid())? - before) as f64;
    let cpu_us = Some(spent / 1e3 / traffic.latency.len() as f64);
    Ok(traffic.figures(cpu_us))
}

/// Straight to the upstream.
pub(super) fn direct(run: Duration) -> Result<Figures> {
    let load = Load::new()?;
    let address = load.upstream.address()?;
    let mut traffic = Traffic::begin(load, address, &Speech::Plain)?;
    traffic.run(run)?;
    Ok(traffic.figures(None))
}

/// Connections and what happened on them.
struct Traffic {
    load: Load,
    lines: Vec<Line>,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
}

/// A connection, and the part of an echo that came so far.
struct Line {
    peer: Peer,
    partial: Vec<u8>,
}

impl Traffic {
    fn begin(mut load: Load, address: SocketAddr, speech: &Speech) -> Result<Self> {
        let peers = load.establish(address, speech, CONNECTIONS)?;
        let lines = peers.into_iter().map(|peer| Line { peer, partial: Vec::new() }).collect();
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3);
        let mut traffic = Self { load, lines, latency: histogram()?, lateness: histogram()? };
        traffic.run(WARM_UP)?;
        traffic.latency.clear();
        traffic.lateness.clear();
        Ok(traffic)
    }

    /// Sends on schedule for `length`, then waits for the last echo.
    fn run(&mut self, length: Duration) -> Result<()> {
        let start = Instant::now();
        let end = length.as_nanos() as u64;
        let mut schedule = Schedule::default();
        let (mut due, mut sent, mut quiet_since) = (schedule.next_gap(), 0, start);
        while due < end || self.latency.len() < sent {
            let now = start.elapsed().as_nanos() as u64;
            if due < end && now >= due {
                self.send(sent, due)?;
                self.lateness.saturating_record(now - due);
                sent += 1;
                due += schedule.next_gap();
            }
            let before = self.latency.len();
            self.receive(start)?;
            if self.latency.len() > before {
                quiet_since = Instant::now();
            }
            let lost = sent - self.latency.len();
            ensure!(quiet_since.elapsed() < PATIENCE, "{lost} of {sent} echoes do not come");
        }
        Ok(())
    }

    fn send(&mut self, number: u64, due: u64) -> Result<()> {
        let index = number as usize % self.lines.len();
        let peer = &mut self.lines[index].peer;
        peer.queue(&message(due))?;
        ensure!(peer.flush()?, "a socket has no room for a message");
        Ok(())
    }

    fn receive(&mut self, start: Instant) -> Result<()> {
        let Self { load, lines, latency, .. } = self;
        // The load never sleeps: waking up would be part of what it measures.
        load.turn(Duration::ZERO, |index, _, buffers| {
            let line = &mut lines[index as usize];
            line.take(buffers)?;
            let now = start.elapsed().as_nanos() as u64;
            while let Some(due) = line.next_echo()? {
                latency.saturating_record(now.saturating_sub(due).max(1));
            }
            Ok(())
        })?;
        Ok(())
    }

    fn figures(self, cpu_us: Option<f64>) -> Figures {
        Figures {
            connections: CONNECTIONS,
            messages_per_second: RATE,
            messages: self.latency.len(),
            latency_us: Percentiles::of(&self.latency),
            own_lateness_us: Percentiles::of(&self.lateness),
            cpu_us,
        }
    }
}

impl Line {
    fn take(&mut self, buffers: &mut Buffers) -> Result<()> {
        match self.peer.receive(&mut buffers.wire, &mut buffers.plain)? {
            Received::End => anyhow::bail!("a connection ended"),
            Received::Bytes(length) => self.partial.extend_from_slice(&buffers.plain[..length]),
        }
        Ok(())
    }

    /// When the oldest whole echo was due.
    fn next_echo(&mut self) -> Result<Option<u64>> {
        let Some(echo) = self.partial.get(..MESSAGE) else { return Ok(None) };
        let digits = std::str::from_utf8(&echo[START.len()..START.len() + DIGITS])?;
        let due = digits.parse()?;
        ensure!(echo == message(due), "an echo differs from its message");
        self.partial.drain(..MESSAGE);
        Ok(Some(due))
    }
}

/// A SIP request of 500 bytes that carries the time it was due.
fn message(due: u64) -> [u8; MESSAGE] {
    let mut message = [b'x'; MESSAGE];
    message[..START.len()].copy_from_slice(START);
    let mut rest = due;
    for digit in message[START.len()..START.len() + DIGITS].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let middle = START.len() + DIGITS;
    message[middle..middle + MIDDLE.len()].copy_from_slice(MIDDLE);
    message
}

/// Random gaps with the same seed for everyone.
struct Schedule(u64);

impl Default for Schedule {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Schedule {
    /// Nanoseconds, exponentially distributed.
    fn next_gap(&mut self) -> u64 {
        // xorshift64 (Marsaglia, 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let uniform = ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        (-uniform.ln() * 1e9 / RATE) as u64
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Percentiles { p50, p99, p999, max, .. } = self.latency_us;
        let own = &self.own_lateness_us;
        write!(
            formatter,
            "latency p50 {p50:6.0}  p99 {p99:6.0}  p99.9 {p999:6.0}  max {max:6.0} µs"
        )?;
        if let Some(cpu) = self.cpu_us {
            write!(formatter, "  {cpu:.1} µs CPU/message")?;
        }
        write!(formatter, "  (load's own lateness p50 {:.0}, p99 {:.0} µs)", own.p50, own.p99)
    }
}

const CONNECTIONS: usize = 1_000;
/// Messages a second, over all connections.
const RATE: f64 = 10_000.0;
const MESSAGE: usize = 500;
const START: &[u8] = b"MESSAGE sip:edge@example.com SIP/2.0\r\nTimestamp: ";
const DIGITS: usize = 20;
const MIDDLE: &[u8] = b"\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK776\r\nMax-Forwards: 70\r\n\
    From: <sip:alice@example.com>;tag=49583\r\nTo: <sip:edge@example.com>\r\n\
    Call-ID: asd88asd77a@192.0.2.1\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\n\
    Content-Length: 222\r\n\r\n";
const WARM_UP: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_as_long_as_the_rate_asks_on_average() {
        let mut schedule = Schedule::default();
        let total: u64 = (0..100_000).map(|_| schedule.next_gap()).sum();
        let mean = total as f64 / 100_000.0;
        assert!((mean * RATE / 1e9 - 1.0).abs() < 0.02, "{mean} ns");
    }

    #[test]
    fn the_time_in_a_message_is_found_again() {
        let text = message(1_234_567);
        let digits = std::str::from_utf8(&text[START.len()..START.len() + DIGITS]).unwrap();
        assert_eq!(digits.parse::<u64>().unwrap(), 1_234_567);
    }
}
