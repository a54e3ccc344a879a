//! The sending thread.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;

use super::schedule::realtime_ns;
use super::{Progress, Schedule};
use crate::packet::{PACKET, Stamp};

/// Room for the longest SRTP tag behind a packet.
const BUFFER: usize = PACKET + 64;

/// A flow to send.
pub struct Talker {
    /// Its number.
    pub flow: u32,
    /// Our socket.
    pub socket: UdpSocket,
    /// The relay's port.
    pub to: SocketAddr,
    /// Protects each packet; `None` sends in clear.
    pub protect: Option<srtp::Sender>,
}

impl Talker {
    fn send(&mut self, number: u32, due_ns: u64) -> Result<()> {
        let mut buffer = [0; BUFFER];
        let stamp = Stamp { flow: self.flow, number, due_ns };
        // A first sequence near the wrap makes every run of more than a few seconds cross it.
        let mut length = stamp.write(&mut buffer, 0x1000_0000 | self.flow, 65_300);
        if let Some(sender) = &mut self.protect {
            match sender.protect_rtp(&mut buffer, length) {
                Ok(sealed) => length = sealed.len,
                Err(refusal) => {
                    bail!("flow {}: SRTP refused packet {number}: {refusal:?}", self.flow)
                }
            }
        }
        self.socket
            .send_to(&buffer[..length], self.to)
            .with_context(|| format!("flow {}: sending to {}", self.flow, self.to))?;
        Ok(())
    }
}

/// Sends the whole schedule; returns how late each packet was.
pub(super) fn run(
    mut talkers: Vec<Talker>,
    schedule: &Schedule,
    progress: &Progress,
) -> Result<Histogram<u64>> {
    let mut lateness = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    talkers.sort_by_key(|talker| talker.flow);
    for number in 0..schedule.packets {
        for talker in &mut talkers {
            let due_ns = schedule.due_ns(talker.flow, number);
            wait_until(due_ns);
            lateness.saturating_record(realtime_ns().saturating_sub(due_ns).max(1));
            talker.send(number, due_ns)?;
            progress.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(lateness)
}

/// Sleeps until `due_ns`. A sleep overshoots by the timer slack (50 µs by default); that counts
/// as the generator's own lateness and is reported.
fn wait_until(due_ns: u64) {
    let left = due_ns.saturating_sub(realtime_ns());
    if left > 0 {
        thread::sleep(Duration::from_nanos(left));
    }
}
