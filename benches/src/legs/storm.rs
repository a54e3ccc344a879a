//! A storm of handshakes: a fleet without ICE that makes a call, shakes hands, ends it and makes
//! another one, as fast as its core and the relay let it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::description::Kind;
use super::fleet::{Event, Fleet, Then};

/// A storm that blows, in a thread of its own on the core of whoever started it.
pub struct Storm {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Outcome>>,
}

/// What it was.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Handshakes that came to their end.
    pub handshakes: u64,
    /// Calls that came to nothing.
    pub failed: u64,
    /// Why the last of those did.
    pub last_failure: Option<String>,
    /// Handshakes a second.
    pub per_second: f64,
}

impl Storm {
    /// Begins; returns when the first handshake is done.
    pub fn begin() -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut fleet = Fleet::new(Kind::Dtls, IN_FLIGHT)?;
        // The first is awaited, so that a relay that cannot do it says so here.
        fleet.call(0, Then::Shake)?;
        let start = Instant::now();
        loop {
            let events = fleet.turn(Duration::from_millis(50))?;
            let secured = events.iter().any(|(_, event)| *event == Event::Secured);
            let failed = events.iter().find_map(|(_, event)| match event {
                Event::Failed(reason) => Some(reason.clone()),
                _ => None,
            });
            ensure!(failed.is_none(), "the storm's first call: {}", failed.unwrap_or_default());
            if secured {
                break;
            }
            ensure!(start.elapsed() < FIRST, "the storm's first handshake did not end");
        }
        fleet.end(0)?;
        for slot in 1..IN_FLIGHT {
            fleet.call(slot, Then::Shake)?;
        }
        let told = over.clone();
        let thread = thread::Builder::new().name("storm".into());
        Ok(Self { over, thread: thread.spawn(move || blow(fleet, &told))? })
    }

    /// Ends it, and says what it was.
    pub fn end(self) -> Result<Outcome> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn blow(mut fleet: Fleet, over: &AtomicBool) -> Result<Outcome> {
    let start = Instant::now();
    let mut outcome = Outcome::default();
    while !over.load(Ordering::Relaxed) {
        for (slot, event) in fleet.turn(Duration::from_millis(50))? {
            match event {
                Event::Ready => {}
                Event::Secured => {
                    outcome.handshakes += 1;
                    fleet.end(slot)?;
                }
                Event::Failed(reason) => {
                    outcome.failed += 1;
                    outcome.last_failure = Some(reason);
                    fleet.end(slot)?;
                }
                Event::Ended => fleet.call(slot, Then::Shake)?,
            }
        }
    }
    outcome.per_second = outcome.handshakes as f64 / start.elapsed().as_secs_f64();
    Ok(outcome)
}

/// Calls at a time: enough that neither side ever waits for the other, although the gateway has
/// each wait for a retransmission, and half of what the gateway admits at a time.
const IN_FLIGHT: usize = 128;

/// For the first handshake.
const FIRST: Duration = Duration::from_secs(15);
