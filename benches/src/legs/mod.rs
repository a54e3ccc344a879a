//! WebRTC legs by the hundred: calls over ng whose answering leg is ours, DTLS with or without ICE.
//!
//! [`fleet`] makes calls, shakes hands on them and ends them, all in one thread; [`leg`] is one of
//! them, [`signalling`] asks the relay, [`description`] is what is written and read, [`relay`] the
//! process that is asked, [`storm`] a fleet that never rests.

pub mod description;
pub mod fleet;
pub mod leg;
pub mod relay;
pub mod signalling;
pub mod storm;
