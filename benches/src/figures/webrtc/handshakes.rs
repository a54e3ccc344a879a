//! What a full DTLS handshake costs the relay: ECDSA P-256 on both sides, mutual authentication,
//! X25519 or P-256 as the relay prefers, the relay the server.
//!
//! All calls are signalled before the clock starts and ended after it stops, so what is counted is
//! the handshakes, with the packets that carry them and the keys that come of them. CPU time is
//! of all the relay's threads, which are alone on their core.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::accounting::{cpu_ns, own_cpu};
use crate::legs::description::Kind;
use crate::legs::fleet::{Event, Fleet, Then};
use crate::legs::relay::{Placement, Process, Relay};

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    handshakes: usize,
    /// Of the relay, all threads, user and system, a handshake.
    cpu_us: f64,
    /// Handshakes that a second of the relay's CPU time pays for.
    pub(super) per_cpu_second: f64,
    /// As they came to their end, which the relay's budget for handshakes may hold back.
    per_second: f64,
    /// Of the relay's core.
    core_use: f64,
    /// Of the load's.
    load_core_use: f64,
}

/// Starts `relay` and has it shake hands `count` times.
pub(super) fn measure(relay: Relay, count: usize) -> Result<Figures> {
    let process = Process::start(relay, Placement::Alone)?;
    // What the first ones bring is not a handshake's price.
    let mut warm = Fleet::new(Kind::Dtls, WARM_UP)?;
    warm.bring(0..WARM_UP, &Event::Secured, IN_FLIGHT, |warm, slot| warm.call(slot, Then::Shake))?;
    let mut fleet = Fleet::new(Kind::Dtls, count)?;
    fleet.bring(0..count, &Event::Ready, IN_FLIGHT, |fleet, slot| fleet.call(slot, Then::Wait))?;
    thread::sleep(SETTLE);
    let before = (Instant::now(), cpu_ns(process.pid())?, own_cpu()?);
    fleet.bring(0..count, &Event::Secured, IN_FLIGHT, Fleet::shake)?;
    let elapsed = before.0.elapsed().as_secs_f64();
    let own = own_cpu()? - before.2;
    // Work that was put off is part of the price.
    thread::sleep(SETTLE);
    let spent = (cpu_ns(process.pid())? - before.1) as f64;
    let count_f64 = count as f64;
    Ok(Figures {
        handshakes: count,
        cpu_us: spent / 1e3 / count_f64,
        per_cpu_second: 1e9 * count_f64 / spent,
        per_second: count_f64 / elapsed,
        core_use: spent / 1e9 / elapsed,
        load_core_use: own.as_secs_f64() / elapsed,
    })
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:7.1} µs CPU/handshake, {:6.0} a CPU second; {:6.0} handshakes/s, core {:3.0} %, load's \
             core {:3.0} %",
            self.cpu_us,
            self.per_cpu_second,
            self.per_second,
            100.0 * self.core_use,
            100.0 * self.load_core_use,
        )
    }
}

/// At a time: the relay always has one to go on with.
const IN_FLIGHT: usize = 32;
/// Before those that are counted.
const WARM_UP: usize = 64;
/// For what is still to do.
const SETTLE: Duration = Duration::from_millis(200);
