//! What we keep of root: CAP_NET_ADMIN for SAs, policies and devices, CAP_NET_RAW for ESP sockets,
//! CAP_NET_BIND_SERVICE for ESP in UDP on a low port. Nothing that we start can have more.

use std::io;

use rustix::{
    mm::MlockAllFlags,
    process::DumpableBehavior,
    thread::{CapabilitySet, CapabilitySets},
};

use crate::sys;

/// Gives up what we do not need. Before any thread is started: capabilities are a thread's.
pub(crate) fn restrict() -> io::Result<()> {
    sys::restrict_new_files();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    drop_bounding_set();
    let now = rustix::thread::capabilities(None)?;
    let kept = now.permitted & KEPT;
    // What is kept is inheritable too, for a supervised agent of a user who is not root.
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}

/// Keys stay out of swap where we may say so: it takes CAP_IPC_LOCK or a limit that is high enough.
/// Before the capabilities go.
pub(crate) fn lock_memory() {
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if let Err(error) = rustix::mm::mlockall(flags) {
        tracing::info!(%error, "keys may be swapped out: raise LimitMEMLOCK to keep them in memory");
    }
}

/// Without CAP_SETPCAP the bounding set stays, and no_new_privs alone keeps what is not there out.
fn drop_bounding_set() {
    for capability in CapabilitySet::all().difference(KEPT).iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
}

const KEPT: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW).union(CapabilitySet::NET_BIND_SERVICE);
