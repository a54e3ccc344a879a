//! The receiving thread: every packet is opened, checked against its flow and counted.

use std::net::UdpSocket;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use packet_io::epoll::Epoll;
use packet_io::{Config, Driver, Received, Token, Verdict};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Progress, Schedule};
use crate::measure::{Direction, Stream};
use crate::packet::Stamp;

/// Packets per turn of the driver.
const BUDGET: usize = 256;

/// A flow to receive.
pub struct Listener {
    /// Its number: even forward, odd backward.
    pub flow: u32,
    /// Our socket.
    pub socket: UdpSocket,
    /// Opens each packet; `None` takes it as it is.
    pub open: Option<srtp::Receiver>,
}

/// What was received.
pub(super) struct ReceivedMedia {
    /// Forward and backward.
    pub(super) directions: [Direction; 2],
    /// SO_RXQ_OVFL of all our sockets.
    pub(super) kernel_drops: u64,
}

/// One socket's state on this thread.
struct Inlet {
    flow: u32,
    open: Option<srtp::Receiver>,
    stream: Stream,
    kernel_drops: u32,
}

impl Inlet {
    fn take(&mut self, packet: Received<'_>, directions: &mut [Direction; 2]) {
        let direction = &mut directions[self.flow as usize % 2];
        self.kernel_drops = packet.kernel_drops;
        let data = &mut packet.buffer[packet.range];
        let length = match &mut self.open {
            None => data.len(),
            Some(open) => match open.open_rtp(data) {
                Ok(opened) => opened.len,
                Err(srtp::Refusal::Replayed) => return direction.duplicates += 1,
                Err(_) => return direction.undecryptable += 1,
            },
        };
        match Stamp::read(&data[..length]) {
            Some(stamp) if stamp.flow == self.flow => {
                self.stream.record(direction, stamp.number, stamp.due_ns, packet.timestamp_ns);
            }
            _ => direction.mismatched += 1,
        }
    }
}

/// Receives until told to stop.
pub(super) fn run(
    listeners: Vec<Listener>,
    schedule: &Schedule,
    progress: &Progress,
) -> Result<ReceivedMedia> {
    let mut driver = Epoll::new(&Config::default()).context("opening the receive driver")?;
    let mut inlets = Vec::with_capacity(listeners.len());
    for (index, Listener { flow, socket, open }) in listeners.into_iter().enumerate() {
        driver.add(Token(index as u32), socket).context("watching a media socket")?;
        inlets.push(Inlet { flow, open, stream: Stream::new(schedule.packets), kernel_drops: 0 });
    }
    let mut directions = [Direction::default(), Direction::default()];
    while !progress.stop.load(Ordering::Relaxed) {
        let turn = driver.turn(BUDGET, |packet| {
            inlets[packet.token.0 as usize].take(packet, &mut directions);
            Verdict::Drop
        })?;
        progress.received.fetch_add(turn.received as u64, Ordering::Relaxed);
        if !turn.more {
            wait(&driver)?;
        }
    }
    for inlet in &inlets {
        inlet.stream.finish(&mut directions[inlet.flow as usize % 2], schedule.packets);
    }
    let kernel_drops = inlets.iter().map(|inlet| u64::from(inlet.kernel_drops)).sum();
    Ok(ReceivedMedia { directions, kernel_drops })
}

/// Waits for packets, at most 50 ms so that the stop is seen.
fn wait(driver: &Epoll) -> Result<()> {
    let mut readiness = [PollFd::from_borrowed_fd(driver.readiness(), PollFlags::IN)];
    let limit = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    match poll(&mut readiness, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("waiting for media"),
    }
}
