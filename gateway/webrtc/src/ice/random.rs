//! Random numbers from a seed: unpredictable without it, the same again with it, so that a
//! simulation repeats itself. The seed comes from the caller, who has the operating system's.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::stun::TransactionId;

/// What an agent's random numbers follow from: 32 bytes of the operating system's generator. Not
/// to be used twice.
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    /// Takes a copy of `bytes`; the caller wipes its own.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// HMAC-SHA-1 of a counter under the seed.
pub(super) struct Random {
    seed: Seed,
    counter: u64,
}

impl Random {
    pub(super) fn new(seed: Seed) -> Self {
        Self { seed, counter: 0 }
    }

    /// A fresh transaction (RFC 7675 section 5.1 wants it cryptographically random).
    pub(super) fn transaction(&mut self) -> TransactionId {
        TransactionId(self.block())
    }

    /// A tie-breaker (RFC 8445 section 16.1).
    pub(super) fn tie_breaker(&mut self) -> u64 {
        u64::from_be_bytes(self.block())
    }

    /// Somewhere from 0.8 to 1.2 times `middle`.
    pub(super) fn around(&mut self, middle: Duration) -> Duration {
        let share = u32::from_be_bytes(self.block());
        middle.mul_f64(0.8 + 0.4 * f64::from(share) / f64::from(u32::MAX))
    }

    fn block<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 20) };
        self.counter += 1;
        let mut block = [0; N];
        // HMAC takes keys of every length.
        if let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&self.seed.0[..]) {
            mac.update(&self.counter.to_be_bytes());
            block.copy_from_slice(&mac.finalize().into_bytes()[..N]);
        }
        block
    }
}
