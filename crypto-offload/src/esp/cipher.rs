//! One AEAD key as ESP uses it: nonce from salt and IV, associated data from SPI and number.

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};

use crate::{Aead, KeyingMaterial, SequenceNumbers, Spi};

/// A key with its salt, and what it authenticates beside the ciphertext.
pub(super) struct Cipher {
    key: LessSafeKey,
    salt: [u8; Aead::SALT_LEN],
    spi: [u8; 4],
    sequence_numbers: SequenceNumbers,
}

/// The integrity check failed.
#[derive(Debug)]
pub(super) struct Forged;

impl Cipher {
    #[expect(clippy::expect_used, reason = "KeyingMaterial has checked the length")]
    pub(super) fn new(
        spi: Spi,
        keying: &KeyingMaterial,
        sequence_numbers: SequenceNumbers,
    ) -> Self {
        let algorithm = match keying.aead() {
            Aead::Aes128Gcm => &AES_128_GCM,
            Aead::Aes256Gcm => &AES_256_GCM,
            Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, keying.dangerous_key())
            .expect("keying material is as long as its algorithm wants");
        Self {
            key: LessSafeKey::new(key),
            salt: keying.dangerous_salt(),
            spi: spi.value().to_be_bytes(),
            sequence_numbers,
        }
    }

    /// Seals `body` in place: its ICV. `iv` must not have been used with this key.
    #[expect(clippy::expect_used, reason = "a body has a bound")]
    pub(super) fn seal(
        &self,
        sequence: u64,
        iv: [u8; Aead::IV_LEN],
        body: &mut [u8],
    ) -> [u8; Aead::ICV_LEN] {
        let (aad, length) = self.associated_data(sequence);
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(iv), Aad::from(&aad[..length]), body)
            .expect("only a body beyond 64 GiB fails, and an IP packet has 64 KiB");
        let mut icv = [0; Aead::ICV_LEN];
        icv.copy_from_slice(tag.as_ref());
        icv
    }

    /// Opens `body`, which ends with its ICV, in place. When that fails it is wiped.
    pub(super) fn open(
        &self,
        sequence: u64,
        iv: [u8; Aead::IV_LEN],
        body: &mut [u8],
    ) -> Result<(), Forged> {
        let (aad, length) = self.associated_data(sequence);
        self.key
            .open_in_place(self.nonce(iv), Aad::from(&aad[..length]), body)
            .map(drop)
            .map_err(|_| Forged)
    }

    /// RFC 4106 section 4 and RFC 7634 section 2: the salt, then the IV.
    fn nonce(&self, iv: [u8; Aead::IV_LEN]) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..Aead::SALT_LEN].copy_from_slice(&self.salt);
        nonce[Aead::SALT_LEN..].copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }

    /// RFC 4106 section 5 and RFC 7634 section 2.1: the SPI, then the number in 4 or 8 bytes.
    fn associated_data(&self, sequence: u64) -> ([u8; 12], usize) {
        let mut aad = [0; 12];
        aad[..4].copy_from_slice(&self.spi);
        match self.sequence_numbers {
            SequenceNumbers::Extended => {
                aad[4..].copy_from_slice(&sequence.to_be_bytes());
                (aad, 12)
            }
            SequenceNumbers::Short => {
                aad[4..8].copy_from_slice(&(sequence as u32).to_be_bytes());
                (aad, 8)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::tests::vectors;

    #[test]
    fn seals_the_published_packets_with_their_ivs() {
        for vector in vectors::all() {
            let sa = vector.sa();
            let cipher = Cipher::new(sa.id.spi, &sa.keying, sa.sequence_numbers);
            let (sealed, icv) = vector.packet[16..].split_at(vector.body.len());
            let mut body = vector.body.clone();
            let iv = std::array::from_fn(|at| vector.packet[8 + at]);
            let found = cipher.seal(vector.sequence, iv, &mut body);
            assert_eq!((&body[..], &found[..]), (sealed, icv), "{}", vector.name);
        }
    }
}
