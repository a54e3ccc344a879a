//! Fails calls of an engine as a script says: before they have an effect, or after.

use std::{net::IpAddr, os::fd::BorrowedFd};

use super::Operation;
use crate::{
    Capabilities, Effective, EngineError, EngineEvent, InstalledSa, IpsecEngine, Placement,
    PolicyDirection, PolicySpec, Reqid, SaId, SaSpec, SaUsage, Selector,
};

/// An engine that fails when it is told to.
#[derive(Debug)]
pub struct Faulty<E> {
    inner: E,
    script: Vec<Fault>,
}

/// Which call fails, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of this operation.
    pub operation: Operation,
    /// So many of them succeed first.
    pub after: u32,
    /// So many of them fail then.
    pub times: u32,
    /// With an effect or without.
    pub when: When,
    /// What the caller is told.
    pub error: EngineError,
}

/// What a failed call did all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing, as engines promise.
    Before,
    /// Everything: an answer that was lost, or an engine that does not keep its promise.
    After,
}

impl<E> Faulty<E> {
    /// Around `inner`; each fault counts for itself.
    pub fn new(inner: E, script: Vec<Fault>) -> Self {
        Self { inner, script }
    }

    /// The engine itself, for what is not to fail.
    pub fn inner(&mut self) -> &mut E {
        &mut self.inner
    }

    /// Whether the script came to its end: a fault that never happened tests nothing.
    pub fn is_spent(&self) -> bool {
        self.script.iter().all(|fault| fault.times == 0)
    }

    fn call<T>(
        &mut self,
        operation: Operation,
        call: impl FnOnce(&mut E) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match self.fault(operation) {
            None => call(&mut self.inner),
            Some((When::Before, error)) => Err(error),
            Some((When::After, error)) => call(&mut self.inner).and(Err(error)),
        }
    }

    /// The first fault of the script that is due; all of that operation count.
    fn fault(&mut self, operation: Operation) -> Option<(When, EngineError)> {
        let mut due = None;
        for fault in self.script.iter_mut().filter(|fault| fault.operation == operation) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 && due.is_none() {
                fault.times -= 1;
                due = Some((fault.when, fault.error.clone()));
            }
        }
        due
    }
}

impl<E: IpsecEngine> IpsecEngine for Faulty<E> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn probe(&mut self) -> Result<(), EngineError> {
        self.call(Operation::Probe, E::probe)
    }

    fn reserve(&mut self, id: SaId, source: IpAddr, reqid: Reqid) -> Result<(), EngineError> {
        self.call(Operation::Reserve, |inner| inner.reserve(id, source, reqid))
    }

    fn install(&mut self, sa: &SaSpec, placement: Placement) -> Result<Effective, EngineError> {
        self.call(Operation::Install, |inner| inner.install(sa, placement))
    }

    fn remove(&mut self, id: SaId) -> Result<(), EngineError> {
        self.call(Operation::Remove, |inner| inner.remove(id))
    }

    fn set_policy(&mut self, policy: &PolicySpec, placement: Placement) -> Result<(), EngineError> {
        self.call(Operation::SetPolicy, |inner| inner.set_policy(policy, placement))
    }

    fn remove_policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<(), EngineError> {
        self.call(Operation::RemovePolicy, |inner| inner.remove_policy(direction, selector))
    }

    fn list(&mut self) -> Result<Vec<InstalledSa>, EngineError> {
        self.call(Operation::List, E::list)
    }

    fn usage(&mut self, id: SaId) -> Result<SaUsage, EngineError> {
        self.call(Operation::Usage, |inner| inner.usage(id))
    }

    fn events(&mut self) -> Result<Vec<EngineEvent>, EngineError> {
        self.call(Operation::Events, E::events)
    }

    fn event_source(&self) -> Option<BorrowedFd<'_>> {
        self.inner.event_source()
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, EngineError> {
        self.call(Operation::Statistics, E::statistics)
    }
}
