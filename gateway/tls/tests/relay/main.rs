//! The relay in this process, with rustls on the TLS side and plain sockets on the other.
#![cfg(test)]

mod data;
mod ends;
mod keys;
mod limits;
mod proxy;
mod reload;
mod renewal;
mod support;
mod upstreams;
