//! What we keep of root: CAP_NET_ADMIN for SAs, policies and devices, CAP_NET_RAW for ESP sockets,
//! CAP_NET_BIND_SERVICE for ESP in UDP on a low port. Nothing that we start can have more.

use std::io;

use rustix::{
    mm::MlockAllFlags,
    process::{DumpableBehavior, Resource, Rlimit},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::sys;

/// Who is to live with what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The agent, with its socket and files made.
    OwnNeeds,
    /// A supervisor's child, which has to give its socket to others.
    ChildsNeeds,
}

/// Files for us alone, no core dumps, no debugger. First of all.
pub(crate) fn keep_private() -> io::Result<()> {
    sys::restrict_new_files();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Gives up what we do not need. Before any thread is started: capabilities are a thread's.
pub(crate) fn restrict(keep: Keep) -> io::Result<()> {
    let wanted = match keep {
        Keep::OwnNeeds => KEPT,
        Keep::ChildsNeeds => KEPT.union(FOR_A_CHILD),
    };
    rustix::thread::set_no_new_privs(true)?;
    drop_bounding_set(wanted);
    let kept = rustix::thread::capabilities(None)?.permitted & wanted;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}

/// Lifts the limit of locked memory, for us and for a child; before the capabilities go.
pub(crate) fn allow_locking() {
    let none = Rlimit { current: None, maximum: None };
    // Without CAP_SYS_RESOURCE it stays as it is, and `lock_memory` says what that means.
    let _ = rustix::process::setrlimit(Resource::Memlock, none);
}

/// Keeps keys out of swap. Only where the limit is lifted: below it, once CAP_IPC_LOCK is gone,
/// memory that is to be locked cannot be had.
pub(crate) fn lock_memory() {
    if rustix::process::getrlimit(Resource::Memlock).current.is_some() {
        tracing::info!("keys may be swapped out: LimitMEMLOCK=infinity keeps them in memory");
        return;
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if let Err(error) = rustix::mm::mlockall(flags) {
        tracing::info!(%error, "keys may be swapped out");
    }
}

/// Without CAP_SETPCAP the bounding set stays, and no_new_privs alone keeps what is not there out.
fn drop_bounding_set(wanted: CapabilitySet) {
    for capability in CapabilitySet::all().difference(wanted).iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
}

const KEPT: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW).union(CapabilitySet::NET_BIND_SERVICE);

/// Its socket's owner (CAP_CHOWN), and giving that up (CAP_SETPCAP).
const FOR_A_CHILD: CapabilitySet = CapabilitySet::CHOWN.union(CapabilitySet::SETPCAP);
