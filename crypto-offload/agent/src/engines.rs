//! The engines that this agent has, best first, and the ladder of places that a pair's policy
//! makes of them.
//!
//! Installing walks down the ladder: a place that is busy is asked again for a while, one that
//! cannot or is full is passed over with its reason kept, any other refusal ends the walk. What
//! was installed in a place that the policy does not allow is taken away again.

use std::{thread, time::Duration};

use crypto_offload::{
    Answer, Effective, EngineError, ErrorClass, Feature, IpsecEngine, Placement, SaPair, SaSpec,
};
use gateway_control::{PlanRefusal, PlanReport, PlanStep};

/// Engines, best first.
pub struct Engines(Vec<Box<dyn IpsecEngine>>);

/// A place to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rung {
    /// By which engine.
    pub(crate) engine: &'static str,
    /// Where.
    pub(crate) placement: Placement,
    /// Why it may work.
    evidence: String,
}

/// The places to try in order, and those not worth trying.
pub(crate) struct Ladder {
    pub(crate) rungs: Vec<Rung>,
    pub(crate) refused: Vec<PlanRefusal>,
}

/// What an engine is asked on the way down; `Ok` ends the walk.
pub(crate) struct Placed {
    pub(crate) engine: &'static str,
    pub(crate) placement: Effective,
}

