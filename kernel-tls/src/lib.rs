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
//! | `support` | what this kernel can do, and how we know |
//! | `policy`, `path` | where records may be processed, and where they are |
//! | `scratch` | the buffers that the streams of a thread share |

mod connection;
mod failure;
#[expect(dead_code, reason = "the kernel half uses it")]
mod handover;
mod handshake;
mod hello;
mod path;
mod policy;

mod record;
mod scratch;
mod stream;
mod support;
mod user;

pub use failure::{HandshakeError, RecordError};
pub use handshake::{Handshake, Progress, Reading};
pub use hello::{Hello, HelloReader};
pub use path::{Paths, RecordPath};
pub use policy::{KernelUse, Policy};
pub use scratch::Scratch;
pub use stream::{AskPeer, Received, Stream};
pub use support::Support;
