//! TLS connections over rustls whose records are the kernel's (kTLS) where it can take them, and
//! ours where it cannot: one type, [`Stream`], whichever it is, with KeyUpdate in both.
//!
//! All sockets are non-blocking and belong to the caller, and so does the event loop: calls do
//! what can be done at once and answer `WouldBlock` otherwise. The handshake does no I/O at all.
//!
//! | module | holds |
//! |---|---|
//! | `hello` | the ClientHello, looked at before a configuration is chosen |
//! | `handshake` | server and client, over rustls's unbuffered connections |
//! | `stream` | the established connection |
//! | `user` | its records in user space |
//! | `handover` | the only place where traffic secrets leave rustls |
//! | `kernel`, `post_handshake`, `update` | its records in the kernel, and when keys are renewed |
//! | `install`, `crypto_info`, `last_words` | how the kernel gets the keys, and what if it does not |
//! | `probe` | what this kernel can do, and how we know |
//! | `diag`, `stat` | what it does: with one socket, and in sum |
//! | `sys` | the system calls; the only `unsafe` |
//! | `policy`, `path` | where records may be processed, and where they are |
//! | `scratch` | the buffers that the streams of a thread share |

mod connection;
mod crypto_info;
mod diag;
mod failure;
mod fault;
mod handover;
mod handshake;
mod hello;
mod install;
mod kernel;
mod last_words;
mod path;
mod policy;
mod post_handshake;
mod probe;
mod record;
mod scratch;
mod stat;
mod stream;
mod sys;
mod update;
mod user;

pub use crypto_info::{Cipher, Version, Way};
pub use diag::{Diagnosis, DiagnosisError, diagnose};
pub use failure::{HandshakeError, RecordError};
pub use handshake::{Handshake, Progress, Reading};
pub use hello::{Hello, HelloReader};
pub use kernel::Spliced;
pub use path::{Paths, RecordPath};
pub use policy::{KernelUse, Policy};
pub use probe::{Line, Support, TlsFeature};
pub use scratch::Scratch;
pub use stat::TlsStatistics;
pub use stream::{AskPeer, Received, Stream};
