//! Two gateways in one process: real mutual TLS between them, and a model agent each.

mod admin;
mod begun_again;
mod by_hand;
mod queue;
mod rotation;
mod schedule;
mod site;
