//! TLS terminators under the same load: our gateway, HAProxy and nginx's stream module.
//!
//! [`terminator`] starts one pinned to a core, with an [`identity`] that all of them get; [`peer`]
//! is a TLS client without a socket's patience, [`client`] how it is configured; [`upstream`] is
//! what stands behind the terminator. Client and upstream share one thread and one [`poller`], so
//! that the other core carries nothing but them.

pub mod client;
pub mod identity;
pub mod load;
pub mod peer;
pub mod poller;
pub mod terminator;
pub mod upstream;
