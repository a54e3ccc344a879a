//! Where a key's work is really done: as asked for, as it came out, and what may be chosen.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where packets or records under one key are processed, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The NIC does framing, replay and cipher (XFRM packet offload).
    InlinePacket,
    /// The NIC ciphers, the stack frames (XFRM crypto offload, kTLS device).
    InlineCrypto,
    /// The kernel's own code (XFRM or kTLS in software).
    KernelSoftware,
    /// Our own process.
    UserSpace,
}

impl Placement {
    /// Each of them, best first.
    pub const ALL: [Self; 4] =
        [Self::InlinePacket, Self::InlineCrypto, Self::KernelSoftware, Self::UserSpace];

    /// The name in configurations, on command lines and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InlinePacket => "inline-packet",
            Self::InlineCrypto => "inline-crypto",
            Self::KernelSoftware => "kernel-software",
            Self::UserSpace => "user-space",
        }
    }

    /// Whether a device does the work.
    pub const fn is_inline(self) -> bool {
        matches!(self, Self::InlinePacket | Self::InlineCrypto)
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which placements an SA may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementPolicy {
    /// This one or none: without it the SA is refused.
    Require(Placement),
    /// The first of these that works; not being the first is a fallback, and told.
    Prefer(Vec<Placement>),
}

impl PlacementPolicy {
    /// What it asks for first; `None` if it allows nothing.
    pub fn requested(&self) -> Option<Placement> {
        self.allowed().first().copied()
    }

    /// In the order in which to try.
    pub fn allowed(&self) -> &[Placement] {
        match self {
            Self::Require(placement) => std::slice::from_ref(placement),
            Self::Prefer(placements) => placements,
        }
    }
}

impl Default for PlacementPolicy {
    /// Software, the kernel's first: an inline engine is asked for by name, with its device.
    fn default() -> Self {
        Self::Prefer(vec![Placement::KernelSoftware, Placement::UserSpace])
    }
}

/// What was asked for, what it became, and why: every fallback is loud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effective {
    /// What the policy asked for first.
    pub requested: Placement,
    /// Where the work is done, believed only after reading back.
    pub effective: Placement,
    /// Why it is not what was asked for: errno, extack text, or the missing feature.
    pub reason: Option<String>,
}

impl Effective {
    /// True when the work is done in a lesser place than was asked for.
    pub fn fell_back(&self) -> bool {
        self.effective > self.requested
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesser_place_is_a_fallback_and_a_better_one_is_not() {
        let at = |requested, effective| Effective { requested, effective, reason: None };
        assert!(at(Placement::InlineCrypto, Placement::KernelSoftware).fell_back());
        assert!(!at(Placement::KernelSoftware, Placement::InlineCrypto).fell_back());
        assert!(!at(Placement::UserSpace, Placement::UserSpace).fell_back());
    }

    #[test]
    fn a_requirement_allows_nothing_else() {
        let policy = PlacementPolicy::Require(Placement::InlineCrypto);
        assert_eq!(policy.allowed(), [Placement::InlineCrypto]);
        assert_eq!(PlacementPolicy::Prefer(Vec::new()).requested(), None);
    }
}
