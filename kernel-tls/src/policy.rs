//! What a caller decides about its connections: whether the kernel may have their records, and
//! when keys are renewed.

use std::time::Duration;

use crate::update::UpdateLimits;

/// Whether records are handed to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelUse {
    /// Never.
    Off,
    /// Where the kernel can; else in user space, with the reason told.
    #[default]
    Auto,
    /// Always: a connection whose records the kernel does not take is refused.
    Require,
}

/// The decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether the kernel may have the records.
    pub kernel: KernelUse,
    /// After this many records under one key we send a KeyUpdate (TLS 1.3).
    pub update_after: u64,
    /// How many KeyUpdates and session tickets a peer may send at once: beyond, the connection
    /// ends. In user space rustls also allows no more than 32 KeyUpdates without data in between.
    pub update_burst: u32,
    /// After how long it may send one more.
    pub update_interval: Duration,
}

impl Policy {
    pub(crate) fn limits(&self) -> UpdateLimits {
        UpdateLimits {
            records: Some(self.update_after),
            burst: self.update_burst,
            interval: self.update_interval,
        }
    }
}

impl Default for Policy {
    /// The kernel where it can, and new keys well before 2^24 records: AES-GCM bears 2^24.5 of the
    /// largest (RFC 8446 section 5.5), and a write may add a few to the count.
    fn default() -> Self {
        let limits = UpdateLimits::default();
        Self {
            kernel: KernelUse::Auto,
            update_after: (1 << 24) - (1 << 16),
            update_burst: limits.burst,
            update_interval: limits.interval,
        }
    }
}
