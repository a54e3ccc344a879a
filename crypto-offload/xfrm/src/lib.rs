//! Linux XFRM over netlink: the kernel's IPsec, in software or in a device, as an
//! [`IpsecEngine`](crypto_offload::IpsecEngine).
//!
//! An engine belongs to the network namespace in which it was opened. It holds no SA state: what
//! there is, the kernel says. It never flushes, and never touches an SA or a policy that it was
//! not asked about.

mod engine;

pub use engine::XfrmEngine;
