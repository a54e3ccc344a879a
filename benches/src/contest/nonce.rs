//! SRTP's nonces, for contestants that are only primitives.
//!
//! Made in one 128-bit word each: put together from bytes, the cipher's first load would wait for
//! several small stores, and the peers be slower than they need to be.

/// The salt, ready for [`Salt::counter`] or [`Salt::gcm`].
#[derive(Clone, Copy)]
pub(super) struct Salt(u128);

impl Salt {
    /// The session salt, padded on the right to 14 bytes.
    pub(super) fn new(salt: &[u8; 14]) -> Self {
        let mut word = [0; 16];
        word[..14].copy_from_slice(salt);
        Self(u128::from_be_bytes(word))
    }

    /// RFC 3711 section 4.1.1.
    pub(super) fn counter(self, ssrc: u32, index: u64) -> [u8; 16] {
        (self.0 ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16).to_be_bytes()
    }

    /// RFC 7714 section 8.1; of the salt its first 12 bytes.
    pub(super) fn gcm(self, ssrc: u32, index: u64) -> [u8; 12] {
        let word = self.0 ^ u128::from(ssrc) << 80 ^ u128::from(index) << 32;
        let [nonce @ .., _, _, _, _] = word.to_be_bytes();
        nonce
    }
}
