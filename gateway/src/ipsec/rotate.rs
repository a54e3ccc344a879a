//! Rotations that we want: of one pair, of several as an operation of the admin API, with what
//! becomes of them told in the log, in an event and in the numbers.

use std::time::{Duration, Instant};

use crypto_offload::rotation::{FirstKeys, Outcome, Start, steps};
use crypto_offload::{Epoch, PairName};
use gateway_control::{
    ErrorCode, EventKind, PairRotationPlan, PairSelection, PairStatus, PlannedStep, RotationPlan,
    RotationRecord, path,
};

use super::Ipsec;
use super::audience::Audience;
use super::drive::{Carried, Drive, Kind, spis, standing, start};
use super::operations::Progress;
use super::peers::Peer;
use super::reply::Refusal;
use super::slots::{Busy, Lease, UnderWay};
use super::tally::Ended;
use crate::events::Occurrence;

/// Who wants a rotation, and why: as the log says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    /// `operator NAME`, `schedule`, `recovery`
    pub(crate) who: String,
    /// `asked`, `age`, `packets`, `bytes`, `resumed`, `link down`
    pub(crate) why: String,
}

/// What is wanted of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Keys that are newer than now.
    NewKeys,
    /// Keys that are newer than this epoch, and nothing where there are: what was looked at may
    /// have changed since.
    Newer(Epoch),
    /// An end of what was left half-way, and nothing where nothing was.
    Calm,
}

impl Want {
    fn is_open(self, status: &PairStatus) -> bool {
        match self {
            Self::NewKeys => true,
            Self::Newer(epoch) => status.active.is_none_or(|active| active <= epoch),
            Self::Calm => {
                let unfinished = standing(status).unfinished(status.pair.rotation);
                unfinished.is_some() || status.epochs.is_empty()
            }
        }
    }
}

/// Whose turn it is.
enum Turn {
    Ours {
        lease: Lease,
        known: Option<Epoch>,
    },
    /// The peer is making new keys.
    Peers {
        known: Option<Epoch>,
    },
    /// Somebody else here is.
    Anothers,
}

/// How one attempt ended.
enum Attempt {
    Rotated(RotationRecord),
    /// What was half-way is finished.
    Finished(RotationRecord),
    /// Begin again above this epoch.
    Again(Epoch),
    /// The peer drives one to newer keys than those that are known.
    Peers {
        known: Option<Epoch>,
    },
    Calm,
}

impl Ipsec {
    /// Rotates one pair, or ends what was left of a rotation.
    ///
    /// # Errors
    /// Why not, and what stands now.
    pub(crate) async fn rotate(
        &self,
        name: &PairName,
        want: Want,
        cause: &Cause,
        audience: Audience<'_>,
    ) -> Result<Option<RotationRecord>, String> {
        let (mut above, mut finished) = (Epoch(0), None);
        for _ in 0..ATTEMPTS {
            match self.attempt(name, want, above, cause, audience).await? {
                Attempt::Rotated(record) => return Ok(Some(record)),
                Attempt::Finished(record) if want == Want::Calm => return Ok(Some(record)),
                Attempt::Finished(record) => finished = Some(record),
                Attempt::Again(highest) => above = highest,
                Attempt::Calm => return Ok(finished),
                Attempt::Peers { known } => {
                    if let Some(record) = self.peers_rotation(name, known, audience).await? {
                        return Ok(Some(record));
                    }
                }
            }
        }
        Err("gateway and peer do not agree on whose rotation it is; ask again".to_owned())
    }

