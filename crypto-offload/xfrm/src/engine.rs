//! The engine itself.

use std::{net::IpAddr, os::fd::BorrowedFd};

use crypto_offload::{
    Capabilities, Effective, EngineError, EngineEvent, ErrorClass, InstalledSa, IpsecEngine,
    Placement, PolicyDirection, PolicySpec, Reqid, SaId, SaSpec, SaUsage, Selector,
};

/// The kernel's IPsec in one network namespace.
#[derive(Debug)]
pub struct XfrmEngine {
    capabilities: Capabilities,
}

impl XfrmEngine {
    /// In the network namespace of the calling thread, for good.
    ///
    /// # Errors
    /// Without XFRM in the kernel, or without CAP_NET_ADMIN.
    pub fn open() -> Result<Self, EngineError> {
        Ok(Self { capabilities: Capabilities::default() })
    }
}

impl IpsecEngine for XfrmEngine {
    fn name(&self) -> &'static str {
        "xfrm"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn probe(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn reserve(&mut self, id: SaId, _: IpAddr, _: Reqid) -> Result<(), EngineError> {
        Err(absent("reserve SPI", id.to_string()))
    }

    fn install(&mut self, sa: &SaSpec, _: Placement) -> Result<Effective, EngineError> {
        Err(absent("install SA", sa.id.to_string()))
    }

    fn remove(&mut self, _: SaId) -> Result<(), EngineError> {
        Ok(())
    }

    fn set_policy(&mut self, policy: &PolicySpec, _: Placement) -> Result<(), EngineError> {
        Err(absent("set policy", policy.selector.to_string()))
    }

    fn remove_policy(&mut self, _: PolicyDirection, _: &Selector) -> Result<(), EngineError> {
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<InstalledSa>, EngineError> {
        Ok(Vec::new())
    }

    fn usage(&mut self, id: SaId) -> Result<SaUsage, EngineError> {
        Err(absent("read SA", id.to_string()))
    }

    fn events(&mut self) -> Result<Vec<EngineEvent>, EngineError> {
        Ok(Vec::new())
    }

    fn event_source(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, EngineError> {
        Ok(Vec::new())
    }
}

fn absent(operation: &str, object: String) -> EngineError {
    EngineError {
        class: ErrorClass::Unsupported,
        operation: operation.to_owned(),
        object,
        reason: "this build speaks no netlink".to_owned(),
        hint: None,
    }
}
