//! Answers that need a worker's numbers. The question goes to the worker, the request waits in a
//! task of its own, and everything else goes on; what comes back passes through control's inbox.

use std::sync::Arc;

use gateway_control::{CallList, CallSummary};
use ng::reply as words;
use ng::request::Query;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::desk::Ticket;
use super::{Control, Placement, reply};
use crate::metrics::ledger::Verb;
use crate::observer::{CallView, Inquiry, Overview, Protection};
use crate::relay::command::{CallKey, CallReport, Command};
use crate::workers::Snapshots;

/// A request that waits for a worker.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) ticket: Ticket,
    pub(super) verb: Verb,
}

/// What a report is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To answer a request.
    Reply(Want),
    /// To answer the admin API.
    Inform(oneshot::Sender<Option<CallView>>),
    /// To end the call, and perhaps to answer the request that ended it.
    Close(Option<Want>),
}

/// What a waiting task brings back.
pub(super) enum Finished {
    /// A worker reported; `None` if it does not know the call or is gone.
    Report { call: CallKey, report: Option<CallReport>, purpose: Purpose },
    /// It did not in time: the request is answered without numbers.
    Late { call: CallKey, purpose: Purpose },
    /// Every worker's numbers, for `statistics`.
    Snapshots { ticket: Ticket, workers: Snapshots },
}

impl Control {
    /// Asks the call's worker what the call has done. A worker that is far behind is not asked,
    /// nor is anybody beyond a bound: what cannot be known is left out of the answer.
    pub(super) fn ask_worker(&mut self, call: CallKey, purpose: Purpose) {
        let placement = self.placements.get(&call).copied();
        let place = Arc::clone(&self.waiting).try_acquire_owned().ok();
        match (placement, place) {
            (Some(Placement { worker, .. }), Some(place))
                if !self.outboxes[worker].is_overwhelmed() =>
            {
                let (reply, answer) = oneshot::channel();
                self.command(worker, Command::Report { call, reply });
                self.await_report(call, answer, purpose, Some(place));
            }
            _ => self.serve(call, None, purpose),
        }
    }

    /// Waits for a report in a task of its own. One that ends a call is waited for however long
    /// it takes, since the call's sockets are open until then; the request is not.
    pub(super) fn await_report(
        &self,
        call: CallKey,
        mut answer: oneshot::Receiver<Option<CallReport>>,
        purpose: Purpose,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let patience = self.config.limits.report_timeout.0;
        let finished = self.finished.clone();
        tokio::spawn(async move {
            let report = match tokio::time::timeout(patience, &mut answer).await {
                Ok(report) => Finished::Report { call, report: report.ok().flatten(), purpose },
                Err(_) => {
                    let closes = matches!(purpose, Purpose::Close(_));
                    let _ = finished.send(Finished::Late { call, purpose });
                    if !closes {
                        return;
                    }
                    let report = answer.await.ok().flatten();
                    Finished::Report { call, report, purpose: Purpose::Close(None) }
                }
            };
            // Control is gone only when the process is about to be.
            let _ = finished.send(report);
            drop(place);
        });
    }

    /// `statistics` adds up the workers.
    pub(super) fn ask_workers(&mut self, ticket: Ticket) {
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return self.finish(Finished::Snapshots { ticket, workers: Vec::new() });
        };
        let (workers, patience) = (self.workers.clone(), self.config.limits.report_timeout.0);
        let finished = self.finished.clone();
        tokio::spawn(async move {
            let workers = workers.snapshots(patience).await;
            let _ = finished.send(Finished::Snapshots { ticket, workers });
            drop(place);
        });
    }

    pub(super) fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Report { call, report, purpose } => {
                let closes = matches!(purpose, Purpose::Close(_));
                self.serve(call, report.as_ref(), purpose);
                if closes {
                    self.forget(call, report.as_ref());
                }
            }
            Finished::Late { call, purpose } => {
                tracing::warn!(call = call.0, "its worker did not report in time");
                self.serve(call, None, purpose);
            }
            Finished::Snapshots { ticket, workers } => {
                let statistics = self.statistics(&workers);
                self.reply(ticket, Verb::Statistics, Ok(statistics.dict()));
            }
        }
    }

    fn serve(&mut self, call: CallKey, report: Option<&CallReport>, purpose: Purpose) {
        match purpose {
            Purpose::Reply(want) | Purpose::Close(Some(want)) => {
                let answer = match self.calls.view(call) {
                    Some(view) => Ok(reply::call_statistics(&view, report).dict()),
                    // It ended while its worker was asked.
                    None => Err(words::error("Unknown call-id")),
                };
                self.reply(want.ticket, want.verb, answer);
            }
            Purpose::Inform(asker) => {
                let _ = asker.send(self.detail(call, report));
            }
            Purpose::Close(None) => {}
        }
    }

    /// Answers the read-only listeners. Whoever asked may have stopped waiting.
    pub(super) fn inform(&mut self, inquiry: Inquiry) {
        match inquiry {
            Inquiry::Overview(asker) => {
                let _ = asker.send(Overview {
                    lifecycle: self.lifecycle,
                    calls: self.calls.len(),
                    ledger: self.ledger.clone(),
                    ports: self.calls.ports().usage().collect(),
                });
            }
            Inquiry::Calls { limit, reply } => {
                let calls = self.calls.list(limit).filter_map(|id| {
                    let id = bytes::Bytes::copy_from_slice(id);
                    self.summary(self.call_of(&id)?, &id)
                });
                let _ = reply.send(CallList { total: self.calls.len(), calls: calls.collect() });
            }
            Inquiry::Srtp { whose, reply } => {
                let _ = reply.send(self.srtp_page(&whose));
            }
            Inquiry::Rekey { request, reply } => {
                let _ = reply.send(self.rekey(&request));
            }
            Inquiry::Call { id, reply } => match self.call_of(&id) {
                Some(call) => self.ask_worker(call, Purpose::Inform(reply)),
                None => {
                    let _ = reply.send(None);
                }
            },
        }
    }

    /// The call of this id, while it is up.
    pub(super) fn call_of(&self, id: &bytes::Bytes) -> Option<CallKey> {
        let whole = Query { call_id: id.clone(), from_tag: None, to_tag: None };
        self.calls.query(&whole).ok()
    }

    fn detail(&self, call: CallKey, report: Option<&CallReport>) -> Option<CallView> {
        let view = self.calls.view(call)?;
        let summary = self.summary(call, &view.id)?;
        let media = view.parties.into_iter().flat_map(|party| party.media);
        let media = media.filter(|media| media.bundled_with.is_none());
        let protected = media.filter_map(|media| {
            let protection = Protection { suite: media.suite?, weaknesses: media.weaknesses };
            Some((usize::from(media.stream?.0), protection))
        });
        Some(CallView { summary, report: report.cloned(), protection: protected.collect() })
    }

    fn summary(&self, call: CallKey, id: &[u8]) -> Option<CallSummary> {
        let placement = self.placements.get(&call)?;
        Some(CallSummary {
            call_id: String::from_utf8_lossy(id).into_owned(),
            worker: placement.worker,
            age_seconds: placement.created.elapsed().as_secs_f64(),
        })
    }
}