impl Engines {
    /// Best first; each has a name of its own.
    pub fn new(engines: Vec<Box<dyn IpsecEngine>>) -> Self {
        Self(engines)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|engine| engine.name().to_owned()).collect()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn IpsecEngine> {
        self.0.iter().map(AsRef::as_ref)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn IpsecEngine>> {
        self.0.iter_mut()
    }

    /// # Errors
    /// When an earlier start had an engine that this one has not.
    pub(crate) fn named(&mut self, name: &str) -> Result<&mut dyn IpsecEngine, EngineError> {
        match self.0.iter_mut().find(|engine| engine.name() == name) {
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

    /// The ladder of a pair, without the engine that failed it lately.
    pub(crate) fn ladder(&self, pair: &SaPair, avoid: Option<&(String, String)>) -> Ladder {
        let mut ladder = Ladder { rungs: Vec::new(), refused: Vec::new() };
        for &placement in pair.placement.allowed() {
            let judged = ladder.rungs.len() + ladder.refused.len();
            for engine in self.iter() {
                let avoided = avoid.filter(|(name, _)| name == engine.name());
                let verdict = match avoided {
                    Some((_, reason)) => Err(reason.clone()),
                    None => judge(engine, pair, placement),
                };
                match verdict {
                    Ok(None) => {}
                    Ok(Some(evidence)) => {
                        ladder.rungs.push(Rung { engine: engine.name(), placement, evidence });
                    }
                    Err(reason) => ladder.refused.push(PlanRefusal {
                        engine: engine.name().to_owned(),
                        placement,
                        reason,
                    }),
                }
            }
            if ladder.rungs.len() + ladder.refused.len() == judged {
                ladder.refused.push(PlanRefusal {
                    engine: "any engine".to_owned(),
                    placement,
                    reason: "this agent runs without one for it, see --engine".to_owned(),
                });
            }
        }
        ladder
    }

    /// The ladder, to be read.
    pub(crate) fn plan(&self, pair: &SaPair) -> PlanReport {
        let ladder = self.ladder(pair, None);
        let step = |rung: Rung| PlanStep {
            engine: rung.engine.to_owned(),
            placement: rung.placement,
            device: pair.device.clone().filter(|_| rung.placement.is_inline()),
            evidence: rung.evidence,
        };
        PlanReport {
            name: pair.name.clone(),
            steps: ladder.rungs.into_iter().map(step).collect(),
            refused: ladder.refused,
        }
    }

    /// Installs `sa` on the first rung that takes it, after `before` was done there.
    ///
    /// # Errors
    /// The last refusal, which names those before it; nothing of the SA is left.
    pub(crate) fn install(
        &mut self,
        pair: &SaPair,
        ladder: &Ladder,
        sa: &SaSpec,
        mut before: impl FnMut(&mut dyn IpsecEngine) -> Result<(), EngineError>,
    ) -> Result<Placed, EngineError> {
        let requested = pair.placement.requested().unwrap_or(Placement::UserSpace);
        let mut reasons: Vec<String> = ladder.refused.iter().map(reason).collect();
        let mut last = None;
        for rung in &ladder.rungs {
            let engine = self.named(rung.engine)?;
            let placed =
                before(engine).and_then(|()| patiently(|| engine.install(sa, rung.placement)));
            let refusal = match placed {
                Ok(at) if pair.placement.allowed().contains(&at.effective) => {
                    reasons.extend(at.reason);
                    let reason = (at.effective != requested && !reasons.is_empty())
                        .then(|| reasons.join("; "));
                    let placement = Effective { requested, effective: at.effective, reason };
                    return Ok(Placed { engine: rung.engine, placement });
                }
                Ok(at) => {
                    engine.remove(sa.id)?;
                    not_allowed(sa, &at)
                }
                Err(error) if error.class.spills() => error,
                Err(error) => return Err(error),
            };
            reasons.push(format!("{} by {}: {}", rung.placement, rung.engine, refusal.reason));
            last = Some(refusal);
        }
        Err(nowhere(sa, last, &reasons))
    }
}

/// Asks again while the answer is "not now": mlx5 says so while the eswitch changes its mode.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, EngineError>) -> Result<T, EngineError> {
    for pause in BUSY_PAUSES {
        match ask() {
            Err(error) if error.class == ErrorClass::Busy => thread::sleep(pause),
            answer => return answer,
        }
    }
    ask()
}

/// `Ok(None)` where the engine has nothing to do with that placement.
fn judge(
    engine: &dyn IpsecEngine,
    pair: &SaPair,
    placement: Placement,
) -> Result<Option<String>, String> {
    let device = pair.device.as_deref().filter(|_| placement.is_inline());
    let known = engine.capabilities();
    let Some(exists) = known.of(placement, device).rfind(|c| c.feature == Feature::Engine) else {
        return if known.entries.iter().any(|entry| entry.placement == placement) {
            Err(format!("nothing is known of {}", device.unwrap_or("such a device")))
        } else {
            Ok(None)
        };
    };
    let needs = [Feature::Engine, Feature::Aead(pair.aead), Feature::Mode(pair.mode)];
    for need in needs {
        let entry = known.of(placement, device).rfind(|entry| entry.feature == need);
        if let Some(entry) = entry.filter(|entry| entry.answer == Answer::No) {
            return Err(entry.evidence.to_string());
        }
    }
    Ok(Some(exists.evidence.to_string()))
}

fn reason(refusal: &PlanRefusal) -> String {
    format!("{} by {}: {}", refusal.placement, refusal.engine, refusal.reason)
}

fn not_allowed(sa: &SaSpec, at: &Effective) -> EngineError {
    let why = at.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    EngineError {
        class: ErrorClass::Unsupported,
        operation: "install SA".to_owned(),
        object: sa.id.to_string(),
        reason: format!("it came out as {}, which the pair does not allow{why}", at.effective),
        hint: Some("allow it in `placement`".to_owned()),
    }
}

fn nowhere(sa: &SaSpec, last: Option<EngineError>, reasons: &[String]) -> EngineError {
    let hint = Some("`placement` of the pair names where it may be, `keymgr probe` what there is");
    EngineError {
        class: last.as_ref().map_or(ErrorClass::Unsupported, |error| error.class),
        operation: "install SA".to_owned(),
        object: sa.id.to_string(),
        reason: if reasons.is_empty() {
            "no engine has any of the places that the pair allows".to_owned()
        } else {
            reasons.join("; ")
        },
        hint: last.and_then(|error| error.hint).or(hint.map(str::to_owned)),
    }
}

/// Together 155 ms: an eswitch change takes longer, and then the next place is the better answer.
const BUSY_PAUSES: [Duration; 5] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
];
