//! The keystream of AES in counter mode (RFC 3711 section 4.1.1, RFC 6188 section 2).

use aes::{Aes128Enc, Aes192Enc, Aes256Enc, cipher::KeyInit};
use ctr::{
    CtrCore,
    cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, StreamCipherCore, consts::U16},
    flavors::Ctr128BE,
};
use zeroize::Zeroize;

use super::{Keystream, PacketId};
#[cfg(target_arch = "x86_64")]
use crate::simd::{self, AesKey, Avx512};
use crate::{Backend, SessionKeys, session_keys::MAX_SALT_LEN};

/// AES in counter mode, of any key length.
pub(crate) struct AesCm {
    cipher: Aes,
    salt: [u8; MAX_SALT_LEN],
}

impl AesCm {
    pub(crate) fn new(keys: &SessionKeys, backend: Backend) -> Self {
        let cipher = Aes::with_backend(keys.dangerous_cipher_key(), backend);
        Self { cipher, salt: *keys.dangerous_salt() }
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn is_avx512(&self) -> bool {
        matches!(self.cipher, Aes::Avx512(..))
    }

    /// `IV = (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16)`; the last 16 bits count blocks.
    fn iv(&self, id: PacketId) -> u128 {
        let mut iv = [0; 16];
        iv[..MAX_SALT_LEN].copy_from_slice(&self.salt);
        u128::from_be_bytes(iv) ^ u128::from(id.ssrc) << 64 ^ u128::from(id.index) << 16
    }
}

impl Keystream for AesCm {
    fn apply(&self, id: PacketId, _header: &[u8], body: &mut [u8]) {
        self.cipher.apply_keystream(self.iv(id).to_be_bytes(), body);
    }

    fn blocks(&self, id: PacketId, _header: &[u8]) -> impl FnMut() -> [u8; 16] {
        let mut counter = self.iv(id);
        move || {
            let mut block = [0; 16];
            self.cipher.apply_keystream(counter.to_be_bytes(), &mut block);
            counter += 1;
            block
        }
    }
}

impl Drop for AesCm {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

/// AES of 128, 192 or 256 bits. Its round keys are zeroized on drop.
pub(crate) enum Aes {
    Aes128(Aes128Enc),
    Aes192(Aes192Enc),
    Aes256(Aes256Enc),
    /// Of any length.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, AesKey),
}

impl Aes {
    /// The cipher of a key of 16, 24 or 32 bytes.
    #[expect(clippy::expect_used, reason = "every profile has keys of one of these lengths")]
    pub(crate) fn new(key: &[u8]) -> Self {
        match key.len() {
            16 => Self::Aes128(Aes128Enc::new_from_slice(key).expect("16 bytes")),
            24 => Self::Aes192(Aes192Enc::new_from_slice(key).expect("24 bytes")),
            _ => Self::Aes256(Aes256Enc::new_from_slice(key).expect("32 bytes")),
        }
    }

    /// The same, for an implementation that takes longer to be ready and less per packet.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(unused_variables, reason = "elsewhere there is one backend")
    )]
    pub(crate) fn with_backend(key: &[u8], backend: Backend) -> Self {
        #[cfg(target_arch = "x86_64")]
        if backend == Backend::Avx512
            && let Some(cpu) = Avx512::detect()
            && let Some(key) = AesKey::new(cpu, key)
        {
            return Self::Avx512(cpu, key);
        }
        Self::new(key)
    }

    /// XORs `data` with the keystream that begins at `iv`.
    pub(crate) fn apply_keystream(&self, iv: [u8; 16], data: &mut [u8]) {
        match self {
            Self::Aes128(aes) => apply_keystream(aes, iv, data),
            Self::Aes192(aes) => apply_keystream(aes, iv, data),
            Self::Aes256(aes) => apply_keystream(aes, iv, data),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(cpu, key) => simd::ctr::apply_keystream(*cpu, key, iv, data),
        }
    }
}

fn apply_keystream<C>(cipher: &C, iv: [u8; 16], data: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    CtrCore::<_, Ctr128BE>::inner_iv_init(cipher, &iv.into()).apply_keystream_partial(data.into());
}
