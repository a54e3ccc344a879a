//! Rotations that nobody asked for: by age and use, after a restart, and when an SA was lost.
//!
//! Once a second every pair is looked at; what is wanted of it is judged from its status alone, so
//! that nothing has to be remembered over a restart but how often it failed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crypto_offload::{Limits, PairName, SaUsage};
use gateway_control::{Event, EventKind, PairStatus, SaStatus};
use ring::digest;
use tokio::sync::watch;

use super::Ipsec;
use super::agent::{News, Notice};
use super::drive::standing;
use super::rotate::{Cause, Want};
use super::tally::Census;
use crate::config::ipsec::Rotate;

/// Looks at every pair, as long as the process lives.
pub(super) struct Schedule {
    pub(super) ipsec: Ipsec,
    pub(super) news: News,
    pub(super) rotate: watch::Receiver<Rotate>,
    pub(super) setbacks: HashMap<PairName, Setback>,
}

/// Rotations that failed in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setback {
    count: u32,
    not_before: Instant,
}

impl Schedule {
    pub(super) async fn run(mut self) {
        let mut pause = BETWEEN_LOOKS;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                notice = self.news.happened.recv() => match notice {
                    Some(Notice::Arrived) => self.ipsec.define_configured().await,
                    Some(Notice::Event(event)) => self.heard(&event),
                    None => return,
                },
            }
            let began = Instant::now();
            self.look().await;
            // Ten thousand pairs must not keep the agent busy with being looked at.
            pause = BETWEEN_LOOKS.max(began.elapsed() * LONGEST_SHARE);
        }
    }

    fn heard(&mut self, event: &Event) {
        self.ipsec.tally().happened(event);
        if let EventKind::SaLost | EventKind::SaRotationDue = event.kind
            && let Ok(name) = PairName::new(event.object.clone())
        {
            // What has changed may be what was in the way.
            self.setbacks.remove(&name);
        }
    }

    async fn look(&mut self) {
        // The agent's absence is told by its connection.
        let Ok(pairs) = self.ipsec.agent().every_pair().await else { return };
        self.ipsec.tally().counted(Census::of(&pairs));
        self.setbacks.retain(|name, _| pairs.iter().any(|status| status.pair.name == *name));
        let (now, rotate) = (Instant::now(), *self.rotate.borrow());
        for status in &pairs {
            let name = &status.pair.name;
            let waits = self.setbacks.get(name).is_some_and(|setback| now < setback.not_before);
            if waits || self.ipsec.slots().is_busy(name) {
                continue;
            }
            if let Some((want, cause)) = judge(status, rotate) {
                self.begin(status, want, &cause, now);
            }
        }
    }

    /// A setback is noted at the start and forgiven by the next status that wants nothing: so a
    /// rotation that fails at once is not begun again at once.
    fn begin(&mut self, status: &PairStatus, want: Want, cause: &Cause, now: Instant) {
        let name = status.pair.name.clone();
        let count = self.setbacks.get(&name).map_or(0, |setback| setback.count);
        let pause = FIRST_PAUSE * 2_u32.pow(count.min(MAX_DOUBLINGS));
        self.setbacks.insert(name.clone(), Setback { count: count + 1, not_before: now + pause });
        let (ipsec, cause) = (self.ipsec.clone(), cause.clone());
        tokio::spawn(async move {
            if let Err(error) = ipsec.rotate(&name, want, &cause, None).await {
                tracing::warn!(pair = %name, "{}: {}: {error}", cause.who, cause.why);
            }
        });
    }
}

/// What is to be done about a pair that nobody is at.
fn judge(status: &PairStatus, rotate: Rotate) -> Option<(Want, Cause)> {
    status.pair.peer.as_ref()?;
    let cause = |who: &str, why: &str| Cause { who: who.to_owned(), why: why.to_owned() };
    if standing(status).unfinished(status.pair.rotation).is_some() {
        return Some((Want::Calm, cause("recovery", "resumed")));
    }
    if rotate == Rotate::Off {
        return None;
    }
    let Some(current) = status.active.and_then(|active| status.epoch(active)) else {
        return Some((Want::Calm, cause("schedule", "no keys yet")));
    };
    let (Some(inbound), Some(outbound)) = (&current.inbound, &current.outbound) else {
        return Some((Want::NewKeys, cause("recovery", "lost")));
    };
    if inbound.resumed || outbound.resumed {
        return Some((Want::NewKeys, cause("recovery", "resumed")));
    }
    let due = [inbound, outbound].into_iter().find_map(|sa| due(status, sa));
    due.map(|why| (Want::NewKeys, cause("schedule", why)))
}

/// Which soft limit an SA is past, less the pair's share of jitter.
fn due(status: &PairStatus, sa: &SaStatus) -> Option<&'static str> {
    let part = earlier(status);
    let Limits { packets, bytes, seconds } = status.pair.lifetimes.soft;
    let SaUsage { packets: used, bytes: carried, age, .. } = sa.usage;
    let past = |limit: Option<u64>, now: f64| {
        limit.is_some_and(|limit| now >= limit as f64 * (1.0 - part))
    };
    if past(seconds, age.as_secs_f64()) {
        return Some("age");
    }
    if past(packets, used as f64) {
        return Some("packets");
    }
    past(bytes, carried as f64).then_some("bytes")
}

/// By what part of a soft limit this epoch is rotated earlier: by chance, but the same each time
/// it is asked, and another at the peer, so that they rarely begin together.
fn earlier(status: &PairStatus) -> f64 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(status.pair.name.as_str().as_bytes());
    context.update(status.pair.local.to_string().as_bytes());
    context.update(&status.active.map_or(0, |epoch| epoch.0).to_be_bytes());
    let hash = context.finish();
    let chance = u16::from_be_bytes(std::array::from_fn(|at| hash.as_ref()[at]));
    f64::from(status.pair.rotation.jitter_percent) / 100.0 * f64::from(chance) / f64::from(u16::MAX)
}

const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Looking takes a tenth of the time at most.
const LONGEST_SHARE: u32 = 9;

/// After a failure; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// 2 s to 256 s.
const MAX_DOUBLINGS: u32 = 7;
