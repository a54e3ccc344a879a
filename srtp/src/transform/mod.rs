//! What a cipher suite must be able to do, and where its parts stand in a packet.
//!
//! The packet path (`receiver.rs`, `sender.rs`) is written once against [`Transform`]. A
//! transform knows neither windows nor limits; it turns a message into ciphertext and tag, and
//! back, under a nonce that it is told.
//!
//! ```text
//! HMAC-SHA1:      header | ciphertext | [E‖index] | [MKI] | tag
//! AEAD:           header | ciphertext | tag | [E‖index] | [MKI]
//! ```

mod aead;
mod aes_cm;
mod encrypt_then_mac;
mod f8;
mod gmac;
mod hmac_sha1;
mod null;
mod together;

pub(crate) use aead::Aead;
pub(crate) use aes_cm::{Aes, AesCm};
pub(crate) use encrypt_then_mac::{EncryptThenMac, Keystream};
pub(crate) use f8::F8;
pub(crate) use gmac::Gmac;
pub(crate) use hmac_sha1::HmacSha1;
pub(crate) use null::Null;
pub(crate) use together::{open_all, seal_all};

use crate::{
    Backend, PacketIndex, PacketKind, Profile, Refusal, SessionKeys, SessionParameters,
    profile::CipherKind, session_parameters::Encryption,
};

/// One cipher suite under one set of session keys.
pub(crate) trait Transform {
    /// Encrypts `message[header_len..]` in place and writes the tag. A message is at most
    /// [`MAX_MESSAGE_LEN`] bytes and a tag as long as the [`Trailer`] says.
    fn seal(&self, id: PacketId, message: &mut [u8], header_len: usize, tag: &mut [u8]);

    /// Verifies the tag and decrypts `message[header_len..]` in place.
    fn open(
        &self,
        id: PacketId,
        message: &mut [u8],
        header_len: usize,
        tag: &[u8],
    ) -> Result<(), Refusal>;

    /// [`Self::seal`] for a Cryptex packet with `csrc_len` bytes of CSRCs, which are encrypted as
    /// well, before the extension (RFC 9335 section 6.2).
    fn seal_with_csrcs(&self, id: PacketId, message: &mut [u8], csrc_len: usize, tag: &mut [u8]);

    /// [`Self::open`] for such a packet.
    fn open_with_csrcs(
        &self,
        id: PacketId,
        message: &mut [u8],
        csrc_len: usize,
        tag: &[u8],
    ) -> Result<(), Refusal>;
}

/// The transform of a profile. The only place that tells profiles apart.
pub(crate) enum Cipher {
    AesCm(EncryptThenMac<AesCm>),
    F8(EncryptThenMac<F8>),
    Null(EncryptThenMac<Null>),
    Aead(Aead),
    Gmac(Gmac),
}

impl Cipher {
    /// The cipher for packets of `kind`.
    pub(crate) fn new(
        keys: &SessionKeys,
        kind: PacketKind,
        parameters: SessionParameters,
        backend: Backend,
    ) -> Self {
        let profile = keys.profile();
        // SRTCP's cipher lives for one packet: its key is expanded the cheapest way.
        let backend = if kind == PacketKind::Rtp { backend } else { Backend::Portable };
        let hmac = || HmacSha1::new(keys.dangerous_auth_key());
        let tag_len = parameters.tag_len(profile, kind);
        match (profile.cipher_kind(), parameters.encryption(profile, kind)) {
            (CipherKind::Gcm, Encryption::LeftOut) => Self::Gmac(Gmac::new(keys)),
            (CipherKind::Gcm, _) => Self::Aead(Aead::new(keys, backend)),
            (CipherKind::CounterMode, Encryption::InForce) => {
                Self::AesCm(EncryptThenMac::new(AesCm::new(keys, backend), hmac(), tag_len))
            }
            (CipherKind::F8, Encryption::InForce) => {
                Self::F8(EncryptThenMac::new(F8::new(keys), hmac(), tag_len))
            }
            _ => Self::Null(EncryptThenMac::new(Null, hmac(), tag_len)),
        }
    }
}

impl Cipher {
    /// Whether packets under different keys of this kind are quicker together than one by one.
    pub(crate) fn gains_from_company(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Self::AesCm(cipher) = self {
            return cipher.shares_lanes();
        }
        false
    }
}

/// A packet to encrypt and to give a tag.
pub(crate) struct SealJob<'a> {
    pub(crate) cipher: &'a Cipher,
    pub(crate) id: PacketId,
    pub(crate) message: &'a mut [u8],
    pub(crate) header_len: usize,
    /// Bytes of CSRCs that are encrypted too; zero but for Cryptex (RFC 9335).
    pub(crate) csrc_len: usize,
    pub(crate) tag: &'a mut [u8],
}

/// A packet whose tag is to be checked, and which is to be decrypted.
pub(crate) struct OpenJob<'a> {
    pub(crate) cipher: &'a Cipher,
    pub(crate) id: PacketId,
    pub(crate) message: &'a mut [u8],
    pub(crate) header_len: usize,
    /// As in [`SealJob`].
    pub(crate) csrc_len: usize,
    pub(crate) tag: &'a [u8],
    /// What came of it.
    pub(crate) outcome: Result<(), Refusal>,
}

