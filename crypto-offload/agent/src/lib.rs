//! `offload-agent`: the one process that holds CAP_NET_ADMIN.
//!
//! | module | holds |
//! |---|---|
//! | `user_space` | ESP over a TUN device, for kernels without ESP of their own |

pub mod user_space;
