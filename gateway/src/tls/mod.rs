//! TLS listeners: wires the relay of `tls-relay` to the configuration, events, metrics, the admin
//! API and signals. It moves no byte itself.

pub(crate) mod settings;
