//! What others may undo behind the engine's back: its routes, and the device itself.
//!
//! A network manager that is restarted removes routes that it does not know, the kernel those of a
//! device that goes down; SAs and policies look well all the while, and traffic goes nowhere. So
//! the routes are looked at now and then, and put back. A device that was deleted takes the SAs
//! with it, which is told; the next one that is installed finds a new device, with the policies
//! that there are. Until then the guards keep the traffic from going round.

use std::time::{Duration, Instant};

use super::{UserSpaceEngine, running::Running};

/// When routes are looked at next.
pub(super) struct Upkeep {
    due: Instant,
    /// What was in the way the last time: told once.
    trouble: Option<String>,
}

impl Upkeep {
    pub(super) fn new() -> Self {
        Self { due: Instant::now() + BETWEEN, trouble: None }
    }

    fn look(&mut self, running: &mut Running) {
        let began = Instant::now();
        if began < self.due {
            return;
        }
        let (restored, trouble) = running.routes.restore(&mut running.link);
        if restored > 0 {
            tracing::warn!(restored, "somebody had removed routes into the tunnel");
        }
        let trouble = trouble.map(|error| error.to_string());
        if let Some(error) = trouble.as_ref().filter(|_| trouble != self.trouble) {
            tracing::warn!(%error, "routes into the tunnel are missing");
        }
        self.trouble = trouble;
        // Ten thousand routes must not keep the owner of the engine from its work.
        self.due = Instant::now() + BETWEEN.max(began.elapsed() * LONGEST_SHARE);
    }
}

impl UserSpaceEngine {
    /// To be called often.
    pub(super) fn tend(&mut self) {
        self.bury();
        if let Some(running) = &mut self.running {
            self.upkeep.look(running);
        }
    }

    /// Lets go of a device that is gone, with its SAs. That they are gone was told by the keeper.
    pub(super) fn bury(&mut self) {
        if self.running.as_ref().is_some_and(Running::has_ended) {
            self.running = None;
            self.sas.clear();
            self.free_slots.clear();
            self.next_slot = 0;
        }
    }

    /// Gives a new device the routes of the policies that there are.
    pub(super) fn lay_routes(&mut self) {
        let Some(running) = &mut self.running else { return };
        for policy in self.policies.iter().flatten() {
            running.routes.want(&policy.selector);
        }
        self.upkeep.due = Instant::now();
        self.upkeep.look(running);
    }
}

/// Between two looks.
const BETWEEN: Duration = Duration::from_secs(2);

/// Looking takes this part of the time at most: one in so many.
const LONGEST_SHARE: u32 = 50;
