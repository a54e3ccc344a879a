//! What listeners may see of calls: asks control and the workers. All that it changes are keys of SRTP
//! legs: a step to the next that a party knows, or a mark that waits for signalling.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_control::{
    API_VERSION, CallDetail, CallList, CallSummary, Flow, InterfaceStatus, Lifecycle,
    ResidenceSummary, SrtpList, SrtpRekeyReport, SrtpRekeyRequest, Status, StreamDetail,
    WorkerStatus,
};
use srtp::Weaknesses;
use tokio::sync::{mpsc, oneshot, watch};

use crate::control::srtp::{SrtpPage, Whose};
use crate::events::Events;
use crate::ipsec::Ipsec;
use crate::metrics::Figures;
use crate::metrics::ledger::Ledger;
use crate::ports::PortUsage;
use crate::relay::command::{CallReport, Counters, Residence, StreamReport, WorkerSnapshot};
use crate::relay::drop_reason::DropReason;
use crate::tls::Tls;
use crate::weakness;
use crate::webrtc::Agents;
use crate::workers::Workers;

/// A question to control.
pub(crate) enum Inquiry {
    /// How it is going.
    Overview(oneshot::Sender<Overview>),
    /// Up to so many calls.
    Calls { limit: usize, reply: oneshot::Sender<CallList> },
    /// One call and what it did, by call-id.
    Call { id: Bytes, reply: oneshot::Sender<Option<CallView>> },
    /// SRTP legs.
    Srtp { whose: Whose, reply: oneshot::Sender<Option<SrtpPage>> },
    /// New keys for some of them: a step to the next by MKI, or a mark.
    Rekey { request: SrtpRekeyRequest, reply: oneshot::Sender<Option<SrtpRekeyReport>> },
}

/// Control's own numbers.
pub(crate) struct Overview {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) calls: usize,
    pub(crate) ledger: Ledger,
    pub(crate) ports: Vec<PortUsage>,
}

/// A call, and its worker's report if that came in time.
#[derive(Debug)]
pub(crate) struct CallView {
    pub(crate) summary: CallSummary,
    pub(crate) report: Option<CallReport>,
    /// How the streams that are SRTP are protected, by index.
    pub(crate) protection: HashMap<usize, Protection>,
}

/// What was agreed for a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protection {
    pub(crate) suite: &'static str,
    pub(crate) weaknesses: Weaknesses,
}

/// Control did not answer in time, or is on its way out.
#[derive(Debug, thiserror::Error)]
#[error("control does not answer")]
pub(crate) struct Unavailable;

/// A listener's window on the rest; clones share it.
#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) inquiries: mpsc::Sender<Inquiry>,
    pub(crate) workers: Workers,
    pub(crate) events: Events,
    pub(crate) started: Instant,
    pub(crate) ng: SocketAddr,
    pub(crate) http: Option<SocketAddr>,
    /// How long anybody may take to answer; a reload changes it.
    pub(crate) patience: watch::Receiver<Duration>,
    pub(crate) ipsec: Ipsec,
    pub(crate) tls: Tls,
    pub(crate) agents: Agents,
}

impl Observer {
    /// The numbers behind `/metrics`.
    pub(crate) async fn figures(&self) -> Result<Figures, Unavailable> {
        let overview = self.ask(Inquiry::Overview).await?;
        Ok(Figures {
            uptime: self.started.elapsed(),
            draining: overview.lifecycle == Lifecycle::Draining,
            calls: overview.calls,
            ledger: overview.ledger,
            ports: overview.ports,
            workers: self.workers.snapshots(self.patience()).await,
            ipsec: self.ipsec.figures().await,
            tls: self.tls.figures().await,
            agents: self.agents.figures(self.patience()).await,
        })
    }

    /// Whether calls are taken.
    pub(crate) async fn lifecycle(&self) -> Result<Lifecycle, Unavailable> {
        Ok(self.ask(Inquiry::Overview).await?.lifecycle)
    }

    /// The gateway as a whole.
    pub(crate) async fn status(&self) -> Result<Status, Unavailable> {
        let overview = self.ask(Inquiry::Overview).await?;
        let snapshots = self.workers.snapshots(self.patience()).await;
        let links = self.workers.links().iter().enumerate();
        let workers = links.zip(snapshots).map(|((worker, link), snapshot)| WorkerStatus {
            worker,
            driver: link.driver.to_owned(),
            reason: link.reason.clone(),
            stalled: link.is_stalled(),
            ..worker_status(snapshot.as_ref())
        });
        Ok(Status {
            api_version: API_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            lifecycle: overview.lifecycle,
            calls: overview.calls,
            ng: self.ng,
            http: self.http,
            workers: workers.collect(),
            interfaces: overview.ports.into_iter().map(interface_status).collect(),
            problems: [self.tls.problems().await, self.agents.problems(self.patience()).await]
                .concat(),
        })
    }

    /// Up to `limit` calls.
    pub(crate) async fn calls(&self, limit: usize) -> Result<CallList, Unavailable> {
        self.ask(|reply| Inquiry::Calls { limit, reply }).await
    }

