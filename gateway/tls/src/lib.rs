//! TLS listeners: TLS in and TCP to the SBC, or TCP in and TLS out. Only the crate is here yet.
