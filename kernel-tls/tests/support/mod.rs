//! What the tests share: certificates, both ends of a connection, one cut up at will, an attacker.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its part")]
#![allow(clippy::expect_used, reason = "a test may end with a panic")]

pub mod attacker;
pub mod end;
pub mod exchange;
pub mod pki;
