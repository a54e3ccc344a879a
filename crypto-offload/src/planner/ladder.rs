//! Walking down a plan: what to do next, given how the last installation went.
//!
//! A place that is busy is asked again, a little later each time; one that cannot or is full is
//! passed over with its reason kept; a conflict, something gone or something broken ends the walk,
//! as the next place would only hide it. Success counts where the SA really is: in a place that
//! the policy does not allow it is taken away again. No clock: times come in.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{Plan, Step};
use crate::{Effective, EngineError, ErrorClass, Placement, SaId};

/// One SA on its way down a plan.
///
/// Ask [`next`](Self::next) what to do, and say how it went with [`installed`](Self::installed)
/// or [`removed`](Self::removed).
#[derive(Clone, Debug)]
pub struct InstallLadder {
    plan: Plan,
    at: usize,
    attempts: u32,
    not_before: Option<Instant>,
    passed: Vec<Passed>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Trying,
    /// It is somewhere where it may not stay.
    Removing(Placement, Option<String>),
    Ended(Result<Placed, Unplaced>),
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum NextInstall<'a> {
    /// Install the SA there, and tell [`InstallLadder::installed`].
    Install(&'a Step),
    /// Nothing, until then.
    Wait(Instant),
    /// Remove the SA from this step's engine, and tell [`InstallLadder::removed`].
    Remove(&'a Step),
    /// It is there.
    Done(&'a Placed),
    /// It is nowhere.
    Refuse(&'a Unplaced),
}

/// Where an SA came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// By which engine.
    pub engine: String,
    /// With the reason why every better place was not.
    pub effective: Effective,
    /// Every place that was passed over.
    pub passed: Vec<Passed>,
}

/// A place that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Whose; `None`: no engine's.
    pub engine: Option<String>,
    /// Where.
    pub placement: Placement,
    /// What kind of failure; `None`: the plan had ruled it out.
    pub class: Option<ErrorClass>,
    /// Why.
    pub reason: String,
}

impl Passed {
    /// Whether somebody should be told: a full table is a matter of size, and not of this SA.
    pub fn is_alert(&self) -> bool {
        self.class == Some(ErrorClass::Exhausted)
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.placement.name())?;
        if let Some(engine) = &self.engine {
            write!(f, " by {engine}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// No place took the SA; nothing of it is left, unless `left` says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no place for the SA: {}", reasons(.passed))]
pub struct Unplaced {
    /// What kind: the last place's.
    pub class: ErrorClass,
    /// What would mend the last place's.
    pub hint: Option<String>,
    /// Every place with its reason.
    pub passed: Vec<Passed>,
    /// Where it still is, because removing it failed.
    pub left: Option<(String, Placement)>,
}

impl Unplaced {
    /// As the failure of installing this SA.
    pub fn of(self, id: SaId) -> EngineError {
        EngineError {
            class: self.class,
            operation: "install SA".to_owned(),
            object: id.to_string(),
            reason: reasons(&self.passed),
            hint: self.hint,
        }
    }
}

impl InstallLadder {
    /// At the top.
    pub fn new(plan: Plan) -> Self {
        let passed = plan.refused.iter().map(|refused| Passed {
            engine: refused.engine.clone(),
            placement: refused.placement,
            class: None,
            reason: refused.reason.clone(),
        });
        let passed = passed.collect();
        let state = State::Trying;
        let mut ladder = Self { plan, at: 0, attempts: 0, not_before: None, passed, state };
        ladder.end_below_last(ErrorClass::Unsupported, None);
        ladder
    }

    /// What to do now. Asked again without an answer in between, it says the same.
    pub fn next(&self, now: Instant) -> NextInstall<'_> {
        match &self.state {
            State::Ended(Ok(placed)) => NextInstall::Done(placed),
            State::Ended(Err(unplaced)) => NextInstall::Refuse(unplaced),
            State::Removing(..) => NextInstall::Remove(self.step()),
            State::Trying => match self.not_before.filter(|not_before| now < *not_before) {
                Some(not_before) => NextInstall::Wait(not_before),
                None => NextInstall::Install(self.step()),
            },
        }
    }

    /// How the installation went.
    pub fn installed(&mut self, result: Result<Effective, EngineError>, now: Instant) {
        let error = match result {
            Ok(at) if self.plan.allowed.contains(&at.effective) => return self.place(at),
            Ok(at) => {
                self.state = State::Removing(at.effective, at.reason);
                return;
            }
            Err(error) => error,
        };
        if error.class == ErrorClass::Busy && self.attempts < BUSY_ATTEMPTS {
            self.not_before = Some(now + FIRST_PAUSE * 2_u32.pow(self.attempts));
            self.attempts += 1;
            return;
        }
        self.pass(error.class, error.reason);
        if error.class.spills() {
            self.descend(error.class, error.hint);
        } else {
            self.end(error.class, error.hint, None);
        }
    }

    /// How the removal went.
    pub fn removed(&mut self, result: Result<(), EngineError>) {
        let State::Removing(placement, why) = &self.state else { return };
        let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let reason = format!("it came out as {placement}, which the pair does not allow{why}");
        let (placement, engine) = (*placement, self.step().engine.clone());
        self.pass(ErrorClass::Unsupported, reason);
        match result {
            Ok(()) => {
                let hint = Some(format!("allow {placement} in `placement`"));
                self.descend(ErrorClass::Unsupported, hint);
            }
            Err(error) => self.end(error.class, error.hint, Some((engine, placement))),
        }
    }

    fn step(&self) -> &Step {
        &self.plan.steps[self.at]
    }

    fn place(&mut self, at: Effective) {
        let requested = self.plan.requested.unwrap_or(at.effective);
        let engine = self.step().engine.clone();
        let passed = std::mem::take(&mut self.passed);
        let better = passed.iter().filter(|passed| self.ranks_above(passed.placement, &at));
        let mut why: Vec<String> = better.map(ToString::to_string).collect();
        why.extend(at.reason.filter(|_| at.effective != requested));
        let reason = (at.effective != requested && !why.is_empty()).then(|| why.join("; "));
        let effective = Effective { requested, effective: at.effective, reason };
        self.state = State::Ended(Ok(Placed { engine, effective, passed }));
    }

    /// Whether the policy would rather have had `placement`.
    fn ranks_above(&self, placement: Placement, at: &Effective) -> bool {
        let rank = |wanted| self.plan.allowed.iter().position(|allowed| *allowed == wanted);
        rank(placement) < rank(at.effective)
    }

    fn pass(&mut self, class: ErrorClass, reason: String) {
        let step = self.step();
        let (engine, placement) = (Some(step.engine.clone()), step.placement);
        self.passed.push(Passed { engine, placement, class: Some(class), reason });
    }

    fn descend(&mut self, class: ErrorClass, hint: Option<String>) {
        (self.at, self.attempts, self.not_before) = (self.at + 1, 0, None);
        self.state = State::Trying;
        self.end_below_last(class, hint);
    }

    fn end_below_last(&mut self, class: ErrorClass, hint: Option<String>) {
        if self.at >= self.plan.steps.len() {
            self.end(class, hint, None);
        }
    }

    fn end(&mut self, class: ErrorClass, hint: Option<String>, left: Option<(String, Placement)>) {
        let passed = std::mem::take(&mut self.passed);
        self.state = State::Ended(Err(Unplaced { class, hint, passed, left }));
    }
}

fn reasons(passed: &[Passed]) -> String {
    if passed.is_empty() {
        return "the pair allows none".to_owned();
    }
    passed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Together 155 ms: an eswitch change takes longer, and then the next place is the better answer.
const BUSY_ATTEMPTS: u32 = 5;
/// 5 ms to 80 ms.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
