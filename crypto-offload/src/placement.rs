//! Where a key's work is really done, as asked for and as it came out.

use std::fmt;

/// Where packets or records under one key are processed, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InlinePacket => "inline packet",
            Self::InlineCrypto => "inline crypto",
            Self::KernelSoftware => "kernel software",
            Self::UserSpace => "user space",
        })
    }
}

/// What was asked for, what it became, and why: every fallback is loud.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}
