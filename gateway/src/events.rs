//! What happened: numbered, kept for a while, told to whoever follows, and logged.
//!
//! Events are rare by nature (fallbacks, reloads, stalls), so a mutex is fine; nothing on a
//! worker records one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use gateway_control::{Event, EventKind};
use tokio::sync::broadcast;
use tracing::Level;

/// The process's events; clones share them.
#[derive(Clone)]
pub(crate) struct Events {
    recent: Arc<Mutex<Recent>>,
    followers: broadcast::Sender<Event>,
}

struct Recent {
    next: u64,
    events: VecDeque<Event>,
}

/// What is to be told; number and time are added.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence<'a> {
    pub(crate) kind: EventKind,
    pub(crate) object: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) owner: &'a str,
}

impl Events {
    pub(crate) fn new() -> Self {
        let recent = Recent { next: 1, events: VecDeque::with_capacity(KEPT) };
        Self { recent: Arc::new(Mutex::new(recent)), followers: broadcast::Sender::new(KEPT) }
    }

    /// Records, tells and logs.
    pub(crate) fn record(&self, occurrence: Occurrence<'_>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event {
            seq: recent.next,
            time: unix_milliseconds(),
            kind: occurrence.kind,
            object: occurrence.object.to_owned(),
            from: occurrence.from.to_owned(),
            to: occurrence.to.to_owned(),
            reason: occurrence.reason.to_owned(),
            owner: occurrence.owner.to_owned(),
        };
        recent.next += 1;
        if recent.events.len() == KEPT {
            recent.events.pop_front();
        }
        recent.events.push_back(event.clone());
        log(&event);
        // Sent under the lock, so that followers see the numbers in order; nobody following is
        // no error.
        let _ = self.followers.send(event);
    }

    /// What is kept and has a higher number than `after`, oldest first.
    pub(crate) fn after(&self, after: u64) -> Vec<Event> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.events.iter().filter(|event| event.seq > after).cloned().collect()
    }

    /// What happens from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Event> {
        self.followers.subscribe()
    }
}

fn log(event: &Event) {
    // A level is part of what tracing compiles for each place that logs.
    macro_rules! log_at {
        ($level:expr) => {
            tracing::event!(
                target: "gateway::event", $level,
                seq = event.seq, kind = event.kind.name(), object = event.object,
                from = event.from, to = event.to, reason = event.reason, owner = event.owner,
            )
        };
    }
    match event.kind {
        EventKind::LimitReached
        | EventKind::SrtpWeakened
        | EventKind::WorkerStalled
        | EventKind::PlacementFallback
        | EventKind::TlsReloadFailed
        | EventKind::TlsCertificateExpiring
        | EventKind::TlsUpstreamDown
        | EventKind::AdminRefused => {
            log_at!(Level::WARN);
        }
        _ => log_at!(Level::INFO),
    }
}

fn unix_milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// Enough for a day of trouble; a longer memory is the log's.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(reason: &str) -> Occurrence<'_> {
        Occurrence {
            kind: EventKind::ConfigReloaded,
            object: "gateway.toml",
            from: "",
            to: "",
            reason,
            owner: "operator",
        }
    }

    #[test]
    fn events_are_numbered_without_gaps_and_the_oldest_go_first() {
        let events = Events::new();
        for _ in 0..KEPT + 3 {
            events.record(occurrence("SIGHUP"));
        }
        let kept = events.after(0);
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[0].seq, 4);
        assert!(kept.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
        assert_eq!(events.after(KEPT as u64 + 2).len(), 1);
    }

    #[tokio::test]
    async fn a_follower_hears_what_happens_after_it_asked() {
        let events = Events::new();
        events.record(occurrence("before"));
        let mut follower = events.follow();
        events.record(occurrence("after"));
        assert_eq!(follower.recv().await.unwrap().reason, "after");
    }

    #[test]
    fn a_kind_is_named_alike_in_json_and_in_the_log() {
        let kinds = [
            EventKind::PlacementFallback,
            EventKind::SrtpRekeyDue,
            EventKind::SrtpWeakened,
            EventKind::TlsKeyUpdate,
            EventKind::TlsReloaded,
            EventKind::TlsReloadFailed,
            EventKind::TlsTicketsRotated,
            EventKind::TlsCertificateExpiring,
            EventKind::TlsUpstreamDown,
            EventKind::TlsUpstreamUp,
            EventKind::WebRtcLegFailed,
            EventKind::WebRtcCertificateRenewed,
            EventKind::LimitReached,
            EventKind::WorkerStalled,
            EventKind::WorkerRecovered,
            EventKind::ConfigReloaded,
            EventKind::ConfigRefused,
            EventKind::AdminRefused,
            EventKind::DrainStarted,
        ];
        for kind in kinds {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
