//! An open-loop load of many flows from two sockets, so that the load never is the bottleneck.
//!
//! All plain legs share one socket and all SRTP legs another; the relay can't tell, since every
//! call has ports of its own, and one system call then carries 64 packets of 64 flows. Packet
//! `k` is due at `start + k / rate` whatever came before, and carries that time: latency is from
//! the intended send to the kernel's receive timestamp, so neither a late send nor a late read
//! of ours hides what the relay did. What the blaster itself was late by is kept apart.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use hdrhistogram::Histogram;
use loadgen::report::Percentiles;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::calls::Call;
use crate::mmsg::{Datagram, ReceiveBatch, SLOT, SendBatch};
use crate::sockets::Sockets;

/// RTP header and 20 ms of G.711.
pub const PACKET: usize = 172;
const HEADER: usize = 12;

/// What one run showed.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Packets offered per second.
    pub offered_pps: f64,
    /// Packets sent.
    pub sent: u64,
    /// Packets that came out of the relay and verified.
    pub received: u64,
    /// Packets that never did.
    pub lost: u64,
    /// Packets that came out but did not verify or match.
    pub corrupt: u64,
    /// One-way latency in microseconds.
    pub latency_us: Percentiles,
    /// How late the blaster itself sent, in microseconds.
    pub own_lateness_us: Percentiles,
}

/// Drives every call of `calls` in both directions.
pub struct Blaster<'a> {
    sockets: &'a Sockets,
    calls: &'a mut [Call],
    /// Call by the relay's port, for what comes back.
    by_plain_port: Vec<u32>,
    by_secure_port: Vec<u32>,
    plain_out: SendBatch,
    secure_out: SendBatch,
    incoming: ReceiveBatch,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
    pauses: Pauses,
    sent: u64,
    received: u64,
    corrupt: u64,
}

/// What a blaster does until the next packet is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pauses {
    /// Looks at its sockets, again and again: the core is its own.
    Never,
    /// The same until it has used this part of its core's time, and sleeps beyond that: others
    /// have the rest of the core.
    Beyond(f64),
}

const NO_CALL: u32 = u32::MAX;

