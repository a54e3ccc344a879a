//! Media sockets in batches, behind one small seam: io_uring and epoll.
//!
//! A worker owns one [`Driver`]. Each [`Driver::turn`] receives what has arrived, hands every
//! packet to the caller's closure in place, and sends what the closure says before it returns.
//! Between turns the worker waits on the driver's file descriptor. Nothing here knows RTP.
//!
//! Beside it, what a user-space ESP engine stands on: [`tun::Tun`] and [`esp::EspSocket`] read
//! into and write from one [`PacketBatch`], whose packets are sealed and opened in place; a
//! [`WaitSet`] sleeps until one of them, or another thread's [`Alarm`], has something. One turn of
//! an engine that owns a device and some sockets:
//!
//! 1. [`WaitSet::wait`]; not at all while [`tun::Tun::has_pending`].
//! 2. [`tun::Tun::read`], seal each packet, set its [`Place`]'s token and peer (or
//!    [`Place::discard`] it), [`esp::EspSocket::send`] of every socket: each takes what is its own.
//! 3. For each readable socket [`esp::EspSocket::receive`], open each packet,
//!    [`tun::Tun::write`]; for each with an error [`esp::EspSocket::take_path_events`].

mod address;
mod ancillary;
mod any;
mod batch;
mod checksum;
pub mod clock;
mod config;
mod driver;
pub mod epoll;
pub mod esp;
mod linger;
mod offload;
mod probe;
mod readiness;
mod slots;
mod socket;
mod sys;
pub mod tun;
pub mod uring;
mod wait;

pub use any::{AnyDriver, Choice, OpenError, Opened, open};
pub use batch::{PacketBatch, PacketMut, Peer, Place};
pub use config::{Config, TaskRun};
pub use driver::{Driver, Received, Token, Turn, Verdict};
pub use epoll::Epoll;
pub use offload::{Offload, Support};
pub use probe::{Capability, probe};
pub use readiness::wait_readable;
pub use socket::{SocketOptions, open_media_socket, set_tos};
pub use uring::Uring;
pub use wait::{Alarm, Ready, WaitSet};