    async fn attempt(
        &self,
        name: &PairName,
        want: Want,
        above: Epoch,
        cause: &Cause,
        audience: Audience<'_>,
    ) -> Result<Attempt, String> {
        let (mut lease, known) = match self.turn(name, want, audience).await? {
            Turn::Ours { lease, known } => (lease, known),
            Turn::Peers { known } => return Ok(Attempt::Peers { known }),
            Turn::Anothers => return Ok(Attempt::Calm),
        };
        let mut arrivals = self.agent().arrivals();
        let status = self.agent().show(name).await.map_err(|error| error.to_string())?;
        if !want.is_open(&status) {
            return Ok(Attempt::Calm);
        }
        let above = if self.slots().is_stuck(name) { above.max(status.highest) } else { above };
        let (start, kind) = start(&status, above);
        let peer = self.peer_of(&status)?;
        let began = Instant::now();
        let mut drive = Drive {
            ipsec: self,
            pair: &status.pair,
            peer: &peer,
            start: start.clone(),
            kind,
            audience,
            carried: Carried::default(),
        };
        let outcome = drive.run(&mut lease, &mut arrivals).await;
        self.slots().ended(name, outcome);
        match outcome {
            Outcome::Rotated { epoch } => {
                let record = self.rotated(&drive, &status, epoch, cause, began)?;
                Ok(match kind {
                    Kind::New => Attempt::Rotated(record),
                    Kind::Resumed => Attempt::Finished(record),
                })
            }
            Outcome::Yielded => Ok(Attempt::Peers { known }),
            // What there is of it stays until the next one retires it: the peer may have taken an
            // earlier copy of this offer, and be sending under it.
            Outcome::Stale { highest } => Ok(Attempt::Again(highest.max(start.epoch))),
            Outcome::Undone { .. } | Outcome::Halfway { .. } | Outcome::Exported { .. } => {
                let text = stands(&drive.carried, &start, outcome);
                self.failed(name, &start, &text, cause, began, &lease);
                Err(text)
            }
        }
    }

    /// Whose turn it is to rotate the pair. Where somebody wants keys that are newer than those of
    /// a rotation under way, he waits for its end; one may, as two would get the same.
    async fn turn(
        &self,
        name: &PairName,
        want: Want,
        audience: Audience<'_>,
    ) -> Result<Turn, String> {
        let mut place = None;
        loop {
            // Before anybody is asked whether he is at it: what is over is in the log by then.
            let known = self.log().newest_of(name).map(|record| record.to);
            let under_way = match self.slots().lease(name) {
                Ok(lease) => return Ok(Turn::Ours { lease, known }),
                Err(Busy::Own(under_way)) if want == Want::NewKeys => under_way,
                Err(Busy::Own(_)) => return Ok(Turn::Anothers),
                Err(Busy::Peer(under_way)) => {
                    let makes_newer =
                        want != Want::NewKeys || !self.is_in_use(name, &under_way).await;
                    if makes_newer {
                        return Ok(Turn::Peers { known });
                    }
                    under_way
                }
                Err(busy @ Busy::ByHand) => return Err(busy_text(&busy).to_owned()),
            };
            if place.is_none() {
                place = self.slots().queue(name);
            }
            if place.is_none() {
                return Err("a rotation waits already for the one that is under way".to_owned());
            }
            let epoch =
                under_way.epoch.map_or_else(String::new, |epoch| format!(" of epoch {epoch}"));
            audience.step(name, &format!("waiting for the rotation{epoch} to end"));
            under_way.end().await;
        }
    }

    /// Whether what the peer's rotation makes was in use here before it was asked about.
    async fn is_in_use(&self, name: &PairName, under_way: &UnderWay) -> bool {
        let status = self.agent().show(name).await;
        status.is_ok_and(|status| status.active.is_some() && status.active == under_way.epoch)
    }

