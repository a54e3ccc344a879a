//! Media sockets in batches, behind one small seam: io_uring and epoll.
//!
//! A worker owns one [`Driver`]. Each [`Driver::turn`] receives what has arrived, hands every
//! packet to the caller's closure in place, and sends what the closure says before it returns.
//! Between turns the worker waits on the driver's file descriptor. Nothing here knows RTP.

mod address;
mod ancillary;
mod any;
pub mod clock;
mod config;
mod driver;
pub mod epoll;
mod linger;
mod probe;
mod readiness;
mod slots;
mod socket;
mod sys;
pub mod uring;

pub use any::{AnyDriver, Choice, OpenError, Opened, open};
pub use config::{Config, TaskRun};
pub use driver::{Driver, Received, Token, Turn, Verdict};
pub use epoll::Epoll;
pub use probe::{Capability, probe};
pub use readiness::wait_readable;
pub use socket::{SocketOptions, open_media_socket, set_tos};
pub use uring::Uring;
