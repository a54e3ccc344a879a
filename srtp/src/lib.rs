//! SRTP and SRTCP (RFC 3711, RFC 7714), sans-IO: in place in the caller's buffer, without
//! allocation per packet.
#![forbid(unsafe_code)]

mod master_key;
mod profile;

pub use master_key::MasterKey;
pub use profile::Profile;