    /// Waits for a rotation that the peer drives; `None` where it came to nothing.
    async fn peers_rotation(
        &self,
        name: &PairName,
        known: Option<Epoch>,
        audience: Audience<'_>,
    ) -> Result<Option<RotationRecord>, String> {
        audience.step(name, "peer rotates");
        audience.lingers();
        let before = Instant::now();
        let status = self.agent().show(name).await.map_err(|error| error.to_string())?;
        let timing = status.pair.rotation;
        let patience = timing.step * SILENT_STEPS + timing.overlap;
        let mut last_busy = before;
        while before.elapsed() < patience {
            // The log tells of it once it is over.
            let newest = self.log().newest_of(name);
            let news = newest.filter(|record| known.is_none_or(|known| record.to > known));
            if news.is_some() {
                return Ok(news);
            }
            match self.slots().lease(name) {
                Err(Busy::Peer(under_way)) => {
                    let _ = tokio::time::timeout(patience, under_way.end()).await;
                    last_busy = Instant::now();
                }
                // The one that it was at may have been the one before.
                _ if last_busy.elapsed() > UNTIL_OFFERED => return Ok(None),
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
        Ok(None)
    }

    fn peer_of(&self, status: &PairStatus) -> Result<Peer, String> {
        let Some(name) = &status.pair.peer else {
            return Err(format!(
                "{} has no peer: its keys come by hand, see keymgr sa export",
                status.pair.name
            ));
        };
        self.peers().named(name).ok_or_else(|| format!("no [[ipsec.peer]] is named \"{name}\""))
    }

    fn rotated(
        &self,
        drive: &Drive<'_>,
        before: &PairStatus,
        epoch: Epoch,
        cause: &Cause,
        began: Instant,
    ) -> Result<RotationRecord, String> {
        let from = before.active.filter(|active| *active != epoch);
        let new_spis = drive.new_spis().ok_or("neither side named its SPI")?;
        let record = RotationRecord {
            time: unix_milliseconds(),
            name: before.pair.name.clone(),
            who: cause.who.clone(),
            why: cause.why.clone(),
            from,
            to: epoch,
            old_spis: from.and_then(|from| spis(before, from)),
            new_spis,
            seconds: began.elapsed().as_secs_f64(),
            lost: if before.active.is_none() { Some(0) } else { drive.lost() },
        };
        self.tell_rotated(record.clone());
        Ok(record)
    }

    /// Log, event and numbers of a rotation that is over.
    pub(super) fn tell_rotated(&self, record: RotationRecord) {
        let epoch =
            |epoch: Option<Epoch>| epoch.map_or_else(String::new, |epoch| epoch.to_string());
        let spis = |(inbound, outbound)| format!("{inbound} in, {outbound} out");
        let old = record.old_spis.map_or_else(|| "none".to_owned(), spis);
        let lost = record.lost.map_or_else(|| "unknown".to_owned(), |lost| lost.to_string());
        let reason = format!(
            "{}: {}; SPIs {old} -> {}; packets lost: {lost}; {:.3} s",
            record.who,
            record.why,
            spis(record.new_spis),
            record.seconds
        );
        self.events().record(Occurrence {
            kind: EventKind::SaRotated,
            object: record.name.as_str(),
            from: &epoch(record.from),
            to: &epoch(Some(record.to)),
            reason: &reason,
            owner: owner(&record.who),
        });
        self.tally().ended(Ended::Rotated, Duration::from_secs_f64(record.seconds));
        self.tally().lost(record.lost.unwrap_or_default());
        self.log().add(record);
    }

    fn failed(
        &self,
        name: &PairName,
        start: &Start,
        text: &str,
        cause: &Cause,
        began: Instant,
        _while_ours: &Lease,
    ) {
        let from = start.active.map_or_else(String::new, |epoch| epoch.to_string());
        self.events().record(Occurrence {
            kind: EventKind::SaRotationFailed,
            object: name.as_str(),
            from: &from,
            to: &start.epoch.to_string(),
            reason: &format!("{}: {}; {text}", cause.who, cause.why),
            owner: owner(&cause.who),
        });
        self.tally().ended(Ended::Failed, began.elapsed());
    }

    /// Starts to rotate the pairs named, each for itself.
    pub(crate) fn start_rotations(
        &self,
        names: Vec<PairName>,
        want: Want,
        cause: &Cause,
    ) -> Progress {
        let progress = self.operations().start(names.iter().cloned());
        for name in names {
            let (ipsec, cause, progress) = (self.clone(), cause.clone(), progress.clone());
            tokio::spawn(async move {
                let audience = Audience::Operation(&progress);
                match ipsec.rotate(&name, want, &cause, audience).await {
                    Ok(record) => progress.done(&name, record),
                    Err(error) => progress.failed(&name, &error),
                }
            });
        }
        progress
    }

    /// The pairs that are meant, as they are now.
    ///
    /// # Errors
    /// When there is none, or the one named cannot be rotated.
    pub(crate) async fn select(&self, pairs: &PairSelection) -> Result<Vec<PairStatus>, Refusal> {
        if let PairSelection::Name(name) = pairs {
            let status = self.agent().show(name).await?;
            let peer = self.peer_of(&status);
            let hint = "add the peer to the configuration, or exchange keys by file";
            peer.map_err(|said| Refusal::new(ErrorCode::Invalid, name.as_str(), said, hint))?;
            return Ok(vec![status]);
        }
        let mut selected = self.agent().every_pair().await?;
        selected.retain(|status| match pairs {
            PairSelection::Group(group) => status.pair.group.as_ref() == Some(group),
            _ => true,
        });
        let found = selected.len();
        // Those whose keys come by hand are their people's to rotate.
        selected.retain(|status| status.pair.peer.is_some());
        if selected.is_empty() {
            let place = match pairs {
                PairSelection::Group(group) => format!("group {group}"),
                _ => "all".to_owned(),
            };
            let message = match found {
                0 => "there is no such pair".to_owned(),
                found => format!("none of its {found} pairs has a peer to rotate with"),
            };
            let hint = format!("GET {} lists the pairs with their groups and peers", path::SAS);
            return Err(Refusal::new(ErrorCode::UnknownPair, place, message, hint));
        }
        Ok(selected)
    }
}

/// What rotations of these pairs would do.
pub(crate) fn plan(pairs: &[PairStatus]) -> RotationPlan {
    let of = |status: &PairStatus| {
        let first = if status.active.is_none() { FirstKeys::Yes } else { FirstKeys::No };
        let steps = steps(first).map(|step| PlannedStep {
            step: step.step.to_owned(),
            does: step.does.to_owned(),
            undo: step.undo.to_owned(),
        });
        PairRotationPlan {
            name: status.pair.name.clone(),
            from: status.active,
            to: status.highest.next(),
            steps: steps.collect(),
        }
    };
    RotationPlan { pairs: pairs.iter().map(of).collect() }
}

/// What failed and what stands, for people.
fn stands(carried: &Carried, start: &Start, outcome: Outcome) -> String {
    let trouble = carried.trouble.as_deref().unwrap_or("it came to nothing");
    let undoing = carried.undoing.as_deref().map(|text| format!("; undoing it, {text}"));
    let undoing = undoing.unwrap_or_default();
    match outcome {
        Outcome::Undone { stands: Some(epoch) } => {
            format!("{trouble}; undone: epoch {epoch} stands, as before{undoing}")
        }
        Outcome::Undone { stands: None } => {
            format!("{trouble}; undone: the pair has no keys, as before{undoing}")
        }
        _ => format!(
            "{trouble}{undoing}; half-way: epoch {} and what was before it are installed, nothing \
             is lost, and it is tried again",
            start.epoch
        ),
    }
}

pub(super) fn busy_text(busy: &Busy) -> &'static str {
    match busy {
        Busy::Own(_) => "it is being rotated now",
        Busy::Peer(_) => "its peer is rotating it now",
        Busy::ByHand => "its keys are being put in place by hand now",
    }
}

fn owner(who: &str) -> &'static str {
    if who.starts_with("operator") { "operator" } else { "gateway" }
}

pub(super) fn unix_milliseconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |time| time.as_millis() as u64)
}

/// Each is a contest with the peer that was lost, or an epoch that it had already.
const ATTEMPTS: usize = 8;

/// How soon a peer that goes first makes its offer, however many it makes.
const UNTIL_OFFERED: Duration = Duration::from_secs(2);

/// Steps that a peer may be silent for; as in `crypto_offload::rotation`.
const SILENT_STEPS: u32 = 3;

const LOOK_EVERY: Duration = Duration::from_millis(50);
