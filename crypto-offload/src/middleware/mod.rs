//! Engines around engines, for tests: [`Recording`] tells what is asked, [`Faulty`] fails when a
//! script says so, and [`Model`] is an engine that only remembers.
//!
//! Means of tests and nothing else: that code works over these never proves that it works over
//! the kernel. Only real engines pass the contract.

mod faulty;
mod model;
mod recording;

pub use faulty::{Fault, Faults, Faulty, When};
pub use model::{Memory, Model, ModelSa};
pub use recording::{Call, Recording};

/// What may be asked of an [`IpsecEngine`](crate::IpsecEngine).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `probe`
    Probe,
    /// `reserve`
    Reserve,
    /// `install`
    Install,
    /// `adopt`
    Adopt,
    /// `remove`
    Remove,
    /// `set_policy`
    SetPolicy,
    /// `remove_policy`
    RemovePolicy,
    /// `list`
    List,
    /// `policies`
    Policies,
    /// `usage`
    Usage,
    /// `events`
    Events,
    /// `statistics`
    Statistics,
}

impl Operation {
    /// Those that change what SAs and policies there are.
    pub const CHANGES: [Self; 5] =
        [Self::Reserve, Self::Install, Self::Remove, Self::SetPolicy, Self::RemovePolicy];
}

#[cfg(test)]
mod tests;
