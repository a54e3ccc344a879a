//! Media sockets in batches, behind one small seam: io_uring and epoll.
//!
//! A worker owns one [`Driver`]. Each [`Driver::turn`] receives what has arrived, hands every
//! packet to the caller's closure in place, and sends what the closure says before it returns.
//! Between turns the worker waits on the driver's file descriptor. Nothing here knows RTP.

mod driver;

pub use driver::{Driver, Received, Token, Turn, Verdict};
