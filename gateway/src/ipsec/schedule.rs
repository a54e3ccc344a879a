//! Rotations that nobody asked for: by age and use, after a restart, and when an SA was lost.
//!
//! Once a second every pair is looked at. What it lacks is judged from its status alone, and is
//! urgent; when the others are due, who goes first and how many may begin at once is decided by
//! `crypto_offload::schedule`. Nothing is remembered over a restart: the counters are the agent's.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use crypto_offload::schedule::{self, Reason};
use crypto_offload::{Epoch, PairName, SaUsage};
use gateway_control::{Event, EventKind, PairStatus};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, watch};

use super::Ipsec;
use super::agent::{News, Notice};
use super::audience::{Audience, Turn, Word};
use super::drive::standing;
use super::rotate::{Cause, Want};
use crate::config::ipsec::Rotate;

/// Looks at every pair, as long as the process lives.
pub(super) struct Schedule {
    ipsec: Ipsec,
    news: News,
    rotate: watch::Receiver<Rotate>,
    due: schedule::Schedule,
    /// As of the last look.
    known: HashMap<PairName, Known>,
    /// The epoch of which an engine has said that it is past a soft limit.
    passed: HashMap<PairName, Epoch>,
    told: (mpsc::UnboundedSender<Word>, mpsc::UnboundedReceiver<Word>),
}

/// A pair that has a peer.
struct Known {
    active: Option<Epoch>,
    /// What it lacks.
    lacks: Option<(Want, Cause)>,
}

impl Schedule {
    pub(super) fn new(ipsec: Ipsec, news: News, rotate: watch::Receiver<Rotate>) -> Self {
        Self {
            ipsec,
            news,
            rotate,
            due: schedule::Schedule::new(seed(), AT_ONCE),
            known: HashMap::new(),
            passed: HashMap::new(),
            told: mpsc::unbounded_channel(),
        }
    }

    pub(super) async fn run(mut self) {
        let (mut looked, mut took, mut pause) = (Instant::now(), Duration::ZERO, Duration::ZERO);
        loop {
            let next = self.wake(looked + pause);
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                notice = self.news.happened.recv() => {
                    let Some(notice) = notice else { return };
                    self.heard(notice).await;
                    // However many events come: every second of looking is followed by another.
                    pause = pause.min(took);
                }
                Some(word) = self.told.1.recv() => self.take_in(word),
            }
            while let Ok(notice) = self.news.happened.try_recv() {
                self.heard(notice).await;
            }
            if Instant::now() >= looked + pause {
                let began = Instant::now();
                self.look().await;
                (looked, took) = (Instant::now(), began.elapsed());
                pause = (took * LONGEST_SHARE).clamp(BETWEEN_LOOKS, RARELY);
            }
            while let Ok(word) = self.told.1.try_recv() {
                self.take_in(word);
            }
            self.begin_due(Instant::now());
        }
    }

    /// The next look, or a pair that is due before.
    fn wake(&self, look: Instant) -> Instant {
        let now = Instant::now();
        // What has been due and was not begun may not be now.
        let due = self.due.wake().filter(|due| *due > now);
        due.map_or(look, |due| due.min(look))
    }

    async fn heard(&mut self, notice: Notice) {
        match notice {
            Notice::Arrived => {
                self.ipsec.define_configured().await;
                // Whatever failed may have failed for want of an agent.
                self.known.keys().for_each(|name| self.due.forgive(name));
            }
            Notice::Event(event) => self.happened(&event),
        }
    }

    fn happened(&mut self, event: &Event) {
        self.ipsec.tally().happened(event);
        let (EventKind::SaLost | EventKind::SaRotationDue) = event.kind else { return };
        let Ok(name) = PairName::new(event.object.clone()) else { return };
        // What has changed may be what was in the way.
        self.due.forgive(&name);
        if event.kind == EventKind::SaRotationDue
            && let Some(epoch) = epoch_of(event)
        {
            self.passed.insert(name, epoch);
        }
    }

    fn take_in(&mut self, word: Word) {
        match word {
            Word::Lingers(name) => self.due.lingers(&name),
            Word::Ended(name, how) => self.due.ended(&name, how, Instant::now()),
        }
    }

    async fn look(&mut self) {
        // The agent's absence is told by its connection.
        let Ok(pairs) = self.ipsec.agent().every_pair().await else { return };
        self.ipsec.tally().counted(&pairs);
        let rotate = *self.rotate.borrow();
        self.known.clear();
        for status in &pairs {
            match status.pair.peer {
                Some(_) => self.look_at(status, rotate),
                // Those whose keys come by hand are their people's to rotate.
                None => self.ipsec.end_carried(status),
            }
        }
        self.due.retain(|name| self.known.contains_key(name));
        self.passed.retain(|name, passed| {
            self.known.get(name).is_some_and(|known| known.active.is_none_or(|now| now <= *passed))
        });
    }

    fn look_at(&mut self, status: &PairStatus, rotate: Rotate) {
        let (name, now) = (&status.pair.name, Instant::now());
        let mut known = Known { active: status.active, lacks: None };
        if !self.ipsec.slots().is_busy(name) {
            if let Some(epoch) = status.active {
                self.due.read(&status.pair, epoch, &usage(status, epoch), now);
            }
            known.lacks = lacks(status, rotate, self.passed.get(name).copied());
            if known.lacks.is_some() {
                self.due.hurry(name, now);
            }
        }
        self.known.insert(name.clone(), known);
    }

    fn begin_due(&mut self, now: Instant) {
        let by_itself = *self.rotate.borrow() == Rotate::Auto;
        loop {
            let taken = self.due.take(now, |name| {
                let known = self.known.get(name);
                let wanted = known.is_some_and(|known| by_itself || known.lacks.is_some());
                wanted && !self.ipsec.slots().is_busy(name)
            });
            let Some((name, reason)) = taken else { return };
            match self.wanted(&name, reason) {
                Some((want, cause)) => self.begin(name, want, cause),
                // It was urgent when it was looked at before.
                None => self.due.ended(&name, schedule::Ended::Done, now),
            }
        }
    }

    fn wanted(&self, name: &PairName, reason: Reason) -> Option<(Want, Cause)> {
        let known = self.known.get(name)?;
        if reason == Reason::Urgent || known.lacks.is_some() {
            return known.lacks.clone();
        }
        Some((Want::Newer(known.active?), cause("schedule", reason.name())))
    }

    fn begin(&self, name: PairName, want: Want, cause: Cause) {
        let (ipsec, turn) = (self.ipsec.clone(), Turn::new(name.clone(), self.told.0.clone()));
        tokio::spawn(async move {
            match ipsec.rotate(&name, want, &cause, Audience::Schedule(&turn)).await {
                Ok(_) => turn.succeeded(),
                Err(error) => tracing::warn!(pair = %name, "{}: {}: {error}", cause.who, cause.why),
            }
        });
    }
}

