//! SAs: what the agent knows of them, and what the admin API shows.

use crypto_offload::{Effective, Epoch, InstalledSa, PairName, SaPair, SaUsage, Spi};
use serde::{Deserialize, Serialize};

/// A pair and the SAs that it has now. One epoch in calm times, two during a rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairStatus {
    /// As defined.
    pub pair: SaPair,
    /// Oldest first; empty before the first keys.
    pub epochs: Vec<EpochStatus>,
    /// The epoch that outbound traffic uses.
    pub active: Option<Epoch>,
    /// The highest epoch that ever was, also of those that were undone: the next one is above it.
    pub highest: Epoch,
    /// Why clear text that fits the pair's selectors may pass; `None`: it is dropped both ways,
    /// whether the pair has keys or not.
    #[serde(default)]
    pub unguarded: Option<String>,
}

impl PairStatus {
    /// One epoch.
    pub fn epoch(&self, epoch: Epoch) -> Option<&EpochStatus> {
        self.epochs.iter().find(|status| status.epoch == epoch)
    }
}

/// One generation of a pair's keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochStatus {
    /// Its number.
    pub epoch: Epoch,
    /// What we open with; `None` before it is installed and after it is retired.
    pub inbound: Option<SaStatus>,
    /// What we seal with; likewise.
    pub outbound: Option<SaStatus>,
}

/// One SA that is installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SaStatus {
    /// Chosen by its receiver.
    pub spi: Spi,
    /// The engine that has it: `xfrm`, `user-space`.
    pub engine: String,
    /// Where it is and why.
    pub placement: Effective,
    /// Names the key without telling it.
    pub key: String,
    /// Its counters.
    pub usage: SaUsage,
    /// Until its soft limit of time; `None` where it has none.
    pub seconds_to_soft: Option<f64>,
    /// Taken over from before a restart of the agent, so that a rotation is due.
    pub resumed: bool,
}

/// Pairs in the order of their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairList {
    /// From the one after what was asked for.
    pub pairs: Vec<PairStatus>,
    /// How many there are in all.
    pub total: usize,
    /// Ask again after the last one: there are more.
    pub more: bool,
}

/// SAs of the kernel that are somebody else's: shown, never touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForeignList {
    /// In the order of their ids.
    pub sas: Vec<InstalledSa>,
    /// Ask again after the last one: there are more.
    pub more: bool,
}

/// Where a pair's SAs would go, without installing any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// The pair.
    pub name: PairName,
    /// In the order in which they would be tried.
    pub steps: Vec<PlanStep>,
    /// What will not be tried.
    pub refused: Vec<PlanRefusal>,
}

/// A place that would be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// By which engine.
    pub engine: String,
    /// Where.
    pub placement: crypto_offload::Placement,
    /// On which device.
    pub device: Option<String>,
    /// Why it may work.
    pub evidence: String,
}

/// A place that will not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRefusal {
    /// Whose.
    pub engine: String,
    /// Where.
    pub placement: crypto_offload::Placement,
    /// Why not.
    pub reason: String,
}
