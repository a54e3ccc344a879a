//! The engines that this agent has, best first.
//!
//! Where an SA is tried, in which order and why not elsewhere is [`planner::plan`]'s to say, and
//! what to do about each refusal its [`InstallLadder`]'s. Here both meet real engines and a clock:
//! a place that is busy is waited for, up to 155 ms for each, while other requests wait too.

use std::{thread, time::Instant};

use crypto_offload::{
    Effective, EngineError, ErrorClass, IpsecEngine, SaPair, SaSpec,
    planner::{self, InstallLadder, NextInstall, Placed, Plan, Step, Unplaced},
};
use gateway_control::{PlanRefusal, PlanReport, PlanStep};

/// Engines, best first.
pub struct Engines {
    ranked: Vec<Box<dyn IpsecEngine>>,
    /// For policies alone, or why there is none.
    guard: Result<Box<dyn IpsecEngine>, String>,
}

impl Engines {
    /// Best first; each has a name of its own.
    pub fn new(engines: Vec<Box<dyn IpsecEngine>>) -> Self {
        let reason = "none of this agent's engines sees all traffic";
        Self { ranked: engines, guard: Err(reason.to_owned()) }
    }

    /// With one that only guards, where none of the others sees all traffic; or the reason why
    /// nothing on this machine does.
    #[must_use]
    pub fn guarded_by(self, guard: Result<Box<dyn IpsecEngine>, String>) -> Self {
        Self { guard, ..self }
    }

    /// The engine whose policies see all traffic.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn guard(&self) -> Result<&dyn IpsecEngine, &str> {
        match self.iter().find(|engine| engine.sees_all_traffic()) {
            Some(engine) => Ok(engine),
            None => self.guard.as_ref().map(AsRef::as_ref).map_err(String::as_str),
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.ranked.iter().map(|engine| engine.name().to_owned()).collect()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn IpsecEngine> {
        self.ranked.iter().map(AsRef::as_ref)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn IpsecEngine>> {
        self.ranked.iter_mut()
    }

    /// All that may have policies.
    pub(crate) fn with_guard(&mut self) -> impl Iterator<Item = &mut Box<dyn IpsecEngine>> {
        self.ranked.iter_mut().chain(self.guard.as_mut().ok())
    }

    /// # Errors
    /// When an earlier start had an engine that this one has not.
    pub(crate) fn named(&mut self, name: &str) -> Result<&mut dyn IpsecEngine, EngineError> {
        match self.with_guard().find(|engine| engine.name() == name) {
            Some(engine) => Ok(engine.as_mut()),
            None => Err(EngineError {
                class: ErrorClass::Gone,
                operation: "use engine".to_owned(),
                object: name.to_owned(),
                reason: "this agent runs without it".to_owned(),
                hint: Some(format!("start the agent with --engine {name}")),
            }),
        }
    }

    /// Where a pair's SAs may be.
    pub(crate) fn plan(&self, pair: &SaPair) -> Plan {
        let known: Vec<_> =
            self.iter().map(|engine| (engine.name(), engine.capabilities())).collect();
        planner::plan(pair, &known)
    }

    /// Walks an SA down a plan. `before` is done in front of each attempt of an engine.
    ///
    /// # Errors
    /// When no place took it. Nothing of it is left, unless `left` of the error says so.
    pub(crate) fn install(
        &mut self,
        plan: Plan,
        sa: &SaSpec,
        mut before: impl FnMut(&mut dyn IpsecEngine) -> Result<(), EngineError>,
    ) -> Result<Placed, Unplaced> {
        let mut ladder = InstallLadder::new(plan);
        loop {
            let now = Instant::now();
            match ladder.next(now) {
                NextInstall::Install(step) => {
                    let result = self.attempt(step, sa, &mut before);
                    ladder.installed(result, Instant::now());
                }
                NextInstall::Wait(until) => thread::sleep(until - now),
                NextInstall::Remove(step) => {
                    let result = self.named(&step.engine).and_then(|engine| engine.remove(sa.id));
                    ladder.removed(result);
                }
                NextInstall::Done(placed) => return Ok(placed.clone()),
                NextInstall::Refuse(unplaced) => return Err(unplaced.clone()),
            }
        }
    }

    fn attempt(
        &mut self,
        step: &Step,
        sa: &SaSpec,
        before: &mut impl FnMut(&mut dyn IpsecEngine) -> Result<(), EngineError>,
    ) -> Result<Effective, EngineError> {
        let engine = self.named(&step.engine)?;
        before(engine)?;
        engine.install(sa, step.placement)
    }
}

/// A plan, to be read.
pub(crate) fn report(pair: &SaPair, plan: Plan) -> PlanReport {
    let step = |step: Step| PlanStep {
        engine: step.engine,
        placement: step.placement,
        device: step.device,
        evidence: step.evidence,
    };
    let refusal = |refused: planner::Refusal| PlanRefusal {
        engine: refused.engine.unwrap_or_else(|| "any engine".to_owned()),
        placement: refused.placement,
        reason: refused.reason,
    };
    PlanReport {
        name: pair.name.clone(),
        steps: plan.steps.into_iter().map(step).collect(),
        refused: plan.refused.into_iter().map(refusal).collect(),
    }
}
