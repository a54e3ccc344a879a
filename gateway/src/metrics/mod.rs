//! The `/metrics` page: [`ours`] under `postern_`, and the [`incumbent`]'s names beside them for
//! the dashboards that people already have. Everything is read at scrape time from
//! [`Figures`]; a worker is asked once a scrape and never locks.

mod histogram;
mod incumbent;
mod ipsec;
pub(crate) mod ledger;
mod ours;
mod text;
mod tls;
mod webrtc;

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::ipsec::tally;
use crate::ports::PortUsage;
use crate::relay::command::WorkerSnapshot;
use crate::tls::figures::Figures as Tls;
use crate::webrtc::figures::Figures as AgentFigures;
use crate::workers::Snapshots;
use ledger::Ledger;

/// What a page is made of.
pub(crate) struct Figures {
    pub(crate) uptime: Duration,
    pub(crate) draining: bool,
    /// Calls up now.
    pub(crate) calls: usize,
    pub(crate) ledger: Ledger,
    pub(crate) ports: Vec<PortUsage>,
    pub(crate) workers: Snapshots,
    pub(crate) ipsec: tally::Figures,
    /// `None` without listeners.
    pub(crate) tls: Option<Tls>,
    /// Of each agents' thread; `None` for one that did not answer.
    pub(crate) agents: Vec<Option<AgentFigures>>,
}

impl Figures {
    /// Workers that answered.
    fn snapshots(&self) -> impl Iterator<Item = &WorkerSnapshot> + Clone {
        self.workers.iter().flatten()
    }

    /// A sum over workers.
    fn total(&self, of: impl Fn(&WorkerSnapshot) -> u64) -> u64 {
        self.snapshots().map(of).sum()
    }

    /// Residence times of all workers together, nanoseconds.
    fn residence(&self) -> Option<Histogram<u64>> {
        let mut snapshots = self.snapshots();
        let mut sum = snapshots.next()?.residence.clone();
        for snapshot in snapshots {
            // Fails only if a worker's histogram had wider bounds; all workers make theirs alike.
            let _ = sum.add(&snapshot.residence);
        }
        Some(sum)
    }
}

/// The whole page.
pub(crate) fn page(figures: &Figures) -> String {
    let mut page = text::Page::default();
    ours::write(figures, &mut page);
    ipsec::write(&figures.ipsec, &mut page);
    if let Some(figures) = &figures.tls {
        tls::write(figures, &mut page);
    }
    webrtc::write(&figures.agents, &mut page);
    incumbent::write(figures, &mut page);
    page.finish()
}

/// The media type of [`page`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::relay::drop_reason::DropReason;

    fn snapshot(worker: usize) -> WorkerSnapshot {
        let mut residence = Histogram::new(3).unwrap();
        residence.record_n(20_000, 99).unwrap();
        residence.record(3_000_000).unwrap();
        let mut drops = [0; DropReason::COUNT];
        drops[DropReason::Replayed as usize] = 5;
        WorkerSnapshot {
            worker,
            driver: "epoll",
            calls: 2,
            streams: 4,
            packets_in: 100,
            bytes_in: 17_200,
            packets_out: 95,
            bytes_out: 17_290,
            drops,
            residence,
            clock_steps: 0,
            wakeups: 7,
            agent: crate::relay::command::AgentCounts::default(),
        }
    }

    fn figures() -> Figures {
        let mut ledger = Ledger::default();
        ledger.request([127, 0, 0, 1].into(), ledger::Verb::Offer, Duration::from_micros(50));
        ledger.ended(ledger::Ending::Terminated);
        Figures {
            uptime: Duration::from_secs(9),
            draining: false,
            calls: 4,
            ledger,
            ports: vec![PortUsage {
                interface: "default".to_owned(),
                bind: [127, 0, 0, 1].into(),
                advertised: [127, 0, 0, 1].into(),
                total: 10_000,
                used: 16,
            }],
            workers: vec![Some(snapshot(0)), None, Some(snapshot(2))],
            ipsec: tally::Figures::default(),
            tls: None,
            agents: vec![None, Some(AgentFigures::default())],
        }
    }

    /// A page with these listeners.
    pub(crate) fn page_of(tls: Option<Tls>) -> String {
        page(&Figures { tls, ..figures() })
    }

    #[test]
    fn each_family_is_declared_once_and_before_its_samples() {
        assert_declared(&page(&figures()));
    }

    /// Each family once, before its samples.
    pub(crate) fn assert_declared(page: &str) {
        let mut declared = HashSet::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(declared.insert(rest.split(' ').next().unwrap()), "{line} twice");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| name.strip_suffix(suffix))
                    .filter(|base| declared.contains(base));
                assert!(base.is_some() || declared.contains(name), "{line} undeclared");
            }
        }
    }

    #[test]
    fn residence_is_summed_over_workers_and_its_buckets_are_cumulative() {
        let page = page(&figures());
        let value = |start: &str| -> f64 {
            let line = page.lines().find(|line| line.starts_with(start)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!((value("postern_residence_p50_seconds ") - 20e-6).abs() < 1e-6);
        assert!((value("postern_residence_max_seconds ") - 3e-3).abs() < 1e-5);
        assert_eq!(value("postern_residence_seconds_bucket{worker=\"0\",le=\"0.00001\"}"), 0.0);
        assert_eq!(value("postern_residence_seconds_bucket{worker=\"0\",le=\"0.000025\"}"), 99.0);
        assert_eq!(value("postern_residence_seconds_bucket{worker=\"0\",le=\"+Inf\"}"), 100.0);
        assert_eq!(value("postern_residence_seconds_count{worker=\"2\"}"), 100.0);
    }

    #[test]
    fn every_drop_reason_has_its_counter_and_a_silent_worker_is_told() {
        let page = page(&figures());
        for reason in DropReason::ALL {
            let name = reason.name();
            assert!(page.contains(&format!(
                "postern_dropped_packets_total{{worker=\"0\",reason=\"{name}\"}}"
            )));
        }
        assert!(page.contains("postern_worker_stalled{worker=\"1\"} 1"));
    }

    #[test]
    fn the_incumbents_names_are_there_for_dashboards() {
        let page = page(&figures());
        for line in [
            "rtpengine_sessions{type=\"own\"} 4",
            "rtpengine_closed_sessions_total{reason=\"terminated\"} 1",
            "rtpengine_mediastreams{type=\"userspace\"} 8",
            "rtpengine_packets_total{type=\"userspace\"} 190",
            "rtpengine_ports_free{name=\"default\",address=\"127.0.0.1\"} 9984",
            "rtpengine_requests_total{proxy=\"127.0.0.1\",request=\"offer\"} 1",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}
