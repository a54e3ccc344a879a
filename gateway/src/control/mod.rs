//! The control side.
mod udp;
