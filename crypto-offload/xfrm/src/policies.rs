//! Setting, removing and listing policies, of which only our own are touched.
//!
//! The kernel has one policy per selector and direction and no word of who made it, so that ours
//! carry a priority of their own, and their pair's reqid.

use crypto_offload::{
    EngineError, ErrorClass, InstalledPolicy, Placement, PolicyDirection, PolicySpec, Precedence,
    Selector,
};

use crate::{
    engine::XfrmEngine,
    failure::Operation,
    wire::{
        netlink::Refusal,
        policy::{self, Action, PRIORITY, Policy, Set},
    },
};

impl XfrmEngine {
    pub(crate) fn set_own_policy(
        &mut self,
        policy: &PolicySpec,
        placement: Placement,
    ) -> Result<(), EngineError> {
        let operation = Operation::SetPolicy(placement);
        let object = named(policy.direction, &policy.selector);
        let failed = |refusal: Refusal| operation.refused(&object, &refusal);
        let how = match self.policy(policy.direction, &policy.selector).map_err(failed)? {
            None => Set::New,
            Some(found) if is_ours(found, policy.reqid.0.get()) => Set::Replace,
            Some(found) => return Err(conflict(operation, &object, found)),
        };
        let device = self.policy_device(policy, placement)?;
        self.sas.tell(policy::set(policy, how, device)).map_err(failed)
    }

    pub(crate) fn remove_own_policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<(), EngineError> {
        let operation = Operation::RemovePolicy;
        let object = named(direction, selector);
        let failed = |refusal: Refusal| operation.refused(&object, &refusal);
        match self.policy(direction, selector).map_err(failed)? {
            None => return Ok(()),
            Some(found) if found.priority == PRIORITY => {}
            Some(found) => return Err(conflict(operation, &object, found)),
        }
        match self.sas.tell(policy::remove(direction, selector)) {
            Err(refusal) if refusal.errno != libc::ENOENT => Err(failed(refusal)),
            _ => Ok(()),
        }
    }

    /// All but those that sockets set for themselves.
    pub(crate) fn all_policies(&mut self) -> Result<Vec<InstalledPolicy>, EngineError> {
        let failed = |refusal| Operation::List.refused("policies", &refusal);
        let found = self.sas.dump(policy::all, Policy::decode).map_err(failed)?;
        Ok(found.into_iter().filter_map(installed).collect())
    }

    fn policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<Option<Policy>, Refusal> {
        match self.sas.ask(policy::read(direction, selector), Policy::decode) {
            Ok(policy) => Ok(Some(policy)),
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Only packet offload has policies in the device, no driver takes those for forwarding, and
    /// one that blocks has to look at what other devices send, too.
    fn policy_device(
        &mut self,
        policy: &PolicySpec,
        placement: Placement,
    ) -> Result<Option<u32>, EngineError> {
        let blocks = policy.direction == PolicyDirection::Out && policy.spi.is_none();
        if placement != Placement::InlinePacket
            || policy.direction == PolicyDirection::Forward
            || blocks
        {
            return Ok(None);
        }
        let Some(device) = &policy.device else {
            let object = named(policy.direction, &policy.selector);
            let (class, reason) = (ErrorClass::Unsupported, "an inline placement needs a device");
            return Err(Operation::SetPolicy(placement).impossible(object, class, reason, None));
        };
        self.device_index(device).map(Some)
    }
}

/// At the same priority the older one is met first, and nobody knows whose that is.
fn installed(found: Policy) -> Option<InstalledPolicy> {
    let (direction, selector) = found.place?;
    let what = match (found.reqid, found.action) {
        (Some(reqid), _) => format!("reqid {reqid}"),
        (None, Action::Allow) => "lets pass".to_owned(),
        (None, Action::Block) => "blocks".to_owned(),
    };
    let over = found.priority <= PRIORITY;
    Some(InstalledPolicy {
        direction,
        selector,
        reqid: found.reqid,
        precedence: if over { Precedence::OverOurs } else { Precedence::UnderOurs },
        detail: format!("priority {}, {what}", found.priority),
    })
}

fn is_ours(found: Policy, reqid: u32) -> bool {
    found.priority == PRIORITY && found.reqid == Some(reqid)
}

fn conflict(operation: Operation, object: &str, found: Policy) -> EngineError {
    let owner = match (found.priority, found.reqid) {
        (PRIORITY, Some(reqid)) => format!("another pair of ours has it, of reqid {reqid}"),
        (priority, Some(reqid)) => {
            format!("another program has it, with priority {priority} and reqid {reqid}")
        }
        (priority, None) => {
            format!("another program lets it pass or blocks it, with priority {priority}")
        }
    };
    operation.impossible(object, ErrorClass::Conflict, owner, Some("ip xfrm policy shows it"))
}

fn named(direction: PolicyDirection, selector: &Selector) -> String {
    let direction = direction.name();
    format!("{direction} {selector}")
}
