//! Requests about policies, and policies as the kernel tells of them: `struct
//! xfrm_userpolicy_info`, `xfrm_userpolicy_id` and `xfrm_user_tmpl`.

use crypto_offload::{Lifetimes, Limits, PolicyDirection, PolicySpec, Selector};

use super::{
    netlink::{Fields, attribute},
    numbers::{
        IPPROTO_ESP, NLM_F_ACK, NLM_F_DUMP, XFRM_MSG_DELPOLICY, XFRM_MSG_GETPOLICY,
        XFRM_MSG_NEWPOLICY, XFRM_MSG_UPDPOLICY, XFRM_OFFLOAD_PACKET, XFRM_POLICY_ALLOW,
        XFRM_POLICY_BLOCK, XFRM_POLICY_FWD, XFRM_POLICY_IN, XFRM_POLICY_OUT, XFRMA_OFFLOAD_DEV,
        XFRMA_TMPL,
    },
    request::{Request, family},
    sa::{LIFETIME_CONFIG_LEN, LIFETIME_CURRENT_LEN, lifetimes, mode_number},
    selector::{self, SELECTOR_LEN},
};

/// What becomes of a policy of the same selector and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// There must be none.
    New,
    /// It is replaced in one step: no packet sees neither or both.
    Replace,
}

/// Of every policy that we set, and how we know ours again after a restart; the kernel has no
/// other room for an owner. A lower number wins: those that IKE daemons make (strongSwan counts
/// down from 400,000) yield to ours, while one that an operator makes by hand (`ip xfrm policy`,
/// 0 unless told otherwise) overrides ours.
pub(crate) const PRIORITY: u32 = 0x504f;

/// Sets a policy; with a device, for packet offload.
pub(crate) fn set(policy: &PolicySpec, how: Set, device: Option<u32>) -> Request {
    let kind = match how {
        Set::New => XFRM_MSG_NEWPOLICY,
        Set::Replace => XFRM_MSG_UPDPOLICY,
    };
    let mut request = Request::new(kind, NLM_F_ACK);
    selector::encode(&mut request, &policy.selector);
    lifetimes(&mut request, &Lifetimes { soft: Limits::default(), hard: Limits::default() });
    request.zeros(LIFETIME_CURRENT_LEN).u32(PRIORITY).u32(0);
    // no flags, shared by any
    request.u8(direction_number(policy.direction)).u8(action(policy)).u8(0).u8(0).zeros(4);
    // Where the policy blocks, the template only says whose it is.
    request.attribute(XFRMA_TMPL, |request| template(request, policy));
    if let Some(index) = device {
        request.attribute(XFRMA_OFFLOAD_DEV, |request| {
            request.u32(index).u8(XFRM_OFFLOAD_PACKET).zeros(3);
        });
    }
    request
}

/// Asks for a policy.
pub(crate) fn read(direction: PolicyDirection, selector: &Selector) -> Request {
    named(XFRM_MSG_GETPOLICY, direction, selector)
}

/// Takes a policy away.
pub(crate) fn remove(direction: PolicyDirection, selector: &Selector) -> Request {
    named(XFRM_MSG_DELPOLICY, direction, selector)
}

/// Asks for every policy.
pub(crate) fn all() -> Request {
    Request::new(XFRM_MSG_GETPOLICY, NLM_F_DUMP)
}

/// A policy that the kernel has, as far as it tells whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// `None`: a socket's own.
    pub(crate) place: Option<(PolicyDirection, Selector)>,
    /// Whether packets that fit go on at all.
    pub(crate) action: Action,
    pub(crate) priority: u32,
    /// Of its first template; `None` for a policy without any.
    pub(crate) reqid: Option<u32>,
}

/// What becomes of a packet that a policy without SAs is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Block,
}

impl Policy {
    /// From XFRM_MSG_NEWPOLICY.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let selector = fields.take(SELECTOR_LEN)?;
        fields.take(LIFETIME_CONFIG_LEN + LIFETIME_CURRENT_LEN)?;
        let (priority, _index) = (fields.u32()?, fields.u32()?);
        let (direction, action) = (fields.u8()?, fields.u8()?);
        fields.take(6)?; // flags, share, padding
        let reqid = attribute(fields.0, XFRMA_TMPL).and_then(|template| {
            let mut fields = Fields(template);
            fields.take(REQID_AT)?;
            fields.u32()
        });
        let action = if action == XFRM_POLICY_BLOCK { Action::Block } else { Action::Allow };
        let place = direction_of(direction).zip(selector::decode(selector));
        Some(Self { place, action, priority, reqid })
    }
}

fn named(kind: u16, direction: PolicyDirection, selector: &Selector) -> Request {
    let mut request = Request::new(kind, NLM_F_ACK);
    selector::encode(&mut request, selector);
    request.u32(0).u8(direction_number(direction)).zeros(3);
    request
}

/// `struct xfrm_user_tmpl`: any algorithm will do, for the reqid ties it to SAs that we made.
fn template(request: &mut Request, policy: &PolicySpec) {
    let spi = policy.spi.map_or(0, |spi| spi.value());
    request.address(policy.destination).be32(spi).u8(IPPROTO_ESP).zeros(3);
    request.u16(family(policy.destination)).zeros(2).address(policy.source);
    request.u32(policy.reqid.0.get()).u8(mode_number(policy.mode)).zeros(3);
    request.u32(u32::MAX).u32(u32::MAX).u32(u32::MAX);
}

