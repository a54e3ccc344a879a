//! Calls that end without a `delete`: timeouts, a drain's end, and the closing of any call.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Control;
use super::report::{Purpose, Want};
use crate::metrics::ledger::Ending;
use crate::relay::command::{CallKey, CallReport, Command};
use crate::session::Expired;

impl Control {
    /// Ends what is due.
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        for expired in self.calls.expire(now) {
            self.end(expired);
        }
        self.end_the_oldest(now);
        if self.drain_deadline.is_some_and(|deadline| deadline <= now) {
            self.drain_deadline = None;
            let left: Vec<CallKey> = self.calls.keys().collect();
            tracing::warn!(calls = left.len(), "relay.drain_timeout is over: ending what is left");
            for call in left {
                self.force_end(call, Ending::Forced);
            }
        }
    }

    /// Carries out what the session found to be over.
    pub(super) fn end(&mut self, expired: Expired) {
        match expired {
            Expired::Call { call, reason } => {
                tracing::debug!(call = call.0, ?reason, "call ended");
                self.ledger.ended(Ending::from(reason));
                self.close(call, None);
            }
            Expired::Branch(end) => {
                if let Some(placement) = self.placements.get(&end.plan.call) {
                    let worker = placement.worker;
                    self.command(worker, Command::Apply(end.plan));
                    self.agents.plan(worker, end.legs);
                }
            }
        }
    }

    /// Ends calls that have lasted for `relay.final_timeout`, which is off in most places: a
    /// look at all of them once a second is cheaper than a deadline each.
    fn end_the_oldest(&mut self, now: Instant) {
        let Some(limit) = self.config.relay.final_timeout.0 else {
            self.final_scan = None;
            return;
        };
        if self.final_scan.is_some_and(|scan| now < scan) {
            return;
        }
        self.final_scan = Some(now + FINAL_SCAN);
        let old = |call: &CallKey| {
            self.placements
                .get(call)
                .is_some_and(|placement| now.duration_since(placement.created) >= limit)
        };
        let over: Vec<CallKey> = self.calls.keys().filter(old).collect();
        for call in over {
            self.force_end(call, Ending::FinalTimeout);
        }
    }

    fn force_end(&mut self, call: CallKey, ending: Ending) {
        if self.calls.force_end(call).is_some() {
            self.ledger.ended(ending);
            self.close(call, None);
        }
    }

    /// Has the worker close a call. Its ports stay taken until it says that it has.
    pub(super) fn close(&mut self, call: CallKey, want: Option<Want>) {
        let Some(placement) = self.placements.get(&call) else {
            return self.forget(call, None);
        };
        let worker = placement.worker;
        let (reply, answer) = oneshot::channel();
        // First, so that no duplicate of a socket keeps a port for longer than the worker does.
        self.agents.end(call);
        self.command(worker, Command::Close { call, reply });
        self.await_report(call, answer, Purpose::Close(want), None);
    }

    /// The worker has closed it.
    pub(super) fn forget(&mut self, call: CallKey, report: Option<&CallReport>) {
        self.calls.closed(call);
        let Some(placement) = self.placements.remove(&call) else { return };
        self.loads[placement.worker] -= 1;
        if let Some(report) = report {
            self.ledger.call(placement.created.elapsed(), report);
        }
    }
}

/// A call may outlive `relay.final_timeout` by this much.
const FINAL_SCAN: Duration = Duration::from_secs(1);
