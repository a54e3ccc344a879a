//! Records in the kernel, on kernels that have TLS: our streams against our own user-space half
//! (rustls), and against an attacker who seals whatever it likes.
#![allow(unreachable_pub, reason = "modules of a test")]
#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod attacker;
mod carries;
mod ends;
mod ground;
mod splices;
mod surprises;
mod truth;
mod updates;
