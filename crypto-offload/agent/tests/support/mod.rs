//! What the tests share: an agent over model kernels, and a client of its socket.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its part")]
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

pub mod agent;
pub mod client;