impl<'a> Blaster<'a> {
    /// A blaster over calls whose media goes to `sockets`.
    pub fn new(sockets: &'a Sockets, calls: &'a mut [Call]) -> Result<Self> {
        let mut by_plain_port = vec![NO_CALL; 1 << 16];
        let mut by_secure_port = vec![NO_CALL; 1 << 16];
        for (index, call) in calls.iter().enumerate() {
            by_plain_port[usize::from(call.plain.port())] = index as u32;
            by_secure_port[usize::from(call.secure.port())] = index as u32;
        }
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3);
        Ok(Self {
            sockets,
            calls,
            by_plain_port,
            by_secure_port,
            plain_out: SendBatch::default(),
            secure_out: SendBatch::default(),
            incoming: ReceiveBatch::default(),
            latency: histogram()?,
            lateness: histogram()?,
            pauses: Pauses::Never,
            sent: 0,
            received: 0,
            corrupt: 0,
        })
    }

    /// The same with other pauses.
    #[must_use]
    pub fn pausing(self, pauses: Pauses) -> Self {
        Self { pauses, ..self }
    }

    /// Offers `rate` packets per second, all flows together, for `length`; then waits until
    /// everything is back or nothing has come for 300 ms.
    pub fn run(mut self, rate: f64, length: Duration) -> Result<Outcome> {
        let total = (rate * length.as_secs_f64()) as u64;
        let period_ns = 1e9 / rate;
        let (start, cpu) = (realtime_ns(), own_cpu_ns());
        while self.sent < total {
            let elapsed = (realtime_ns() - start) as f64;
            // The first is due at once.
            let due = (1 + (elapsed / period_ns) as u64).min(total);
            // One batch at most before looking at what came back.
            for _ in 0..due.saturating_sub(self.sent).min(64) {
                let intended = start + (self.sent as f64 * period_ns) as u64;
                self.queue(intended)?;
            }
            self.flush()?;
            self.receive()?;
            if let Pauses::Beyond(share) = self.pauses {
                let next = start + (self.sent as f64 * period_ns) as u64;
                pause(next, share * (realtime_ns() - start) as f64, own_cpu_ns() - cpu);
            }
        }
        self.drain(total)?;
        Ok(Outcome {
            offered_pps: rate,
            sent: self.sent,
            received: self.received,
            lost: self.sent - self.received,
            corrupt: self.corrupt,
            latency_us: Percentiles::of(&self.latency),
            own_lateness_us: Percentiles::of(&self.lateness),
        })
    }

    /// Queues the next packet of the schedule: flows take turns, plain and SRTP alternating.
    fn queue(&mut self, intended_ns: u64) -> Result<()> {
        let flow = self.sent as usize % (self.calls.len() * 2);
        let call = &mut self.calls[flow / 2];
        self.lateness.saturating_record(realtime_ns().saturating_sub(intended_ns));
        self.sent += 1;
        if flow.is_multiple_of(2) {
            if self.plain_out.is_full() {
                self.plain_out.flush(&self.sockets.plain)?;
            }
            let sequence = call.plain_sequence.advance();
            self.plain_out.push(call.plain, |slot| write_rtp(slot, 1, sequence, intended_ns));
        } else {
            if self.secure_out.is_full() {
                self.secure_out.flush(&self.sockets.secure)?;
            }
            let (sequence, sender) = (call.secure_sequence.advance(), &mut call.to_relay);
            let mut refused = None;
            self.secure_out.push(call.secure, |slot| {
                let length = write_rtp(slot, 2, sequence, intended_ns);
                match sender.protect_rtp(slot, length) {
                    Ok(sealed) => sealed.len,
                    Err(refusal) => {
                        refused = Some(refusal);
                        0
                    }
                }
            });
            if let Some(refusal) = refused {
                anyhow::bail!("our own SRTP refused packet {sequence}: {refusal:?}");
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.plain_out.flush(&self.sockets.plain)?;
        self.secure_out.flush(&self.sockets.secure)?;
        Ok(())
    }

    fn receive(&mut self) -> Result<usize> {
        let Self { sockets, calls, incoming, latency, received, corrupt, .. } = self;
        let mut count = |datagram: &Datagram<'_>, rtp: Option<&[u8]>| match rtp.and_then(stamp_of) {
            Some(intended) => {
                latency.saturating_record(datagram.timestamp_ns.saturating_sub(intended).max(1));
                *received += 1;
            }
            None => *corrupt += 1,
        };
        let (plain_ports, secure_ports) = (&self.by_plain_port, &self.by_secure_port);
        let plain = incoming.receive(&sockets.plain, |datagram| {
            let known = plain_ports[usize::from(datagram.source.port())] != NO_CALL;
            let rtp = (known && datagram.bytes.len() == PACKET).then_some(&*datagram.bytes);
            count(&datagram, rtp);
        })?;
        let secure = incoming.receive(&sockets.secure, |datagram| {
            let index = secure_ports[usize::from(datagram.source.port())] as usize;
            let opened = calls.get_mut(index).and_then(|call| {
                let opened = call.from_relay.open_rtp(datagram.bytes).ok()?;
                (opened.len == PACKET).then_some(opened.len)
            });
            let rtp = opened.map(|length| &datagram.bytes[..length]);
            count(&datagram, rtp);
        })?;
        Ok(plain + secure)
    }

    fn drain(&mut self, total: u64) -> Result<()> {
        let mut last = realtime_ns();
        while self.received + self.corrupt < total && realtime_ns() - last < 300_000_000 {
            if self.receive()? > 0 {
                last = realtime_ns();
            }
        }
        Ok(())
    }
}

/// A 172-byte PCMU packet whose payload starts with the time it was due and is otherwise a
/// pattern that depends on it, so that a mixed-up payload shows.
fn write_rtp(slot: &mut [u8; SLOT], ssrc: u32, sequence: u16, intended_ns: u64) -> usize {
    slot[0] = 0x80;
    slot[1] = 0;
    slot[2..4].copy_from_slice(&sequence.to_be_bytes());
    slot[4..8].copy_from_slice(&u32::from(sequence).wrapping_mul(160).to_be_bytes());
    slot[8..12].copy_from_slice(&ssrc.to_be_bytes());
    for chunk in slot[HEADER..PACKET].chunks_exact_mut(8) {
        chunk.copy_from_slice(&intended_ns.to_be_bytes());
    }
    PACKET
}

/// The due time a payload carries, when the payload is one of ours from end to end.
fn stamp_of(rtp: &[u8]) -> Option<u64> {
    let payload = &rtp[HEADER..];
    let first: [u8; 8] = payload[..8].try_into().ok()?;
    payload.chunks_exact(8).all(|chunk| chunk == first).then(|| u64::from_be_bytes(first))
}

/// Sleeps until `next_ns`, unless less than `allowed_ns` of the core's time is used.
fn pause(next_ns: u64, allowed_ns: f64, used_ns: u64) {
    let left = next_ns.saturating_sub(realtime_ns());
    if left > 0 && used_ns as f64 >= allowed_ns {
        thread::sleep(Duration::from_nanos(left));
    }
}

/// CPU time of this thread.
fn own_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds of CLOCK_REALTIME, the clock of the kernel's receive timestamps.
fn realtime_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}
