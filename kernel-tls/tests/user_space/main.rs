//! The records in user space: our two ends against each other, and against an attacker.

#[path = "../support/mod.rs"]
mod support;

mod hand_over;
mod talk;
