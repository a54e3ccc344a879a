//! Long work that the admin API started: how far each pair is, for whoever asks and waits.
//!
//! An operation is kept while it runs and for a while after; the oldest that have ended go first.
//! It is a report, not the work: nothing is resumed from it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crypto_offload::PairName;
use gateway_control::{Operation, OperationState, PairProgress, RotationRecord};
use tokio::sync::watch;

/// The operations of this process; clones share them.
#[derive(Clone)]
pub(crate) struct Operations(Arc<Mutex<Kept>>);

struct Kept {
    /// Tells ids of this process from those of the one before.
    run: u64,
    next: u64,
    operations: VecDeque<Progress>,
}

/// One operation, for those who do the work; clones share it.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Inner>);

struct Inner {
    id: String,
    started: Instant,
    state: Mutex<State>,
    revision: watch::Sender<u64>,
}

struct State {
    pairs: Vec<PairProgress>,
    seconds: Option<f64>,
}

impl Operations {
    pub(crate) fn new() -> Self {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
        let run = u64::try_from(run).unwrap_or_default();
        Self(Arc::new(Mutex::new(Kept { run, next: 1, operations: VecDeque::new() })))
    }

    /// A new one, about these pairs, all of which wait.
    pub(crate) fn start(&self, pairs: impl IntoIterator<Item = PairName>) -> Progress {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = format!("{:x}-{}", kept.run, kept.next);
        kept.next += 1;
        let waiting = |name| PairProgress {
            name,
            step: "waiting".to_owned(),
            state: OperationState::Running,
            detail: None,
            record: None,
        };
        let pairs: Vec<_> = pairs.into_iter().map(waiting).collect();
        let seconds = pairs.is_empty().then_some(0.0);
        let progress = Progress(Arc::new(Inner {
            id,
            started: Instant::now(),
            state: Mutex::new(State { pairs, seconds }),
            revision: watch::Sender::new(1),
        }));
        kept.operations.push_back(progress.clone());
        kept.forget();
        progress
    }

    /// One, unless it ended long ago.
    pub(crate) fn find(&self, id: &str) -> Option<Progress> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.operations.iter().find(|operation| operation.0.id == id).cloned()
    }
}

impl Kept {
    /// Only those that have ended go: one that runs is somebody's to wait for.
    fn forget(&mut self) {
        while self.operations.len() > KEPT {
            let Some(at) = self.operations.iter().position(Progress::has_ended) else { return };
            self.operations.remove(at);
        }
    }
}

impl Progress {
    /// As the admin API names it.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// A pair is at this step.
    pub(crate) fn step(&self, name: &PairName, step: &str) {
        self.change(name, |pair| {
            step.clone_into(&mut pair.step);
        });
    }

    /// A pair was rotated, or defined without keys.
    pub(crate) fn done(&self, name: &PairName, record: Option<RotationRecord>) {
        self.change(name, |pair| {
            pair.state = OperationState::Done;
            "done".clone_into(&mut pair.step);
            pair.record = record;
        });
    }

    /// A pair was not; why, and what stands.
    pub(crate) fn failed(&self, name: &PairName, detail: &str) {
        self.change(name, |pair| {
            pair.state = OperationState::Failed;
            "failed".clone_into(&mut pair.step);
            pair.detail = Some(detail.to_owned());
        });
    }

    /// How it is now.
    pub(crate) fn report(&self) -> Operation {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        Operation {
            id: self.0.id.clone(),
            state: overall(&state.pairs),
            revision: *self.0.revision.borrow(),
            pairs: state.pairs.clone(),
            seconds: state.seconds.unwrap_or_else(|| self.0.started.elapsed().as_secs_f64()),
        }
    }

    /// Waits until there is something beyond `revision`, or for so long, or until the end.
    pub(crate) async fn wait_beyond(&self, revision: u64, patience: Duration) {
        if self.has_ended() {
            return;
        }
        let mut follower = self.0.revision.subscribe();
        let changed = follower.wait_for(|now| *now > revision);
        let _ = tokio::time::timeout(patience, changed).await;
    }

    fn has_ended(&self) -> bool {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        overall(&state.pairs) != OperationState::Running
    }

    fn change(&self, name: &PairName, change: impl FnOnce(&mut PairProgress)) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pair) = state.pairs.iter_mut().find(|pair| pair.name == *name) else { return };
        change(pair);
        if state.seconds.is_none() && overall(&state.pairs) != OperationState::Running {
            state.seconds = Some(self.0.started.elapsed().as_secs_f64());
        }
        self.0.revision.send_modify(|revision| *revision += 1);
    }
}

fn overall(pairs: &[PairProgress]) -> OperationState {
    let any = |state| pairs.iter().any(|pair| pair.state == state);
    if any(OperationState::Running) {
        OperationState::Running
    } else if any(OperationState::Failed) {
        OperationState::Failed
    } else {
        OperationState::Done
    }
}

/// More than a day's of a busy operator; a pair's progress is some 300 bytes.
const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PairName {
        PairName::new(text).unwrap()
    }

    #[test]
    fn an_operation_has_failed_when_all_have_ended_and_one_badly() {
        let progress = Operations::new().start([name("a"), name("b")]);
        progress.failed(&name("a"), "no route");
        assert_eq!(progress.report().state, OperationState::Running);
        progress.done(&name("b"), None);
        let report = progress.report();
        assert_eq!((report.state, report.revision), (OperationState::Failed, 3));
        assert_eq!(report.pairs[0].detail.as_deref(), Some("no route"));
    }

    #[test]
    fn only_operations_that_have_ended_are_forgotten() {
        let operations = Operations::new();
        let running = operations.start([name("a")]);
        let ended = operations.start([]);
        for _ in 0..KEPT {
            operations.start([]);
        }
        assert!(operations.find(running.id()).is_some());
        assert!(operations.find(ended.id()).is_none());
    }

    #[tokio::test]
    async fn waiting_ends_with_a_change_and_at_once_when_nothing_more_can_come() {
        let progress = Operations::new().start([name("a")]);
        let waiter = progress.clone();
        let waiting = tokio::spawn(async move {
            waiter.wait_beyond(1, Duration::from_secs(60)).await;
            waiter.report().pairs[0].step.clone()
        });
        tokio::task::yield_now().await;
        progress.step(&name("a"), "prepare");
        assert_eq!(waiting.await.unwrap(), "prepare");
        progress.done(&name("a"), None);
        progress.wait_beyond(99, Duration::from_secs(60)).await;
    }
}
