//! Where the SAs of an epoch come to be: the planner's word, our engines, and what is told about it.
//!
//! Both SAs of an epoch are in one engine. One that took a pair's inbound SA and not its outbound
//! one is left out of that pair's next epochs, so that they do not fail likewise: for a minute
//! where it was busy or full, else until it is probed again.

use std::time::{Duration, Instant};

use crypto_offload::{
    Direction, Effective, EngineError, Epoch, ErrorClass, IpsecEngine, SaPair, SaSpec,
    planner::{Passed, Placed, Plan, Unplaced},
};
use gateway_control::EventKind;

use super::Pairs;
use crate::{
    events::News,
    refusal::Refusal,
    state::{PairRecord, SaRecord},
};

/// An engine that is not tried for a pair.
pub(super) struct Avoided {
    engine: String,
    reason: String,
    /// `None`: until something is probed.
    until: Option<Instant>,
}

impl Pairs {
    /// Where an epoch may begin.
    pub(super) fn inbound_plan(&self, pair: &SaPair) -> Plan {
        let plan = self.engines.plan(pair);
        let avoided = self.avoid.get(&pair.name);
        match avoided.filter(|avoided| avoided.until.is_none_or(|until| Instant::now() < until)) {
            Some(avoided) => plan.without(&avoided.engine, &avoided.reason),
            None => plan,
        }
    }

    /// Reserves the SPI in each engine that is tried, and keeps it in the one that took the SA.
    pub(super) fn place_inbound(
        &mut self,
        record: &PairRecord,
        epoch: Epoch,
        plan: Plan,
        sa: &SaSpec,
    ) -> Result<Placed, Unplaced> {
        let mut reserved = Vec::new();
        let reserve = |engine: &mut dyn IpsecEngine| {
            if reserved.contains(&engine.name()) {
                return Ok(());
            }
            engine.reserve(sa.id, sa.source, record.reqid)?;
            reserved.push(engine.name());
            Ok(())
        };
        let placed = self.engines.install(plan, sa, reserve);
        let kept = placed.as_ref().ok().map(|placed| placed.engine.as_str());
        let left = placed.as_ref().err().and_then(|unplaced| unplaced.left.as_ref());
        let kept = kept.or(left.map(|(engine, _)| engine.as_str()));
        for name in reserved.into_iter().filter(|name| Some(*name) != kept) {
            let released = self.engines.named(name).and_then(|engine| engine.remove(sa.id));
            if let Err(error) = released {
                tracing::warn!(%error, "cannot release an SPI; the engine does so after a while");
            }
        }
        self.alert(record, epoch, sa, &placed);
        placed
    }

    /// In the engine of the inbound SA, which the plan is about.
    pub(super) fn place_outbound(
        &mut self,
        record: &PairRecord,
        epoch: Epoch,
        plan: Plan,
        sa: &SaSpec,
    ) -> Result<Placed, Unplaced> {
        let placed = self.engines.install(plan, sa, |_| Ok(()));
        self.alert(record, epoch, sa, &placed);
        match placed {
            Ok(placed) => Ok(explained(placed, record.sa(epoch, Direction::Inbound))),
            Err(unplaced) => {
                self.avoid_after(record, epoch, &unplaced);
                Err(unplaced)
            }
        }
    }

    fn avoid_after(&mut self, record: &PairRecord, epoch: Epoch, unplaced: &Unplaced) {
        if !unplaced.class.spills() {
            return;
        }
        let passing = matches!(unplaced.class, ErrorClass::Busy | ErrorClass::Exhausted);
        let reasons: Vec<String> = unplaced.passed.iter().map(|at| at.reason.clone()).collect();
        let avoided = Avoided {
            engine: record.engine_of(epoch).to_owned(),
            reason: format!("it took no outbound SA of the pair: {}", reasons.join("; ")),
            until: passing.then(|| Instant::now() + PASSING),
        };
        self.avoid.insert(record.terms.name.clone(), avoided);
    }

    /// A place that is full is somebody's business, however well the next one does.
    fn alert(
        &self,
        record: &PairRecord,
        epoch: Epoch,
        sa: &SaSpec,
        placed: &Result<Placed, Unplaced>,
    ) {
        let (passed, to) = match placed {
            Ok(placed) => (&placed.passed, placed.effective.effective.to_string()),
            Err(unplaced) => (&unplaced.passed, "nowhere".to_owned()),
        };
        for full in passed.iter().filter(|passed| passed.is_alert()) {
            self.events.push(News {
                kind: EventKind::LimitReached,
                object: format!("{} epoch {epoch} {}", record.terms.name, sa.id),
                from: place(full),
                to: to.clone(),
                reason: full.reason.clone(),
                owner: "kernel",
            });
        }
    }

    pub(super) fn tell_fallback(
        &self,
        record: &PairRecord,
        epoch: Epoch,
        sa: &SaSpec,
        placement: &Effective,
    ) {
        if !placement.fell_back() {
            return;
        }
        self.events.push(News {
            kind: EventKind::PlacementFallback,
            object: format!("{} epoch {epoch} {}", record.terms.name, sa.id),
            from: placement.requested.to_string(),
            to: placement.effective.to_string(),
            reason: placement.reason.clone().unwrap_or_default(),
            owner: "kernel",
        });
    }
}

/// What is answered when no place took an SA.
pub(super) fn refused(sa: &SaSpec, unplaced: Unplaced) -> Refusal {
    let error = unplaced.of(sa.id);
    let hint = "`placement` of the pair names where it may be, `keymgr probe` what there is";
    let hint = error.hint.or(Some(hint.to_owned()));
    EngineError { hint, ..error }.into()
}

/// The outbound SA follows the inbound one to its engine: what spoke against other engines was
/// said there.
fn explained(mut placed: Placed, inbound: Option<&SaRecord>) -> Placed {
    if placed.effective.fell_back() && placed.effective.reason.is_none() {
        placed.effective.reason = inbound.and_then(|sa| sa.placement.reason.clone());
    }
    placed
}

fn place(passed: &Passed) -> String {
    let engine = passed.engine.as_deref().unwrap_or("any engine");
    format!("{} by {engine}", passed.placement)
}

/// How long an engine that was busy or full is not tried.
const PASSING: Duration = Duration::from_secs(60);
