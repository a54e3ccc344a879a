//! An engine that only remembers: SAs and policies in maps, no packet ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::BorrowedFd,
};

use crate::{
    Answer, Capabilities, Capability, Effective, EngineError, EngineEvent, ErrorClass, Evidence,
    Feature, InstalledSa, IpsecEngine, Placement, PolicyDirection, PolicySpec, Reqid, SaId, SaSpec,
    SaUsage, Selector,
};

/// An engine of one placement, with room for so many SAs.
#[derive(Debug)]
pub struct Model {
    capabilities: Capabilities,
    placement: Placement,
    room: usize,
    sas: BTreeMap<SaId, InstalledSa>,
    reserved: BTreeSet<SaId>,
    policies: Vec<PolicySpec>,
    events: Vec<EngineEvent>,
}

impl Model {
    /// Everything that is installed comes out in `placement`, whatever was asked for.
    pub fn new(placement: Placement, room: usize) -> Self {
        let exists = Capability {
            placement,
            device: None,
            feature: Feature::Engine,
            answer: Answer::Yes,
            evidence: Evidence::Declared { by: "a model for tests".to_owned() },
        };
        Self {
            capabilities: Capabilities { entries: vec![exists] },
            placement,
            room,
            sas: BTreeMap::new(),
            reserved: BTreeSet::new(),
            policies: Vec::new(),
            events: Vec::new(),
        }
    }

    /// What it has of policies.
    pub fn policies(&self) -> &[PolicySpec] {
        &self.policies
    }

    /// It will tell this.
    pub fn tell(&mut self, event: EngineEvent) {
        self.events.push(event);
    }

    /// Sets an SA's counters. No such SA: nothing.
    pub fn count(&mut self, id: SaId, usage: SaUsage) {
        if let Some(sa) = self.sas.get_mut(&id) {
            sa.usage = usage;
        }
    }
}

impl IpsecEngine for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn probe(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn reserve(&mut self, id: SaId, _source: IpAddr, _reqid: Reqid) -> Result<(), EngineError> {
        if self.sas.contains_key(&id) || !self.reserved.insert(id) {
            return Err(refusal(ErrorClass::Conflict, "reserve SPI", id, "it is in use"));
        }
        Ok(())
    }

    fn install(&mut self, sa: &SaSpec, placement: Placement) -> Result<Effective, EngineError> {
        if self.sas.contains_key(&sa.id) {
            return Err(refusal(ErrorClass::Conflict, "install SA", sa.id, "it is there already"));
        }
        if self.sas.len() >= self.room {
            return Err(refusal(ErrorClass::Exhausted, "install SA", sa.id, "the table is full"));
        }
        self.reserved.remove(&sa.id);
        let installed = InstalledSa {
            id: sa.id,
            source: sa.source,
            reqid: sa.reqid.0.get(),
            placement: self.placement,
            device: None,
            aead: Some(sa.keying.aead()),
            algorithm: sa.keying.aead().to_string(),
            fingerprint: Some(sa.keying.fingerprint()),
            usage: SaUsage { sequence: sa.resume_after, ..SaUsage::default() },
        };
        self.sas.insert(sa.id, installed);
        let reason = (placement != self.placement).then(|| "a model has one place".to_owned());
        Ok(Effective { requested: placement, effective: self.placement, reason })
    }

    fn remove(&mut self, id: SaId) -> Result<(), EngineError> {
        self.reserved.remove(&id);
        self.sas.remove(&id);
        Ok(())
    }

    fn set_policy(&mut self, policy: &PolicySpec, _at: Placement) -> Result<(), EngineError> {
        self.remove_policy(policy.direction, &policy.selector)?;
        self.policies.push(policy.clone());
        Ok(())
    }

    fn remove_policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<(), EngineError> {
        self.policies.retain(|p| p.direction != direction || p.selector != *selector);
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<InstalledSa>, EngineError> {
        Ok(self.sas.values().cloned().collect())
    }

    fn usage(&mut self, id: SaId) -> Result<SaUsage, EngineError> {
        let gone = || refusal(ErrorClass::Gone, "read counters of SA", id, "there is no such SA");
        self.sas.get(&id).map(|sa| sa.usage).ok_or_else(gone)
    }

    fn events(&mut self) -> Result<Vec<EngineEvent>, EngineError> {
        Ok(std::mem::take(&mut self.events))
    }

    fn event_source(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, EngineError> {
        Ok(Vec::new())
    }
}

fn refusal(class: ErrorClass, operation: &str, id: SaId, reason: &str) -> EngineError {
    EngineError {
        class,
        operation: operation.to_owned(),
        object: id.to_string(),
        reason: reason.to_owned(),
        hint: None,
    }
}
