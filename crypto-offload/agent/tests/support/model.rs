//! A kernel that is a map: it keeps SAs and policies as the trait says, outlives agents, and fails
//! the call that a test names. It proves nothing about real engines.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard},
};

use crypto_offload::{
    Answer, Capabilities, Capability, Direction, Effective, EngineError, EngineEvent, ErrorClass,
    Evidence, Feature, InstalledSa, IpsecEngine, KeyFingerprint, Placement, PolicyDirection,
    PolicySpec, Reqid, SaId, SaSpec, SaUsage, Selector,
};

/// What an engine of this name has.
#[derive(Default)]
pub struct Kernel {
    pub sas: BTreeMap<SaId, Sa>,
    pub reserved: Vec<SaId>,
    pub policies: BTreeMap<String, PolicySpec>,
    pub events: Vec<EngineEvent>,
    /// Calls that may fail, so far.
    pub calls: usize,
    /// Which of them fail, with what.
    pub failing: Option<(std::ops::RangeInclusive<usize>, ErrorClass)>,
    /// Every (key, direction) that was ever installed.
    pub installs: Vec<(KeyFingerprint, Direction)>,
    /// What each SA really comes out as, where it is not what was asked for.
    pub comes_out_as: Option<Placement>,
}

/// An SA in the map.
pub struct Sa {
    pub installed: InstalledSa,
    pub direction: Direction,
    pub resume_after: u64,
}

impl Kernel {
    /// What the end of its process does to a user-space engine.
    pub fn forget(&mut self) {
        self.sas.clear();
        self.policies.clear();
        self.reserved.clear();
    }
}

/// The engine over a kernel.
pub struct Model {
    name: &'static str,
    kernel: Arc<Mutex<Kernel>>,
    capabilities: Capabilities,
}

impl Model {
    pub fn new(
        name: &'static str,
        placements: &[Placement],
        kernel: &Arc<Mutex<Kernel>>,
    ) -> Box<Self> {
        let entry = |placement: &Placement| Capability {
            placement: *placement,
            device: placement.is_inline().then(|| "eth0".to_owned()),
            feature: Feature::Engine,
            answer: Answer::Yes,
            evidence: Evidence::Declared { by: "the model".to_owned() },
        };
        let capabilities = Capabilities { entries: placements.iter().map(entry).collect() };
        Box::new(Self { name, kernel: Arc::clone(kernel), capabilities })
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().expect("no test panicked with it")
    }

    /// Counts a call, which may be the one that fails.
    fn call(&self, operation: &str, object: &dyn ToString) -> Result<(), EngineError> {
        let mut kernel = self.kernel();
        kernel.calls += 1;
        let calls = kernel.calls;
        match &kernel.failing {
            Some((which, class)) if which.contains(&calls) => {
                Err(error(*class, operation, object, "the test wants it"))
            }
            _ => Ok(()),
        }
    }
}

fn error(class: ErrorClass, operation: &str, object: &dyn ToString, reason: &str) -> EngineError {
    EngineError {
        class,
        operation: operation.to_owned(),
        object: object.to_string(),
        reason: reason.to_owned(),
        hint: None,
    }
}

fn policy_key(direction: PolicyDirection, selector: &Selector) -> String {
    format!("{direction:?} {selector}")
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

    fn reserve(&mut self, id: SaId, _: IpAddr, _: Reqid) -> Result<(), EngineError> {
        self.call("reserve SPI", &id)?;
        let mut kernel = self.kernel();
        if kernel.sas.contains_key(&id) || kernel.reserved.contains(&id) {
            return Err(error(ErrorClass::Conflict, "reserve SPI", &id, "it is in use"));
        }
        kernel.reserved.push(id);
        Ok(())
    }

    fn install(&mut self, sa: &SaSpec, placement: Placement) -> Result<Effective, EngineError> {
        self.call("install SA", &sa.id)?;
        let mut kernel = self.kernel();
        if kernel.sas.contains_key(&sa.id) {
            return Err(error(ErrorClass::Conflict, "install SA", &sa.id, "it exists"));
        }
        kernel.reserved.retain(|id| *id != sa.id);
        let effective = kernel.comes_out_as.unwrap_or(placement);
        let key = sa.keying.fingerprint();
        kernel.installs.push((key, sa.direction));
        let installed = InstalledSa {
            id: sa.id,
            source: sa.source,
            reqid: sa.reqid.0.get(),
            placement: effective,
            device: sa.device.clone(),
            aead: Some(sa.keying.aead()),
            fingerprint: Some(key),
            algorithm: sa.keying.aead().to_string(),
            usage: SaUsage { packets: 7, ..SaUsage::default() },
        };
        kernel.sas.insert(
            sa.id,
            Sa { installed, direction: sa.direction, resume_after: sa.resume_after },
        );
        let reason = (effective != placement).then(|| "the model says so".to_owned());
        Ok(Effective { requested: placement, effective, reason })
    }

    fn remove(&mut self, id: SaId) -> Result<(), EngineError> {
        self.call("remove SA", &id)?;
        let mut kernel = self.kernel();
        kernel.sas.remove(&id);
        kernel.reserved.retain(|reserved| *reserved != id);
        Ok(())
    }

    fn set_policy(&mut self, policy: &PolicySpec, _: Placement) -> Result<(), EngineError> {
        self.call("set policy", &policy.selector)?;
        let key = policy_key(policy.direction, &policy.selector);
        self.kernel().policies.insert(key, policy.clone());
        Ok(())
    }

    fn remove_policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<(), EngineError> {
        self.call("remove policy", selector)?;
        self.kernel().policies.remove(&policy_key(direction, selector));
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<InstalledSa>, EngineError> {
        Ok(self.kernel().sas.values().map(|sa| sa.installed.clone()).collect())
    }

    fn usage(&mut self, id: SaId) -> Result<SaUsage, EngineError> {
        let kernel = self.kernel();
        let sa = kernel.sas.get(&id);
        sa.map(|sa| sa.installed.usage)
            .ok_or_else(|| error(ErrorClass::Gone, "read", &id, "no such SA"))
    }

    fn events(&mut self) -> Result<Vec<EngineEvent>, EngineError> {
        Ok(std::mem::take(&mut self.kernel().events))
    }

    fn event_source(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, EngineError> {
        Ok(vec![("calls".to_owned(), self.kernel().calls as u64)])
    }
}
