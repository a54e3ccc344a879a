//! Asks a gateway's admin API: `keymgr` over the Unix socket or from afar, and a gateway asking its
//! peer. HTTP/1.1 and JSON, over a Unix socket or over TLS 1.3 with certificates on both sides.
//!
//! [`Client`] keeps connections and reuses them. What goes wrong is a [`ClientError`], which says who
//! was asked, where, and what to do. The files that both ends of mutual TLS need, and who a
//! certificate is for, are in [`TlsFiles`] and [`identity_of`]; the gateway's listener reads them
//! the same way. It knows no SAs and no commands: those are their callers'.
#![forbid(unsafe_code)]

mod client;
mod error;
mod identity;
mod location;
mod place;
mod pool;
mod tls;

pub use client::Client;
pub use error::ClientError;
pub use identity::identity_of;
pub use key_files::FileError;
pub use location::location;
pub use place::{AdminUrl, BadUrl, Place};
pub use tls::{TlsFiles, TlsMaterial, provider};
