//! Whether the kernel may join and split packets for us, and what came of asking.

/// Whether to use the kernel's segmentation offloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// As far as this kernel goes.
    #[default]
    Auto,
    /// Not at all: single packets, complete.
    Off,
}

/// Whether an offload is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// In use.
    Active,
    /// Not in use, and why.
    Inactive(String),
}

impl Support {
    /// In use.
    pub fn is_active(&self) -> bool {
        *self == Self::Active
    }
}

/// The reason of an offload that was not to be used.
pub(crate) const SWITCHED_OFF: &str = "switched off by configuration";
