//! What the tests share: a model of a kernel, and an agent over it.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its part")]
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

pub mod agent;
pub mod client;
pub mod model;
