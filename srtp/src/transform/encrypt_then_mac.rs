//! Encryption by a keystream, authenticated by HMAC-SHA1 (RFC 3711 sections 3.3 and 4.2.1).
//!
//! What makes the keystream is the only thing in which these profiles differ. Opening, the tag is
//! checked before anything is decrypted.

use super::{
    HmacSha1, PacketId, Transform,
    hmac_sha1::{tag_matches, write_tag},
};
use crate::{
    Refusal,
    header_extension::{CLEAR_LEN, gathered},
};

/// What encrypts: XORs a packet with a keystream, which makes it its own inverse.
pub(crate) trait Keystream {
    /// Applies the packet's keystream to `body`. `header` is what precedes it in the packet.
    fn apply(&self, id: PacketId, header: &[u8], body: &mut [u8]);

    /// The same keystream block by block, for those who need only parts of it.
    fn blocks(&self, id: PacketId, header: &[u8]) -> impl FnMut() -> [u8; 16];
}

/// A keystream with HMAC-SHA1 over what it has encrypted.
pub(crate) struct EncryptThenMac<K> {
    pub(crate) keystream: K,
    pub(crate) hmac: HmacSha1,
    /// 10 or 4; or 0, if SRTP is not authenticated.
    pub(crate) tag_len: usize,
}

impl<K: Keystream> EncryptThenMac<K> {
    pub(super) fn new(keystream: K, hmac: HmacSha1, tag_len: usize) -> Self {
        Self { keystream, hmac, tag_len }
    }

    pub(super) fn apply_keystream(&self, id: PacketId, message: &mut [u8], header_len: usize) {
        let (header, body) = message.split_at_mut(header_len);
        self.keystream.apply(id, header, body);
    }

    fn write_tag(&self, id: PacketId, message: &[u8], tag: &mut [u8]) {
        if self.tag_len == 0 {
            return;
        }
        let mac = self.hmac.mac(message, id.word());
        write_tag(&mac, tag);
    }

    fn check_tag(&self, id: PacketId, message: &[u8], tag: &[u8]) -> Result<(), Refusal> {
        if self.tag_len == 0 {
            return Ok(());
        }
        let mac = self.hmac.mac(message, id.word());
        if !tag_matches(&mac, tag) {
            return Err(Refusal::AuthenticationFailed);
        }
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
impl EncryptThenMac<super::AesCm> {
    /// Whether its HMACs are to go side by side with others': asked of its backend.
    pub(super) fn shares_lanes(&self) -> bool {
        self.tag_len > 0 && self.keystream.is_avx512()
    }
}

impl<K: Keystream> Transform for EncryptThenMac<K> {
    fn seal(&self, id: PacketId, message: &mut [u8], header_len: usize, tag: &mut [u8]) {
        self.apply_keystream(id, message, header_len);
        self.write_tag(id, message, tag);
    }

    fn open(
        &self,
        id: PacketId,
        message: &mut [u8],
        header_len: usize,
        tag: &[u8],
    ) -> Result<(), Refusal> {
        self.check_tag(id, message, tag)?;
        self.apply_keystream(id, message, header_len);
        Ok(())
    }

    fn seal_with_csrcs(&self, id: PacketId, message: &mut [u8], csrc_len: usize, tag: &mut [u8]) {
        gathered(message, csrc_len, |message| self.apply_keystream(id, message, CLEAR_LEN));
        self.write_tag(id, message, tag);
    }

    fn open_with_csrcs(
        &self,
        id: PacketId,
        message: &mut [u8],
        csrc_len: usize,
        tag: &[u8],
    ) -> Result<(), Refusal> {
        self.check_tag(id, message, tag)?;
        gathered(message, csrc_len, |message| self.apply_keystream(id, message, CLEAR_LEN));
        Ok(())
    }
}
