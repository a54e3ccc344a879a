//! DTLS-SRTP and ICE of the gateway's legs, beside the workers: threads that run the sans-IO agents
//! of the `webrtc` crate. A worker hands up STUN and DTLS, the agents hand down keys and paths.

pub mod plan;
