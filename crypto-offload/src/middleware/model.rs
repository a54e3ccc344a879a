//! An engine that only remembers: SAs and policies in maps, no packet ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    Answer, Capabilities, Capability, Direction, Effective, EngineError, EngineEvent, ErrorClass,
    Evidence, Feature, InstalledPolicy, InstalledSa, IpsecEngine, KeyFingerprint, Placement,
    PolicyDirection, PolicySpec, Precedence, Reqid, SaId, SaSpec, SaUsage, Selector,
};

/// An engine over a memory. Clones share it: one may be given away and the other looked at, and
/// what is remembered outlives each, as the kernel's SAs outlive processes.
#[derive(Clone, Debug)]
pub struct Model {
    name: &'static str,
    capabilities: Capabilities,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    sas: BTreeMap<SaId, ModelSa>,
    reserved: BTreeSet<SaId>,
    policies: Vec<PolicySpec>,
    foreign: Vec<InstalledPolicy>,
    events: Vec<EngineEvent>,
    room: Option<usize>,
    comes_out_as: Option<Placement>,
    stopped: Option<String>,
}

/// What a memory holds of an SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSa {
    /// As it is listed.
    pub installed: InstalledSa,
    /// As it was asked for.
    pub direction: Direction,
    /// As it was asked for.
    pub resume_after: u64,
}

/// What outlives a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// With the fingerprint of each one's key.
    pub sas: Vec<(ModelSa, [u8; 16])>,
    /// In no order.
    pub policies: Vec<PolicySpec>,
}

impl Model {
    /// With these placements, the inline ones on a device `eth0`, and room for any number of SAs.
    pub fn new(name: &'static str, placements: &[Placement]) -> Self {
        let entry = |placement: &Placement| Capability {
            placement: *placement,
            device: placement.is_inline().then(|| "eth0".to_owned()),
            feature: Feature::Engine,
            answer: Answer::Yes,
            evidence: Evidence::Declared { by: "a model for tests".to_owned() },
        };
        let capabilities = Capabilities { entries: placements.iter().map(entry).collect() };
        Self { name, capabilities, shared: Arc::default() }
    }

    /// From now on there is room for so many SAs.
    pub fn limit(&self, room: usize) {
        self.shared().room = Some(room);
    }

    /// From now on SAs come out there, whatever is asked for; `None`: as asked for.
    pub fn come_out_as(&self, placement: Option<Placement>) {
        self.shared().comes_out_as = placement;
    }

    /// From now on what it opens does not get past another engine's policies, for this reason.
    pub fn be_stopped(&self, reason: &str) {
        self.shared().stopped = Some(reason.to_owned());
    }

    /// What it has of SAs, by their ids.
    pub fn sas(&self) -> Vec<ModelSa> {
        self.shared().sas.values().cloned().collect()
    }

    /// What it has of policies, oldest first.
    pub fn policies(&self) -> Vec<PolicySpec> {
        self.shared().policies.clone()
    }

    /// SPIs that are reserved and not in use.
    pub fn reserved(&self) -> Vec<SaId> {
        self.shared().reserved.iter().copied().collect()
    }

    /// Somebody else sets a policy.
    pub fn put_policy(&self, policy: InstalledPolicy) {
        self.shared().foreign.push(policy);
    }

    /// Somebody else puts an SA there.
    pub fn put(&self, sa: ModelSa) {
        self.shared().sas.insert(sa.installed.id, sa);
    }

    /// Somebody else takes every SA away.
    pub fn lose_sas(&self) {
        self.shared().sas.clear();
    }

    /// What the end of its process does to an engine in user space.
    pub fn forget(&self) {
        let mut shared = self.shared();
        shared.sas.clear();
        shared.policies.clear();
        shared.reserved.clear();
    }

    /// It will tell this.
    pub fn tell(&self, event: EngineEvent) {
        self.shared().events.push(event);
    }

    /// Sets an SA's counters. No such SA: nothing.
    pub fn count(&self, id: SaId, usage: SaUsage) {
        if let Some(sa) = self.shared().sas.get_mut(&id) {
            sa.installed.usage = usage;
        }
    }

    /// To be kept for another process.
    pub fn memory(&self) -> Memory {
        let shared = self.shared();
        let key = |sa: &ModelSa| sa.installed.fingerprint.map_or([0; 16], |key| key.0);
        Memory {
            sas: shared.sas.values().map(|sa| (sa.clone(), key(sa))).collect(),
            policies: shared.policies.clone(),
        }
    }

