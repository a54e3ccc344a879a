//! Fails calls of an engine as a script says: before they have an effect, or after.

use std::{
    net::IpAddr,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Operation;
use crate::{
    Capabilities, Direction, Effective, EngineError, EngineEvent, ErrorClass, InstalledPolicy,
    InstalledSa, IpsecEngine, Placement, PolicyDirection, PolicySpec, Reqid, SaId, SaSpec, SaUsage,
    Selector, UdpEncapsulation,
};

/// An engine that fails when it is told to.
#[derive(Debug)]
pub struct Faulty<E> {
    inner: E,
    faults: Faults,
}

/// A script, which may be changed while the engine is somebody else's; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

/// Which calls fail, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of these operations.
    pub operations: Vec<Operation>,
    /// So many of them succeed first.
    pub after: u32,
    /// So many of them fail then.
    pub times: u32,
    /// With an effect or without.
    pub when: When,
    /// What the caller is told.
    pub error: EngineError,
}

impl Fault {
    /// The next of these operations fails without an effect.
    pub fn new(operations: &[Operation], class: ErrorClass) -> Self {
        let error = EngineError {
            class,
            operation: "do".to_owned(),
            object: "what was asked".to_owned(),
            reason: "as the script says".to_owned(),
            hint: None,
        };
        Self { operations: operations.to_vec(), after: 0, times: 1, when: When::Before, error }
    }
}

impl Faults {
    /// Begins this script; each fault counts for itself.
    pub fn set(&self, script: Vec<Fault>) {
        *self.script() = script;
    }

    /// Whether the script came to its end: a fault that never happened tests nothing.
    pub fn are_spent(&self) -> bool {
        self.script().iter().all(|fault| fault.times == 0)
    }

    /// The first fault that is due; all of that operation count.
    fn due(&self, operation: Operation) -> Option<(When, EngineError)> {
        let mut due = None;
        let mut script = self.script();
        for fault in script.iter_mut().filter(|fault| fault.operations.contains(&operation)) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 && due.is_none() {
                fault.times -= 1;
                due = Some((fault.when, fault.error.clone()));
            }
        }
        due
    }

    fn script(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// Around `inner`.
    pub fn new(inner: E, faults: &Faults) -> Self {
        Self { inner, faults: faults.clone() }
    }

    fn call<T>(
        &mut self,
        operation: Operation,
        call: impl FnOnce(&mut E) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match self.faults.due(operation) {
            None => call(&mut self.inner),
            Some((When::Before, error)) => Err(error),
            Some((When::After, error)) => call(&mut self.inner).and(Err(error)),
        }
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

    fn adopt(
        &mut self,
        id: SaId,
        direction: Direction,
        encapsulation: Option<UdpEncapsulation>,
    ) -> Result<(), EngineError> {
        self.call(Operation::Adopt, |inner| inner.adopt(id, direction, encapsulation))
    }

    fn remove(&mut self, id: SaId) -> Result<(), EngineError> {
        self.call(Operation::Remove, |inner| inner.remove(id))
    }

    fn sees_all_traffic(&self) -> bool {
        self.inner.sees_all_traffic()
    }

    fn gets_past(&self, policy: &PolicySpec) -> Result<(), String> {
        self.inner.gets_past(policy)
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

    fn policies(&mut self) -> Result<Vec<InstalledPolicy>, EngineError> {
        self.call(Operation::Policies, E::policies)
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
