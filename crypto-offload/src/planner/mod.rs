//! Where a pair's SAs are tried, in which order, and why not elsewhere.
//!
//! Pure: a pair and what engines know of themselves come in; a [`Plan`] comes out, to be read by
//! people (`keymgr sa plan`) or walked down by an [`InstallLadder`]. It refuses only what surely
//! fails: what an engine knows that it cannot do, and what a driver is known to refuse
//! (module `rules`). Where nobody knows, trying tells.

mod ladder;
mod rules;

pub use ladder::{InstallLadder, NextInstall, Passed, Placed, Unplaced};

use crate::{Answer, Capabilities, Capability, Feature, Placement, SaPair, SequenceNumbers};

/// What [`plan`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the policy asks for first; `None`: it allows nothing.
    pub requested: Option<Placement>,
    /// Every place that the policy allows.
    pub allowed: Vec<Placement>,
    /// In the order in which to try.
    pub steps: Vec<Step>,
    /// What is not worth trying.
    pub refused: Vec<Refusal>,
}

/// A place to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// By which engine.
    pub engine: String,
    /// Where.
    pub placement: Placement,
    /// On which device, where one does the work.
    pub device: Option<String>,
    /// Why it may work.
    pub evidence: String,
}

/// A place that will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose; `None`: no engine has that placement at all.
    pub engine: Option<String>,
    /// Where.
    pub placement: Placement,
    /// Why not, with the evidence.
    pub reason: String,
}

/// In the policy's order, and for each placement in the engines' order: what to try, and what not.
pub fn plan(pair: &SaPair, engines: &[(&str, &Capabilities)]) -> Plan {
    let allowed = pair.placement.allowed();
    let mut plan = Plan {
        requested: pair.placement.requested(),
        allowed: allowed.to_vec(),
        steps: Vec::new(),
        refused: Vec::new(),
    };
    for &placement in allowed {
        let tried = plan.steps.len() + plan.refused.len();
        for (engine, known) in engines {
            match judge(pair, placement, known) {
                Judgement::Try { device, evidence } => {
                    let engine = (*engine).to_owned();
                    plan.steps.push(Step { engine, placement, device, evidence });
                }
                Judgement::Refuse(reason) => {
                    let engine = Some((*engine).to_owned());
                    plan.refused.push(Refusal { engine, placement, reason });
                }
                Judgement::NotIts => {}
            }
        }
        if plan.steps.len() + plan.refused.len() == tried {
            let reason = "no engine that runs here does that".to_owned();
            plan.refused.push(Refusal { engine: None, placement, reason });
        }
    }
    plan
}

impl Plan {
    /// Without the places of an engine that is not to be tried now, and why not.
    #[must_use]
    pub fn without(mut self, engine: &str, why: &str) -> Self {
        let (out, steps) = self.steps.into_iter().partition(|step| step.engine == engine);
        let refuse = |step: Step| Refusal {
            engine: Some(step.engine),
            placement: step.placement,
            reason: why.to_owned(),
        };
        self.refused.extend(Vec::into_iter(out).map(refuse));
        Self { steps, ..self }
    }

    /// What it says of one engine: where an SA must be with another that is there already.
    #[must_use]
    pub fn within(mut self, engine: &str) -> Self {
        self.steps.retain(|step| step.engine == engine);
        self.refused.retain(|refused| refused.engine.as_deref() == Some(engine));
        self
    }
}

enum Judgement {
    Try {
        device: Option<String>,
        evidence: String,
    },
    Refuse(String),
    /// The engine has nothing to do with this placement.
    NotIts,
}

fn judge(pair: &SaPair, placement: Placement, known: &Capabilities) -> Judgement {
    if !known.entries.iter().any(|entry| entry.placement == placement) {
        return Judgement::NotIts;
    }
    let device = pair.device.as_deref().filter(|_| placement.is_inline());
    if placement.is_inline() && device.is_none() {
        return Judgement::Refuse("name the device that faces the peer".to_owned());
    }
    let about = |feature| known.of(placement, device).rfind(|entry| entry.feature == feature);
    let Some(exists) = about(Feature::Engine) else {
        return Judgement::Refuse(match device {
            Some(device) => format!("nothing is known of a device {device}"),
            None => "nothing is known of it".to_owned(),
        });
    };
    let missing = needs(pair).into_iter().find_map(|need| {
        let entry = answering(known, placement, device, need)?;
        let no = entry.answer == Answer::No;
        no.then(|| format!("{}{}", named(need), entry.evidence))
    });
    let refusal = missing.or_else(|| rules::refusal(pair, placement, about));
    match refusal {
        Some(reason) => Judgement::Refuse(reason),
        None => Judgement::Try {
            device: device.map(str::to_owned),
            evidence: exists.evidence.to_string(),
        },
    }
}

/// What the pair's SAs need of an engine.
fn needs(pair: &SaPair) -> Vec<Feature> {
    let mut needs = vec![Feature::Engine, Feature::Aead(pair.aead), Feature::Mode(pair.mode)];
    if pair.local.is_ipv6() {
        needs.push(Feature::Ipv6);
    }
    if pair.encapsulation.is_some() {
        needs.push(Feature::UdpEncapsulation);
    }
    if pair.sequence_numbers == SequenceNumbers::Extended {
        needs.push(Feature::Esn);
    }
    needs.push(Feature::ReplayWindow(pair.replay_window));
    let limits = [pair.lifetimes.soft, pair.lifetimes.hard];
    if limits.iter().any(|limits| limits.packets.is_some() || limits.bytes.is_some()) {
        needs.push(Feature::CountedLimits);
    }
    needs
}

/// The last entry that says something about a need. Of replay windows: "up to 256" says something
/// of 512 when it is a yes to what is smaller or a no to what is not larger.
fn answering<'a>(
    known: &'a Capabilities,
    placement: Placement,
    device: Option<&'a str>,
    need: Feature,
) -> Option<&'a Capability> {
    let says = |entry: &&Capability| match (entry.feature, need) {
        (Feature::ReplayWindow(known), Feature::ReplayWindow(wanted)) => match entry.answer {
            Answer::Yes => known >= wanted,
            Answer::No => known <= wanted,
            Answer::Unknown => false,
        },
        (feature, need) => feature == need,
    };
    known.of(placement, device).rfind(says)
}

/// What stands before the evidence; that there is nothing at all needs no further words.
fn named(feature: Feature) -> String {
    let name = match feature {
        Feature::Engine => return String::new(),
        Feature::Aead(aead) => aead.to_string(),
        Feature::Mode(mode) => format!("{mode:?} mode").to_lowercase(),
        Feature::Ipv6 => "IPv6".to_owned(),
        Feature::UdpEncapsulation => "ESP in UDP".to_owned(),
        Feature::Esn => "64-bit sequence numbers".to_owned(),
        Feature::ReplayWindow(packets) => format!("replay window of {packets}"),
        Feature::CountedLimits => "limits of packets and bytes".to_owned(),
    };
    name + ": "
}

#[cfg(test)]
mod tests;
