//! TLS with programs that nobody here wrote, through a running gateway.
//!
//! openssl, curl, GnuTLS, Kamailio, sipp and testssl.sh are the peers of listeners that terminate
//! and of listeners that originate TLS, and our own sockets are the peers that mean no good. Each
//! scenario has a network namespace and a gateway of its own.
//!
//! `make test` runs these; by hand `cargo test -p gateway --test tls -- --show-output`, with
//! POSTERN_GATEWAY naming a release build. They are no part of a plain `cargo test`: they need
//! root and several Debian packages. The files of a scenario that fails stay in /dev/shm.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test says what it did")]

mod capture;
mod dialogue;
mod gateway;
mod hostile;
#[path = "../real_peers/isolation/mod.rs"]
#[expect(dead_code, reason = "the scenarios name their peers themselves")]
mod isolation;
mod keymgr;
mod openssl;
mod operate;
mod pki;
mod report;
mod sbc;
mod scene;
mod sip;
mod trunk;
mod upstream;
mod web;
