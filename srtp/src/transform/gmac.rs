//! AES-GCM that encrypts nothing: SRTCP with an E flag of 0 (RFC 7714 section 9.3).
//!
//! All of the packet is associated data, its E flag and index too, which stand behind the tag.
//! `ring` wants associated data in one piece; GHASH by itself takes it in two.

use ghash::{GHash, universal_hash::UniversalHash};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::{Aes, PacketId, Transform};
use crate::{Refusal, SessionKeys};

/// AES-GCM as a mere authenticator, with a 16-byte tag, of either key length.
pub(crate) struct Gmac {
    cipher: Aes,
    hash: GHash,
    /// The salt, in the first 12 of 16 bytes.
    salt: u128,
}

impl Gmac {
    pub(super) fn new(keys: &SessionKeys) -> Self {
        let cipher = Aes::new(keys.dangerous_cipher_key());
        let mut hash_key = block(&cipher, 0);
        let hash = GHash::new(&hash_key.into());
        hash_key.zeroize();
        let mut salt = [0; BLOCK_LEN];
        salt[..SALT_LEN].copy_from_slice(&keys.dangerous_salt()[..SALT_LEN]);
        let gmac = Self { cipher, hash, salt: u128::from_be_bytes(salt) };
        salt.zeroize();
        gmac
    }

    /// The tag of `message ‖ word` (SP 800-38D section 7.1 with an empty plaintext).
    fn tag(&self, id: PacketId, message: &[u8]) -> [u8; BLOCK_LEN] {
        let mut hash = self.hash.clone();
        let (blocks, rest) = message.as_chunks::<BLOCK_LEN>();
        hash.update_padded(blocks.as_flattened());
        let word = id.word();
        let mut tail = [0; 2 * BLOCK_LEN];
        let len = rest.len() + word.len();
        tail[..rest.len()].copy_from_slice(rest);
        tail[rest.len()..len].copy_from_slice(&word);
        hash.update_padded(&tail[..len]);
        let bits = 8 * (message.len() + word.len()) as u128;
        hash.update_padded(&(bits << 64).to_be_bytes());

        // RFC 7714 section 9.1; GCM's own counter fills the last four bytes and is 1 for the tag.
        let counter = self.salt ^ (u128::from(id.ssrc) << 80 | u128::from(id.index) << 32) | 1;
        let mut tag = block(&self.cipher, counter);
        for (byte, hash) in tag.iter_mut().zip(hash.finalize()) {
            *byte ^= hash;
        }
        tag
    }
}

impl Transform for Gmac {
    fn seal(&self, id: PacketId, message: &mut [u8], _header_len: usize, tag: &mut [u8]) {
        tag.copy_from_slice(&self.tag(id, message));
    }

    fn open(
        &self,
        id: PacketId,
        message: &mut [u8],
        _header_len: usize,
        tag: &[u8],
    ) -> Result<(), Refusal> {
        if !bool::from(self.tag(id, message).ct_eq(tag)) {
            return Err(Refusal::AuthenticationFailed);
        }
        Ok(())
    }

    fn seal_with_csrcs(&self, id: PacketId, message: &mut [u8], _csrc_len: usize, tag: &mut [u8]) {
        self.seal(id, message, 0, tag);
    }

    fn open_with_csrcs(
        &self,
        id: PacketId,
        message: &mut [u8],
        _csrc_len: usize,
        tag: &[u8],
    ) -> Result<(), Refusal> {
        self.open(id, message, 0, tag)
    }
}

impl Drop for Gmac {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

/// AES of `input`: its keystream's first block.
fn block(cipher: &Aes, input: u128) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    cipher.apply_keystream(input.to_be_bytes(), &mut block);
    block
}

const BLOCK_LEN: usize = 16;
/// The session salt of RFC 7714, as long as GCM's nonce.
const SALT_LEN: usize = 12;
