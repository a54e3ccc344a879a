//! The certificate's time: one of our own making is shown for `renew_after`, files and tokens are read
//! again when the operator says so. What is new is for new legs; those that are up keep theirs.
//!
//! All of it may block for as long as a file system or a token does, so it runs beside control's
//! thread, and one at a time: two at once would have one serial.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use gateway_control::EventKind;
use tokio::sync::mpsc;

use super::Agents;
use super::certificates::{CertificateError, Shown};
use super::plan::CertificateSerial;
use super::thread::Order;
use crate::events::{Events, Occurrence};
use crate::{control, session};

/// The newest certificate.
pub(super) struct Newest {
    pub(super) shown: Shown,
    since: Instant,
    /// As signalling tells of it.
    pub(super) told: Arc<session::Certificate>,
}

impl Agents {
    /// Renews a certificate of our own making when it is time, for as long as the process lives.
    pub(crate) async fn keep_fresh(self, orders: mpsc::Sender<control::Order>, events: Events) {
        loop {
            tokio::time::sleep(FRESHNESS_LOOK).await;
            let now = Instant::now();
            if !self.is_stale(now) {
                continue;
            }
            let agents = self.clone();
            // A file system or a token that hangs holds up this task and no other.
            let read = tokio::task::spawn_blocking(move || agents.recertify(now)).await;
            // A panic ends the process before it comes here.
            match read.unwrap_or(Ok(false)) {
                Ok(true) => {
                    events.record(renewed(&self.fingerprint().unwrap_or_default()));
                    // Control ends only when the process does.
                    let _ = orders.send(control::Order::Recertify).await;
                }
                Ok(false) => {}
                Err(error) => tracing::error!("{error}; the old certificate stays in force"),
            }
        }
    }

    /// Whether a certificate of our own making has been shown for long enough.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let renew_after = self.config().renew_after.0;
        self.newest().is_some_and(|newest| {
            newest.shown.is_generated()
                && now.saturating_duration_since(newest.since) >= renew_after
        })
    }

    /// Reads the certificate again, or makes another one where that is due. Whether there is a new
    /// one; it is for new legs. Blocks for as long as files and tokens do, and whoever reads it
    /// already.
    pub(super) fn recertify(&self, now: Instant) -> Result<bool, CertificateError> {
        let _alone = self.0.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = self.newest().map(|newest| newest.shown.clone()) else { return Ok(false) };
        let config = self.config().clone();
        if config.certificate.is_none() && old.is_generated() && !self.is_stale(now) {
            return Ok(false);
        }
        let shown = Shown::load(&config, CertificateSerial(old.serial().0 + 1))?;
        if shown.is(&old) {
            return Ok(false);
        }
        self.tell_all(|| Order::Certificate(shown.clone()));
        if let Some(mut newest) = self.newest() {
            *newest = Newest::from(shown);
        }
        Ok(true)
    }
}

impl From<Shown> for Newest {
    fn from(shown: Shown) -> Self {
        let told = Arc::new(shown.told());
        Self { shown, since: Instant::now(), told }
    }
}

fn renewed(fingerprint: &str) -> Occurrence<'_> {
    Occurrence {
        kind: EventKind::WebRtcCertificateRenewed,
        object: "webrtc.certificate",
        from: "",
        to: fingerprint,
        reason: "webrtc.renew_after is over; legs that are up keep theirs",
        owner: "config",
    }
}

/// `renew_after` is an hour at least.
const FRESHNESS_LOOK: Duration = Duration::from_secs(60);
