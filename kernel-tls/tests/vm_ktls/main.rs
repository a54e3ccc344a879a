//! Records in the kernel, on kernels that have TLS: our streams against our own user-space half
//! (rustls), against an attacker who seals whatever it likes, and against OpenSSL.
#![allow(unreachable_pub, reason = "modules of a test")]
#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod attacker;
mod carries;
mod ends;
mod foreign;
mod ground;
mod half;
mod splices;
mod surprises;
mod sys;
mod truth;
mod updates;