/// Without an SA that is named, outbound traffic is dropped and counted (`XfrmOutPolBlock`), and
/// local senders hear of it (EPERM). A template alone would do the former with an acquire to every
/// IKE daemon and a larval SA for each try, and only where `xfrm_larval_drop` is set.
const fn action(policy: &PolicySpec) -> u8 {
    match (policy.direction, policy.spi) {
        (PolicyDirection::Out, None) => XFRM_POLICY_BLOCK,
        _ => XFRM_POLICY_ALLOW,
    }
}

/// `None` for those of sockets.
const fn direction_of(number: u8) -> Option<PolicyDirection> {
    match number {
        XFRM_POLICY_IN => Some(PolicyDirection::In),
        XFRM_POLICY_OUT => Some(PolicyDirection::Out),
        XFRM_POLICY_FWD => Some(PolicyDirection::Forward),
        _ => None,
    }
}

const fn direction_number(direction: PolicyDirection) -> u8 {
    match direction {
        PolicyDirection::In => XFRM_POLICY_IN,
        PolicyDirection::Out => XFRM_POLICY_OUT,
        PolicyDirection::Forward => XFRM_POLICY_FWD,
    }
}

/// Where `struct xfrm_user_tmpl` has its reqid.
const REQID_AT: usize = 44;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn policy() -> PolicySpec {
        let sa = example::outbound();
        PolicySpec {
            direction: PolicyDirection::Out,
            selector: sa.selector,
            mode: sa.mode,
            source: sa.source,
            destination: sa.id.destination,
            reqid: sa.reqid,
            spi: Some(sa.id.spi),
            device: None,
        }
    }

    fn words(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    #[test]
    fn golden_updpolicy() {
        let bytes = set(&policy(), Set::Replace, Some(7)).finish(2, 0);
        // header, struct, template, device
        let mut golden = words(&[16 + 168 + 68 + 12]);
        golden.extend([XFRM_MSG_UPDPOLICY.to_ne_bytes(), 5u16.to_ne_bytes()].concat());
        golden.extend(words(&[2, 0]));
        golden.extend([10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([0; 8]);
        golden.extend(2u16.to_ne_bytes());
        golden.extend([16, 16, 0, 0, 0, 0]);
        golden.extend([0; 8]);
        golden.extend([0xff; 32]);
        golden.extend([0; 32 + 32]);
        golden.extend(words(&[PRIORITY, 0]));
        golden.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        // the template
        golden.extend([68u16.to_ne_bytes(), 5u16.to_ne_bytes()].concat());
        golden.extend([192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([0xc0, 0, 0, 1, 50, 0, 0, 0]);
        golden.extend([2u16.to_ne_bytes(), 0u16.to_ne_bytes()].concat());
        golden.extend([192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend(words(&[77]));
        golden.extend([1, 0, 0, 0]);
        golden.extend([0xff; 12]);
        // the device
        golden.extend([12u16.to_ne_bytes(), 28u16.to_ne_bytes()].concat());
        golden.extend(words(&[7]));
        golden.extend([4, 0, 0, 0]);
        assert_eq!(*bytes, golden);
    }

    #[test]
    fn outbound_traffic_without_an_sa_is_blocked_and_inbound_needs_one() {
        const ACTION: usize = 16 + 56 + 64 + 32 + 4 + 4 + 1;
        let action = |policy: PolicySpec| set(&policy, Set::New, None).finish(2, 0)[ACTION];
        assert_eq!(action(policy()), XFRM_POLICY_ALLOW);
        let blocked = PolicySpec { spi: None, ..policy() };
        assert_eq!(action(blocked.clone()), XFRM_POLICY_BLOCK);
        for direction in [PolicyDirection::In, PolicyDirection::Forward] {
            assert_eq!(action(PolicySpec { direction, ..blocked.clone() }), XFRM_POLICY_ALLOW);
        }
        let found = Policy::decode(&set(&blocked, Set::New, None).finish(2, 0)[16..]);
        let owner = found.map(|found| (found.action, found.priority, found.reqid));
        assert_eq!(owner, Some((Action::Block, PRIORITY, Some(77))));
    }

    #[test]
    fn golden_delpolicy() {
        let bytes = remove(PolicyDirection::Forward, &policy().selector).finish(2, 0);
        assert_eq!(bytes.len(), 16 + 64);
        assert_eq!(bytes[4..6], XFRM_MSG_DELPOLICY.to_ne_bytes());
        assert_eq!(bytes[16 + 56..], [0, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn a_policy_is_read_back_with_its_owner() {
        let bytes = set(&policy(), Set::New, None).finish(2, 0);
        let ours = Policy {
            place: Some((PolicyDirection::Out, policy().selector)),
            action: Action::Allow,
            priority: PRIORITY,
            reqid: Some(77),
        };
        assert_eq!(Policy::decode(&bytes[16..]), Some(ours));
        let without_template = Policy::decode(&bytes[16..16 + 168]);
        assert_eq!(without_template, Some(Policy { reqid: None, ..ours }));
        let mut sockets = bytes[16..].to_vec();
        sockets[160] = 4;
        assert_eq!(Policy::decode(&sockets), Some(Policy { place: None, ..ours }));
        assert_eq!(Policy::decode(&bytes[16..16 + 167]), None);
    }
}
