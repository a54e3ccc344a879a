//! DTLS-SRTP's contract: what holds for an association in either role, whoever the peer is.

mod contract;
mod failures;
mod pair;
