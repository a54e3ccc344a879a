//! AES-GCM (RFC 7714), by `ring` or, where the CPU has AVX-512, by `simd::gcm`.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use zeroize::Zeroize;

use super::{PacketId, Transform};
#[cfg(target_arch = "x86_64")]
use crate::simd::{
    Avx512,
    gcm::{self, GcmKey},
};
use crate::{
    Backend, Malformed, PacketKind, Profile, Refusal, SessionKeys,
    header_extension::{CLEAR_LEN, gathered},
};

/// AES-GCM with a 16-byte tag, of either key length.
pub(crate) struct Aead {
    key: Key,
    /// The session salt, as long as GCM's nonce, in two big-endian numbers.
    salt: (u64, u32),
}

impl Aead {
    pub(super) fn new(keys: &SessionKeys, backend: Backend) -> Self {
        let mut salt = [0; SALT_LEN];
        salt.copy_from_slice(&keys.dangerous_salt()[..SALT_LEN]);
        let [s0, s1, s2, s3, s4, s5, s6, s7, end @ ..] = salt;
        let start = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        salt.zeroize();
        Self { key: Key::new(keys, backend), salt: (start, u32::from_be_bytes(end)) }
    }

    /// `00 00 ‖ SSRC ‖ index`, XORed with the salt (RFC 7714 sections 8.1 and 9.1): the same
    /// formula for both kinds, the SRTCP index standing in the last 31 of 48 bits.
    fn nonce(&self, id: PacketId) -> [u8; SALT_LEN] {
        let start = self.salt.0 ^ u64::from(id.ssrc) << 16 ^ id.index >> 32;
        let end = self.salt.1 ^ id.index as u32;
        let mut nonce = [0; SALT_LEN];
        nonce[..8].copy_from_slice(&start.to_be_bytes());
        nonce[8..].copy_from_slice(&end.to_be_bytes());
        nonce
    }
}

impl Transform for Aead {
    fn seal(&self, id: PacketId, message: &mut [u8], header_len: usize, tag: &mut [u8]) {
        let (header, body) = message.split_at_mut(header_len);
        let nonce = self.nonce(id);
        tag.copy_from_slice(&match id.kind {
            PacketKind::Rtp => self.key.seal(nonce, header, body),
            PacketKind::Rtcp => self.key.seal(nonce, &rtcp_associated_data(id, header), body),
        });
    }

    fn open(
        &self,
        id: PacketId,
        message: &mut [u8],
        header_len: usize,
        tag: &[u8],
    ) -> Result<(), Refusal> {
        let (header, body) = message.split_at_mut(header_len);
        let tag = tag.try_into().map_err(|_| Malformed::TooShort)?;
        let nonce = self.nonce(id);
        match id.kind {
            PacketKind::Rtp => self.key.open(nonce, header, body, tag),
            PacketKind::Rtcp => self.key.open(nonce, &rtcp_associated_data(id, header), body, tag),
        }
    }

    fn seal_with_csrcs(&self, id: PacketId, message: &mut [u8], csrc_len: usize, tag: &mut [u8]) {
        gathered(message, csrc_len, |message| self.seal(id, message, CLEAR_LEN, tag));
    }

    fn open_with_csrcs(
        &self,
        id: PacketId,
        message: &mut [u8],
        csrc_len: usize,
        tag: &[u8],
    ) -> Result<(), Refusal> {
        gathered(message, csrc_len, |message| self.open(id, message, CLEAR_LEN, tag))
    }
}

impl Drop for Aead {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

/// A key in the form that its implementation wants.
enum Key {
    Ring(LessSafeKey),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, GcmKey),
}

impl Key {
    #[expect(clippy::expect_used, reason = "SessionKeys holds a key of its profile's length")]
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(unused_variables, reason = "elsewhere there is one backend")
    )]
    fn new(keys: &SessionKeys, backend: Backend) -> Self {
        #[cfg(target_arch = "x86_64")]
        if backend == Backend::Avx512
            && let Some(cpu) = Avx512::detect()
            && let Some(key) = GcmKey::new(cpu, keys.dangerous_cipher_key())
        {
            return Self::Avx512(cpu, key);
        }
        let algorithm = match keys.profile() {
            Profile::AeadAes256Gcm => &AES_256_GCM,
            _ => &AES_128_GCM,
        };
        let key = UnboundKey::new(algorithm, keys.dangerous_cipher_key())
            .expect("a key of its profile's length");
        Self::Ring(LessSafeKey::new(key))
    }

    #[expect(clippy::expect_used, reason = "bodies have a bound")]
    fn seal(&self, nonce: [u8; SALT_LEN], aad: &[u8], body: &mut [u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        match self {
            Self::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let sealed = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
                    .expect("only a body beyond 64 GiB fails, none exceeds MAX_MESSAGE_LEN");
                tag.copy_from_slice(sealed.as_ref());
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(cpu, key) => tag = gcm::seal(*cpu, key, nonce, aad, body),
        }
        tag
    }

    fn open(
        &self,
        nonce: [u8; SALT_LEN],
        aad: &[u8],
        body: &mut [u8],
        tag: [u8; TAG_LEN],
    ) -> Result<(), Refusal> {
        match self {
            Self::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(tag), body, 0..)
                    .map(|_| ())
                    .map_err(|_| Refusal::AuthenticationFailed)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(cpu, key) => gcm::open(*cpu, key, nonce, aad, body, tag)
                .map_err(|_| Refusal::AuthenticationFailed),
        }
    }
}

/// What SRTCP authenticates but does not encrypt (RFC 7714 section 9.2): the header followed by
/// the E flag and index, which stand apart in the packet. SRTP has its header as it is.
fn rtcp_associated_data(id: PacketId, header: &[u8]) -> [u8; RTCP_LEN] {
    let mut data = [0; RTCP_LEN];
    let (start, word) = data.split_at_mut(crate::rtcp::FIXED_LEN);
    start.copy_from_slice(header);
    word.copy_from_slice(&id.word());
    data
}

const SALT_LEN: usize = 12;
const TAG_LEN: usize = 16;
const RTCP_LEN: usize = crate::rtcp::FIXED_LEN + 4;
