//! What this kernel's TLS can do. Nothing is asked yet: nothing is supported, and it says so.

/// What the kernel takes.
#[derive(Clone, Debug, Default)]
pub struct Support {}

impl Support {
    /// Asks the kernel.
    pub fn probe() -> Self {
        Self::default()
    }
}
