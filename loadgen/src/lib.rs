//! loadgen: calls over ng, paced media, and the truth about the tail.
//!
//! [`setup`] makes calls through a relay ([`control`] speaks ng to it), [`media`] sends to a
//! schedule and receives, [`measure`] counts, [`report`] tells. [`demo`] does all of it against
//! a gateway it starts itself.

pub mod body;
pub mod cli;
pub mod control;
pub mod demo;
pub mod machine;
pub mod measure;
pub mod media;
pub mod packet;
pub mod report;
pub mod run;
pub mod setup;
