//! AES in counter mode with HMAC-SHA1 (RFC 3711 sections 4.1.1 and 4.2.1).

use aes::{Aes128Enc, cipher::KeyInit};
use ctr::{
    CtrCore,
    cipher::{InnerIvInit, StreamCipherCore},
    flavors::Ctr128BE,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::{PacketId, Transform, hmac_sha1::HmacSha1};
use crate::{Refusal, SessionKeys, session_keys::MAX_SALT_LEN};

/// Encrypts, then authenticates; opening, it authenticates first.
pub(crate) struct AesCm {
    cipher: Aes128Enc,
    hmac: HmacSha1,
    salt: [u8; MAX_SALT_LEN],
    tag_len: usize,
}

impl AesCm {
    #[expect(clippy::expect_used, reason = "SessionKeys holds a key of its profile's length")]
    pub(super) fn new(keys: &SessionKeys, tag_len: usize) -> Self {
        let cipher = Aes128Enc::new_from_slice(keys.dangerous_cipher_key())
            .expect("a key of its profile's length");
        let hmac = HmacSha1::new(keys.dangerous_auth_key());
        Self { cipher, hmac, salt: *keys.dangerous_salt(), tag_len }
    }

    /// `IV = (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16)`; the last 16 bits count blocks.
    fn apply_keystream(&self, id: PacketId, body: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..MAX_SALT_LEN].copy_from_slice(&self.salt);
        let id = u128::from(id.ssrc) << 64 | u128::from(id.index) << 16;
        let iv = (u128::from_be_bytes(iv) ^ id).to_be_bytes();
        CtrCore::<_, Ctr128BE>::inner_iv_init(&self.cipher, &iv.into())
            .apply_keystream_partial(body.into());
    }
}

impl Transform for AesCm {
    fn seal(&self, id: PacketId, message: &mut [u8], header_len: usize, tag: &mut [u8]) {
        self.apply_keystream(id, &mut message[header_len..]);
        let mac = self.hmac.mac(message, id.word());
        tag.copy_from_slice(&mac[..self.tag_len]);
    }

    fn open(
        &self,
        id: PacketId,
        message: &mut [u8],
        header_len: usize,
        tag: &[u8],
    ) -> Result<(), Refusal> {
        let mac = self.hmac.mac(message, id.word());
        if !bool::from(mac[..self.tag_len].ct_eq(tag)) {
            return Err(Refusal::AuthenticationFailed);
        }
        self.apply_keystream(id, &mut message[header_len..]);
        Ok(())
    }
}

impl Drop for AesCm {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}
