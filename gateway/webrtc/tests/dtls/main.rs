//! DTLS-SRTP's contract: what holds for an association in either role.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod certificates;
mod contract;
mod failures;
mod pair;
mod simulation;
