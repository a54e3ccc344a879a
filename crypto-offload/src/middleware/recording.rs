//! Tells what is asked of an engine, and whether it was done.

use std::{fmt, net::IpAddr, os::fd::BorrowedFd};

use super::Operation;
use crate::{
    Capabilities, Direction, Effective, EngineError, EngineEvent, ErrorClass, InstalledPolicy,
    InstalledSa, IpsecEngine, Placement, PolicyDirection, PolicySpec, Reqid, SaId, SaSpec, SaUsage,
    Selector, UdpEncapsulation,
};

/// An engine whose calls are told.
pub struct Recording<E> {
    inner: E,
    listener: Box<dyn FnMut(Call) + Send>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What.
    pub operation: Operation,
    /// On what: an SA's id or a policy's selector; empty where it is the engine.
    pub object: String,
    /// `None`: it was done.
    pub failed: Option<ErrorClass>,
}

impl<E> Recording<E> {
    /// Around `inner`; the listener hears of each call after it.
    pub fn new(inner: E, listener: impl FnMut(Call) + Send + 'static) -> Self {
        Self { inner, listener: Box::new(listener) }
    }

    fn record<T>(
        &mut self,
        operation: Operation,
        object: String,
        call: impl FnOnce(&mut E) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let result = call(&mut self.inner);
        let failed = result.as_ref().err().map(|error| error.class);
        (self.listener)(Call { operation, object, failed });
        result
    }
}

impl<E: fmt::Debug> fmt::Debug for Recording<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<E: IpsecEngine> IpsecEngine for Recording<E> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn probe(&mut self) -> Result<(), EngineError> {
        self.record(Operation::Probe, String::new(), E::probe)
    }

    fn reserve(&mut self, id: SaId, source: IpAddr, reqid: Reqid) -> Result<(), EngineError> {
        self.record(Operation::Reserve, id.to_string(), |inner| inner.reserve(id, source, reqid))
    }

    fn install(&mut self, sa: &SaSpec, placement: Placement) -> Result<Effective, EngineError> {
        self.record(Operation::Install, sa.id.to_string(), |inner| inner.install(sa, placement))
    }

    fn adopt(
        &mut self,
        id: SaId,
        direction: Direction,
        encapsulation: Option<UdpEncapsulation>,
    ) -> Result<(), EngineError> {
        self.record(Operation::Adopt, id.to_string(), |inner| {
            inner.adopt(id, direction, encapsulation)
        })
    }

    fn remove(&mut self, id: SaId) -> Result<(), EngineError> {
        self.record(Operation::Remove, id.to_string(), |inner| inner.remove(id))
    }

    fn sees_all_traffic(&self) -> bool {
        self.inner.sees_all_traffic()
    }

    fn gets_past(&self, policy: &PolicySpec) -> Result<(), String> {
        self.inner.gets_past(policy)
    }

    fn set_policy(&mut self, policy: &PolicySpec, placement: Placement) -> Result<(), EngineError> {
        let object = policy.selector.to_string();
        self.record(Operation::SetPolicy, object, |inner| inner.set_policy(policy, placement))
    }

    fn remove_policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<(), EngineError> {
        let object = selector.to_string();
        self.record(Operation::RemovePolicy, object, |inner| {
            inner.remove_policy(direction, selector)
        })
    }

    fn list(&mut self) -> Result<Vec<InstalledSa>, EngineError> {
        self.record(Operation::List, String::new(), E::list)
    }

    fn policies(&mut self) -> Result<Vec<InstalledPolicy>, EngineError> {
        self.record(Operation::Policies, String::new(), E::policies)
    }

    fn usage(&mut self, id: SaId) -> Result<SaUsage, EngineError> {
        self.record(Operation::Usage, id.to_string(), |inner| inner.usage(id))
    }

    fn events(&mut self) -> Result<Vec<EngineEvent>, EngineError> {
        self.record(Operation::Events, String::new(), E::events)
    }

    fn event_source(&self) -> Option<BorrowedFd<'_>> {
        self.inner.event_source()
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, EngineError> {
        self.record(Operation::Statistics, String::new(), E::statistics)
    }
}
