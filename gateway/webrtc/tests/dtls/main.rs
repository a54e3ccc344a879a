//! DTLS-SRTP's contract: what holds for an association in either role.

mod certificates;
mod contract;
mod failures;
mod pair;
mod simulation;