/// What a pair that nobody is at is in need of. `passed`: the epoch that an engine has said to be
/// past a soft limit.
fn lacks(status: &PairStatus, rotate: Rotate, passed: Option<Epoch>) -> Option<(Want, Cause)> {
    if standing(status).unfinished(status.pair.rotation).is_some() {
        return Some((Want::Calm, cause("recovery", "resumed")));
    }
    if rotate == Rotate::Off {
        return None;
    }
    let Some((active, current)) =
        status.active.and_then(|epoch| Some((epoch, status.epoch(epoch)?)))
    else {
        return Some((Want::Calm, cause("schedule", "no keys yet")));
    };
    let newer = |who, why| Some((Want::Newer(active), cause(who, why)));
    let (Some(inbound), Some(outbound)) = (&current.inbound, &current.outbound) else {
        return newer("recovery", "lost");
    };
    if inbound.resumed || outbound.resumed {
        return newer("recovery", "resumed");
    }
    match passed == Some(active) {
        true => newer("schedule", "soft limit"),
        false => None,
    }
}

fn usage(status: &PairStatus, epoch: Epoch) -> Vec<SaUsage> {
    let sas = status.epoch(epoch).map(|epoch| [&epoch.inbound, &epoch.outbound]);
    sas.into_iter().flatten().flatten().map(|sa| sa.usage).collect()
}

/// Which one an event of an SA is about: `epoch 7 …`.
fn epoch_of(event: &Event) -> Option<Epoch> {
    let rest = event.from.strip_prefix("epoch ")?;
    rest.split(' ').next()?.parse().ok().map(Epoch)
}

fn cause(who: &str, why: &str) -> Cause {
    Cause { who: who.to_owned(), why: why.to_owned() }
}

/// Without random numbers nothing else would work either; pairs would only rotate together more.
fn seed() -> u64 {
    let mut seed = [0; 8];
    let _ = SystemRandom::new().fill(&mut seed);
    u64::from_ne_bytes(seed)
}

const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Looking takes a tenth of the time at most: ten thousand pairs must not keep the agent busy.
const LONGEST_SHARE: u32 = 9;

/// But it is done: a rate of packets is as old as the last look.
const RARELY: Duration = Duration::from_secs(5);

/// Rotations that may be at their first steps: twice as many as may ask peers at once.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_the_epoch_that_it_is_about() {
        let event = |from: &str| Event {
            seq: 1,
            time: 0,
            kind: EventKind::SaRotationDue,
            object: "trunk-1".to_owned(),
            from: from.to_owned(),
            to: String::new(),
            reason: String::new(),
            owner: "kernel".to_owned(),
        };
        assert_eq!(epoch_of(&event("epoch 12 inbound SPI 0xc0000001")), Some(Epoch(12)));
        assert_eq!(epoch_of(&event("epoch 12")), Some(Epoch(12)));
        assert_eq!(epoch_of(&event("up")), None);
    }
}