    /// One call; `None` if there is none of this id.
    pub(crate) async fn call(&self, id: Bytes) -> Result<Option<CallDetail>, Unavailable> {
        let view = self.ask(|reply| Inquiry::Call { id, reply }).await?;
        Ok(view.map(|CallView { summary, report, protection }| {
            let streams = report.iter().flat_map(|report| &report.streams).enumerate();
            let detail = |(at, stream)| stream_detail(stream, protection.get(&at));
            CallDetail { summary, streams: streams.map(detail).collect() }
        }))
    }

    /// SRTP legs; `None` if there is no such call.
    pub(crate) async fn srtp(&self, whose: Whose) -> Result<Option<SrtpList>, Unavailable> {
        let page = self.ask(|reply| Inquiry::Srtp { whose, reply }).await?;
        let Some(SrtpPage { calls, next }) = page else { return Ok(None) };
        let deadline = tokio::time::Instant::now() + self.patience();
        let mut legs = Vec::new();
        for mut call in calls {
            let report = match call.report.take() {
                Some(report) => tokio::time::timeout_at(deadline, report).await.ok(),
                None => None,
            };
            legs.extend(call.legs(report.and_then(Result::ok).flatten().as_ref()));
        }
        Ok(Some(SrtpList { legs, next }))
    }

    /// Brings SRTP legs new keys, or marks them for some; `None` if there is no such call.
    pub(crate) async fn rekey(
        &self,
        request: SrtpRekeyRequest,
    ) -> Result<Option<SrtpRekeyReport>, Unavailable> {
        self.ask(|reply| Inquiry::Rekey { request, reply }).await
    }

    fn patience(&self) -> Duration {
        *self.patience.borrow()
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Inquiry,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.inquiries.send(question(reply)).await.map_err(|_| Unavailable)?;
            answer.await.map_err(|_| Unavailable)
        };
        // Twice, since control may itself wait that long for a worker.
        tokio::time::timeout(self.patience() * 2, exchange).await.unwrap_or(Err(Unavailable))
    }
}

/// Numbers only; zeroes for a worker that did not answer.
fn worker_status(snapshot: Option<&WorkerSnapshot>) -> WorkerStatus {
    let read = |of: fn(&WorkerSnapshot) -> u64| snapshot.map_or(0, of);
    WorkerStatus {
        worker: 0,
        driver: String::new(),
        reason: String::new(),
        stalled: false,
        calls: read(|s| s.calls as u64) as usize,
        streams: read(|s| s.streams as u64) as usize,
        packets_in: read(|s| s.packets_in),
        packets_out: read(|s| s.packets_out),
        dropped: read(|s| s.drops.iter().sum()),
    }
}

fn interface_status(usage: PortUsage) -> InterfaceStatus {
    InterfaceStatus {
        name: usage.interface,
        address: usage.bind,
        advertised: usage.advertised,
        ports: usage.total,
        ports_used: usage.used,
    }
}

fn stream_detail(report: &StreamReport, protection: Option<&Protection>) -> StreamDetail {
    let drops = DropReason::ALL.into_iter().zip(report.drops).filter(|(_, count)| *count > 0);
    StreamDetail {
        local_rtp: report.local_rtp,
        local_rtcp: report.local_rtcp,
        remote_rtp: report.remote_rtp,
        remote_rtcp: report.remote_rtcp,
        suite: protection.map(|protection| protection.suite.to_owned()),
        weaknesses: protection
            .into_iter()
            .flat_map(|protection| weakness::of(protection.weaknesses))
            .map(|weakness| weakness::name(weakness).to_owned())
            .collect(),
        confirmed: report.confirmed,
        rtp_in: flow(report.rtp_in),
        rtp_out: flow(report.rtp_out),
        rtcp_in: flow(report.rtcp_in),
        rtcp_out: flow(report.rtcp_out),
        drops: drops.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
        residence: residence(report.residence),
    }
}

fn flow(counters: Counters) -> Flow {
    Flow { packets: counters.packets, bytes: counters.bytes, errors: counters.errors }
}

fn residence(residence: Residence) -> ResidenceSummary {
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    ResidenceSummary {
        count: residence.count,
        p50_seconds: seconds(residence.p50_ns),
        p99_seconds: seconds(residence.p99_ns),
        p999_seconds: seconds(residence.p999_ns),
        max_seconds: seconds(residence.max_ns),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_reload_changes_how_long_control_may_take_to_answer() {
        let (inquiries, _never_read) = mpsc::channel(1);
        let (patience, patience_now) = watch::channel(Duration::from_secs(3600));
        let observer = Observer {
            inquiries,
            workers: crate::workers::idle(1).0,
            events: Events::new(),
            started: Instant::now(),
            ng: (Ipv4Addr::LOCALHOST, 2223).into(),
            http: None,
            patience: patience_now,
            ipsec: Ipsec::none(),
            tls: Tls::none(),
            agents: Agents::none(),
        };
        patience.send_replace(Duration::from_millis(10));
        let asked = tokio::time::timeout(Duration::from_secs(10), observer.status()).await;
        assert!(asked.unwrap().is_err());
    }
}