    /// As another process left it.
    pub fn remember(&self, memory: Memory) {
        let mut shared = self.shared();
        shared.policies = memory.policies;
        for (mut sa, key) in memory.sas {
            sa.installed.fingerprint = Some(KeyFingerprint(key));
            shared.sas.insert(sa.installed.id, sa);
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IpsecEngine for Model {
    fn name(&self) -> &'static str {
        self.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn probe(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn reserve(&mut self, id: SaId, _source: IpAddr, _reqid: Reqid) -> Result<(), EngineError> {
        let mut shared = self.shared();
        if shared.sas.contains_key(&id) || !shared.reserved.insert(id) {
            return Err(refusal(ErrorClass::Conflict, "reserve SPI", id, "it is in use"));
        }
        Ok(())
    }

    fn install(&mut self, sa: &SaSpec, placement: Placement) -> Result<Effective, EngineError> {
        let refused = |class, reason| Err(refusal(class, "install SA", sa.id, reason));
        let mut shared = self.shared();
        if !self.capabilities.entries.iter().any(|entry| entry.placement == placement) {
            return refused(ErrorClass::Unsupported, "there is no such place");
        }
        if shared.sas.contains_key(&sa.id) {
            return refused(ErrorClass::Conflict, "it is there already");
        }
        if shared.room.is_some_and(|room| shared.sas.len() >= room) {
            return refused(ErrorClass::Exhausted, "the table is full");
        }
        shared.reserved.remove(&sa.id);
        let effective = shared.comes_out_as.unwrap_or(placement);
        shared.sas.insert(sa.id, remembered(sa, effective));
        let reason = (effective != placement).then(|| "it came out so".to_owned());
        Ok(Effective { requested: placement, effective, reason })
    }

    fn remove(&mut self, id: SaId) -> Result<(), EngineError> {
        let mut shared = self.shared();
        shared.reserved.remove(&id);
        shared.sas.remove(&id);
        Ok(())
    }

    /// As the kernel's do, and one in user space does not.
    fn sees_all_traffic(&self) -> bool {
        self.capabilities.entries.iter().any(|entry| entry.placement != Placement::UserSpace)
    }

    fn gets_past(&self, _policy: &PolicySpec) -> Result<(), String> {
        self.shared().stopped.clone().map_or(Ok(()), Err)
    }

    fn set_policy(&mut self, policy: &PolicySpec, _at: Placement) -> Result<(), EngineError> {
        let mut shared = self.shared();
        let known = shared
            .policies
            .iter_mut()
            .find(|known| (known.direction, known.selector) == (policy.direction, policy.selector));
        match known {
            Some(known) => known.clone_from(policy),
            None => shared.policies.push(policy.clone()),
        }
        Ok(())
    }

    fn remove_policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<(), EngineError> {
        self.shared().policies.retain(|p| p.direction != direction || p.selector != *selector);
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<InstalledSa>, EngineError> {
        Ok(self.shared().sas.values().map(|sa| sa.installed.clone()).collect())
    }

    fn policies(&mut self) -> Result<Vec<InstalledPolicy>, EngineError> {
        let shared = self.shared();
        let ours = shared.policies.iter().map(|policy| InstalledPolicy {
            direction: policy.direction,
            selector: policy.selector,
            reqid: Some(policy.reqid.0.get()),
            precedence: Precedence::OverOurs,
            detail: String::new(),
        });
        Ok(ours.chain(shared.foreign.iter().cloned()).collect())
    }

    fn usage(&mut self, id: SaId) -> Result<SaUsage, EngineError> {
        let gone = || refusal(ErrorClass::Gone, "read counters of SA", id, "there is no such SA");
        self.shared().sas.get(&id).map(|sa| sa.installed.usage).ok_or_else(gone)
    }

    fn events(&mut self) -> Result<Vec<EngineEvent>, EngineError> {
        Ok(std::mem::take(&mut self.shared().events))
    }

    fn event_source(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, EngineError> {
        Ok(Vec::new())
    }
}

fn remembered(sa: &SaSpec, placement: Placement) -> ModelSa {
    let installed = InstalledSa {
        id: sa.id,
        source: sa.source,
        reqid: sa.reqid.0.get(),
        placement,
        device: sa.device.clone().filter(|_| placement.is_inline()),
        aead: Some(sa.keying.aead()),
        algorithm: sa.keying.aead().to_string(),
        fingerprint: Some(sa.keying.fingerprint()),
        usage: SaUsage { sequence: sa.resume_after, ..SaUsage::default() },
    };
    ModelSa { installed, direction: sa.direction, resume_after: sa.resume_after }
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
