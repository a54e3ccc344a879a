//! The built `gateway` binary, from outside: its command line, its listeners, its signals, and
//! calls whose media it relays. Every test has an address of 127/8 to itself, so they run side by
//! side.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here is the test; clippy.toml only knows functions marked as tests"
)]

mod calls;
mod command_line;
mod deploy;
mod lifecycle;
mod listeners;
mod media;
mod ng_protocol;
mod process;
mod rekey;
mod remote;
mod tls;