impl SealJob<'_> {
    pub(crate) fn seal(&mut self) {
        with_transform!(self.cipher, transform => match self.csrc_len {
            0 => transform.seal(self.id, self.message, self.header_len, self.tag),
            csrc_len => transform.seal_with_csrcs(self.id, self.message, csrc_len, self.tag),
        });
    }
}

impl OpenJob<'_> {
    pub(crate) fn open(mut self) -> Result<(), Refusal> {
        self.open_in_place();
        self.outcome
    }

    fn open_in_place(&mut self) {
        self.outcome = with_transform!(self.cipher, transform => match self.csrc_len {
            0 => transform.open(self.id, self.message, self.header_len, self.tag),
            csrc_len => transform.open_with_csrcs(self.id, self.message, csrc_len, self.tag),
        });
    }
}

/// Calls `$body` with `$transform` bound to whichever transform `$cipher` holds: one match per
/// packet, and the body compiled once for each.
macro_rules! with_transform {
    ($cipher:expr, $transform:ident => $body:expr) => {
        match $cipher {
            $crate::transform::Cipher::AesCm($transform) => $body,
            $crate::transform::Cipher::F8($transform) => $body,
            $crate::transform::Cipher::Null($transform) => $body,
            $crate::transform::Cipher::Aead($transform) => $body,
            $crate::transform::Cipher::Gmac($transform) => $body,
        }
    };
}
pub(crate) use with_transform;

/// What makes a packet's nonce, and what its tag covers beyond its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketId {
    pub(crate) kind: PacketKind,
    pub(crate) ssrc: u32,
    /// SRTCP's E flag, in its place in the word; 0 for SRTP.
    flag: u32,
    /// 48 bits of SRTP index, or 31 bits of SRTCP index.
    pub(crate) index: u64,
}

impl PacketId {
    pub(crate) fn rtp(ssrc: u32, index: PacketIndex) -> Self {
        Self { kind: PacketKind::Rtp, ssrc, flag: 0, index: index.value() }
    }

    /// `word` is what the packet carries: the E flag and the 31-bit index.
    pub(crate) fn rtcp(ssrc: u32, word: u32) -> Self {
        let (flag, index) = (word & ENCRYPTED_FLAG, word & !ENCRYPTED_FLAG);
        Self { kind: PacketKind::Rtcp, ssrc, flag, index: u64::from(index) }
    }

    /// The word that is authenticated after the message: the ROC, which SRTP does not send, or
    /// the E flag and index, which SRTCP does (RFC 3711 sections 3.1 and 3.4).
    pub(crate) fn word(self) -> [u8; 4] {
        match self.kind {
            PacketKind::Rtp => ((self.index >> 16) as u32).to_be_bytes(),
            PacketKind::Rtcp => (self.index as u32 | self.flag).to_be_bytes(),
        }
    }
}

/// Offsets of what follows the ciphertext, counted from the ciphertext's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trailer {
    pub(crate) word: usize,
    pub(crate) mki: usize,
    pub(crate) tag: usize,
    pub(crate) tag_len: usize,
    pub(crate) len: usize,
    /// The E flag of SRTCP packets that we send.
    pub(crate) flag: u32,
    encryption: Encryption,
}

impl Trailer {
    pub(crate) fn new(
        profile: Profile,
        kind: PacketKind,
        mki_len: usize,
        parameters: SessionParameters,
    ) -> Self {
        let (word_len, tag_len) = (word_len(kind), parameters.tag_len(profile, kind));
        let encryption = parameters.encryption(profile, kind);
        // AEADs have the tag right behind the ciphertext (RFC 7714 sections 8.2 and 9.2), the
        // others at the very end (RFC 3711 sections 3.1 and 3.4).
        let (word, tag) = if profile.is_aead() { (tag_len, 0) } else { (0, word_len + mki_len) };
        Self {
            word,
            mki: word + word_len,
            tag,
            tag_len,
            len: tag_len + word_len + mki_len,
            flag: if encryption == Encryption::InForce { ENCRYPTED_FLAG } else { 0 },
            encryption,
        }
    }

    /// Whether the E flag in `word` is as agreed. Under the NULL cipher peers write either, and
    /// the bytes are the same; otherwise a packet with the wrong one is not this session's.
    pub(crate) fn takes(self, word: u32) -> bool {
        self.encryption == Encryption::Null || word & ENCRYPTED_FLAG == self.flag
    }
}

/// Bytes of E flag and index in a packet.
const fn word_len(kind: PacketKind) -> usize {
    match kind {
        PacketKind::Rtp => 0,
        PacketKind::Rtcp => 4,
    }
}

/// The E flag of SRTCP: this packet is encrypted (RFC 3711 section 3.4).
pub(crate) const ENCRYPTED_FLAG: u32 = 1 << 31;

/// The longest message. AES-CM's block counter has 16 bits (RFC 3711 section 4.1.1): 2^16 blocks
/// further on the keystream would be that of the next index.
pub(crate) const MAX_MESSAGE_LEN: usize = 1 << 20;

#[cfg(test)]
mod tests;
