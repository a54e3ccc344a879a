//! A kernel that is a map: it keeps SAs and policies as the trait says, outlives agents, and fails
//! the call that a test names. It proves nothing about real engines.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    os::fd::BorrowedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use crypto_offload::{
    Answer, Capabilities, Capability, Direction, Effective, EngineError, EngineEvent, ErrorClass,
    Evidence, Feature, InstalledSa, IpsecEngine, KeyFingerprint, Placement, PolicyDirection,
    PolicySpec, Reqid, SaId, SaSpec, SaUsage, Selector, Spi,
};
use serde::{Deserialize, Serialize};

/// What an engine of this name has.
#[derive(Default)]
pub struct Kernel {
    pub sas: BTreeMap<SaId, Sa>,
    pub reserved: Vec<SaId>,
    /// By direction and selector; the SPI of those that name one.
    pub policies: BTreeMap<String, Option<Spi>>,
    pub events: Vec<EngineEvent>,
    /// Calls that may fail, so far.
    pub calls: usize,
    /// Which of them fail, with what.
    pub failing: Option<(std::ops::RangeInclusive<usize>, ErrorClass)>,
    /// Every (key, direction) that was ever installed.
    pub installs: Vec<(KeyFingerprint, Direction)>,
    /// What each SA really comes out as, where it is not what was asked for.
    pub comes_out_as: Option<Placement>,
    /// Where SAs and policies outlive this process, too.
    pub file: Option<PathBuf>,
}

/// What is in the file.
type Saved = (Vec<(Sa, [u8; 16])>, BTreeMap<String, Option<Spi>>);

/// An SA in the map.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sa {
    pub installed: InstalledSa,
    pub direction: Direction,
    pub resume_after: u64,
}

impl Kernel {
    /// As its file says.
    pub fn open(file: PathBuf) -> Self {
        let mut kernel = Self { file: Some(file), ..Self::default() };
        let text = kernel.file.as_ref().and_then(|file| fs::read(file).ok());
        if let Some(text) = text {
            let (sas, policies): Saved = serde_json::from_slice(&text).expect("as saved");
            kernel.policies = policies;
            for (mut sa, key) in sas {
                sa.installed.fingerprint = Some(KeyFingerprint(key));
                kernel.sas.insert(sa.installed.id, sa);
            }
        }
        kernel
    }

    fn save(&self) {
        let Some(file) = &self.file else { return };
        let key = |sa: &Sa| sa.installed.fingerprint.expect("has one").0;
        let sas = self.sas.values().map(|sa| (sa.clone(), key(sa))).collect();
        let saved: Saved = (sas, self.policies.clone());
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec(&saved).expect("serializes")).expect("written");
        fs::rename(&new, file).expect("replaced");
    }

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
        kernel.save();
        let reason = (effective != placement).then(|| "the model says so".to_owned());
        Ok(Effective { requested: placement, effective, reason })
    }

    fn remove(&mut self, id: SaId) -> Result<(), EngineError> {
        self.call("remove SA", &id)?;
        let mut kernel = self.kernel();
        kernel.sas.remove(&id);
        kernel.reserved.retain(|reserved| *reserved != id);
        kernel.save();
        Ok(())
    }

    fn set_policy(&mut self, policy: &PolicySpec, _: Placement) -> Result<(), EngineError> {
        self.call("set policy", &policy.selector)?;
        let key = policy_key(policy.direction, &policy.selector);
        let mut kernel = self.kernel();
        kernel.policies.insert(key, policy.spi);
        kernel.save();
        Ok(())
    }

    fn remove_policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<(), EngineError> {
        self.call("remove policy", selector)?;
        let mut kernel = self.kernel();
        kernel.policies.remove(&policy_key(direction, selector));
        kernel.save();
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
