//! The records in user space: our two ends against each other, and against an attacker.
#![expect(clippy::expect_used, reason = "a test that cannot go on ends")]

#[path = "../support/mod.rs"]
mod support;

mod abuse;
mod hand_over;
mod refusals;
mod talk;
