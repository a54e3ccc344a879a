//! Memory per idle WebRTC leg: ICE found its path, DTLS is done, and nothing but consent is heard.
//!
//! Each leg is the answering one of a call whose offering leg is plain RTP. What the process grew by
//! is charged to the WebRTC leg whole, plain leg and call included: more than the leg is.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::accounting::{Memory, memory, slab_kib};
use crate::legs::description::Kind;
use crate::legs::fleet::{Event, Fleet, Then};
use crate::legs::relay::{Placement, Process, Relay};

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    legs: usize,
    /// Growth of the process, a leg.
    pub(super) pss_kib: f64,
    rss_kib: f64,
    /// Growth of the machine's slab memory, a leg: mostly sockets, two of the offering leg too.
    kernel_slab_kib: f64,
    process_rss_kib: u64,
}

/// Starts `relay`, makes the legs and weighs them.
pub(super) fn measure(relay: Relay, legs: usize) -> Result<Figures> {
    let process = Process::start(relay, Placement::Alone)?;
    // What the first legs bring is not a leg's price.
    let mut fleet = Fleet::new(Kind::Ice, FIRST + legs)?;
    secure(&mut fleet, 0..FIRST)?;
    fleet.idle(SETTLE)?;
    let before = (memory(process.pid())?, slab_kib()?);
    secure(&mut fleet, FIRST..FIRST + legs)?;
    fleet.idle(IDLE)?;
    let after = (memory(process.pid())?, slab_kib()?);
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / legs as f64;
    let grown = |part: fn(&Memory) -> u64| each(part(&before.0), part(&after.0));
    Ok(Figures {
        legs,
        pss_kib: grown(|memory| memory.pss_kib),
        rss_kib: grown(|memory| memory.rss_kib),
        kernel_slab_kib: each(before.1, after.1),
        process_rss_kib: after.0.rss_kib,
    })
}

fn secure(fleet: &mut Fleet, slots: Range<usize>) -> Result<()> {
    fleet.bring(slots, &Event::Secured, IN_FLIGHT, |fleet, slot| fleet.call(slot, Then::Shake))
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:6.2} KiB PSS, {:6.2} KiB RSS a leg; {:6.2} KiB kernel slab; process {} KiB",
            self.pss_kib, self.rss_kib, self.kernel_slab_kib, self.process_rss_kib,
        )
    }
}

/// At a time.
const IN_FLIGHT: usize = 32;
/// Legs that are made before the first weighing, and stay.
const FIRST: usize = 16;
/// After those.
const SETTLE: Duration = Duration::from_secs(1);
/// Beyond two rounds of consent checks (RFC 7675: every 4 to 6 seconds).
const IDLE: Duration = Duration::from_secs(13);
