//! Who is told how far a rotation is: an operation of the admin API, or the schedule, which has so
//! many at once and no more.

use std::sync::atomic::{AtomicBool, Ordering};

use crypto_offload::PairName;
use crypto_offload::schedule::Ended;
use tokio::sync::mpsc;

use super::operations::Progress;

/// One rotation's.
#[derive(Clone, Copy)]
pub(crate) enum Audience<'a> {
    /// The log, the event and the numbers are enough.
    Nobody,
    /// Whoever asked for it.
    Operation(&'a Progress),
    /// Nobody asked for it.
    Schedule(&'a Turn),
}

impl Audience<'_> {
    /// It is at this step.
    pub(super) fn step(self, name: &PairName, step: &str) {
        if let Self::Operation(progress) = self {
            progress.step(name, step);
        }
    }

    /// What is left of it is to wait.
    pub(super) fn lingers(self) {
        if let Self::Schedule(turn) = self {
            turn.lingers();
        }
    }
}

/// One of the schedule's rotations, which is over when this is dropped.
pub(crate) struct Turn {
    name: PairName,
    told: mpsc::UnboundedSender<Word>,
    how: Ended,
    lingers: AtomicBool,
}

/// What the schedule is told.
pub(super) enum Word {
    /// It only waits from now on.
    Lingers(PairName),
    /// It is over.
    Ended(PairName, Ended),
}

impl Turn {
    pub(super) fn new(name: PairName, told: mpsc::UnboundedSender<Word>) -> Self {
        Self { name, told, how: Ended::Failed, lingers: AtomicBool::new(false) }
    }

    /// It ends well.
    pub(super) fn succeeded(mut self) {
        self.how = Ended::Done;
    }

    fn lingers(&self) {
        if !self.lingers.swap(true, Ordering::Relaxed) {
            let _ = self.told.send(Word::Lingers(self.name.clone()));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.told.send(Word::Ended(self.name.clone(), self.how));
    }
}
