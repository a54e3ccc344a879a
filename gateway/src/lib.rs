//! The media-relay sidecar: [`session`] decides what a call is (sans-IO), [`relay`] moves its
//! packets (the hot path), and everything else wires the two to sockets, signals and listeners.

pub mod cli;
pub mod config;
mod control;
mod events;
mod metrics;
mod ports;
pub mod relay;
pub mod session;
mod sys;
mod systemd;
