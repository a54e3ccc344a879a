//! AES round keys (FIPS 197 section 5.2), laid out for broadcast loads.
//!
//! `SubWord` is computed by the AES instruction itself, so the expansion reads no table and takes
//! the same time for every key.

use std::arch::x86_64::{
    _mm_aesenclast_si128, _mm_cvtsi128_si32, _mm_set1_epi32, _mm_setzero_si128,
};

use zeroize::Zeroize;

use super::Avx512;

/// The round keys of an AES key of 128, 192 or 256 bits. Zeroized on drop.
#[repr(align(64))]
pub(crate) struct AesKey {
    /// The first `rounds + 1` are in use.
    round_keys: [[u8; 16]; MAX_ROUNDS + 1],
    rounds: u8,
}

impl AesKey {
    /// Expands a key of 16, 24 or 32 bytes; `None` for any other length.
    pub(crate) fn new(cpu: Avx512, key: &[u8]) -> Option<Self> {
        let words = match key.len() {
            16 | 24 | 32 => key.len() / 4,
            _ => return None,
        };
        let mut expanded = [0; 4 * (MAX_ROUNDS + 1)];
        for (word, bytes) in expanded.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let rounds = words + 6;
        let mut rcon = 1_u8;
        for i in words..4 * (rounds + 1) {
            let mut word = expanded[i - 1];
            if i % words == 0 {
                // In little-endian order RotWord turns right, and Rcon is the lowest byte.
                word = sub_word(cpu, word.rotate_right(8)) ^ u32::from(rcon);
                rcon = rcon << 1 ^ if rcon & 0x80 == 0 { 0 } else { 0x1b };
            } else if words == 8 && i % words == 4 {
                word = sub_word(cpu, word);
            }
            expanded[i] = expanded[i - words] ^ word;
        }
        let mut round_keys = [[0; 16]; MAX_ROUNDS + 1];
        for (bytes, word) in
            round_keys.as_flattened_mut().as_chunks_mut().0.iter_mut().zip(expanded)
        {
            *bytes = word.to_le_bytes();
        }
        expanded.zeroize();
        Some(Self { round_keys, rounds: rounds as u8 })
    }

    /// The round keys in use, the whitening key first: 11, 13 or 15.
    pub(crate) fn round_keys(&self) -> &[[u8; 16]] {
        &self.round_keys[..=usize::from(self.rounds)]
    }

    /// Those of a key of 128 bits, if it is one.
    #[inline]
    pub(super) fn keys_of_128(&self) -> Option<&[[u8; 16]; 11]> {
        self.round_keys.first_chunk().filter(|_| self.rounds == 10)
    }

    /// Those of a key of 256 bits, which the caller knows it to be.
    #[inline]
    pub(super) fn keys_of_256(&self) -> &[[u8; 16]; MAX_ROUNDS + 1] {
        &self.round_keys
    }
}

impl Drop for AesKey {
    fn drop(&mut self) {
        self.round_keys.zeroize();
    }
}

fn sub_word(_cpu: Avx512, word: u32) -> u32 {
    #[target_feature(enable = "aes")]
    fn with_aes(word: u32) -> u32 {
        // Four equal columns: ShiftRows moves nothing, and a zero round key adds nothing.
        let column = _mm_set1_epi32(word.cast_signed());
        _mm_cvtsi128_si32(_mm_aesenclast_si128(column, _mm_setzero_si128())).cast_unsigned()
    }
    // SAFETY: the CPU has the AES instructions, which `Avx512::detect` asked for.
    unsafe { with_aes(word) }
}

/// Rounds of AES-256.
const MAX_ROUNDS: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197 appendices A.1 to A.3: the last round key of each.
    #[test]
    fn expands_as_fips_197_shows() {
        let Some(cpu) = Avx512::or_skip() else { return };
        let cases: [(&[u8], u128); 3] = [
            (
                &0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes(),
                0xd014_f9a8_c9ee_2589_e13f_0cc8_b663_0ca6,
            ),
            (
                &[
                    0x8e, 0x73, 0xb0, 0xf7, 0xda, 0x0e, 0x64, 0x52, 0xc8, 0x10, 0xf3, 0x2b, 0x80,
                    0x90, 0x79, 0xe5, 0x62, 0xf8, 0xea, 0xd2, 0x52, 0x2c, 0x6b, 0x7b,
                ],
                0xe98b_a06f_448c_773c_8ecc_7204_0100_2202,
            ),
            (
                &[
                    0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85,
                    0x7d, 0x77, 0x81, 0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98,
                    0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4,
                ],
                0xfe48_90d1_e618_8d0b_046d_f344_706c_631e,
            ),
        ];
        for (key, last) in cases {
            let expanded = AesKey::new(cpu, key).expect("an AES key length");
            assert_eq!(expanded.round_keys().len(), key.len() / 4 + 7);
            assert_eq!(expanded.round_keys().last(), Some(&last.to_be_bytes()));
        }
        assert!(AesKey::new(cpu, &[0; 20]).is_none());
    }
}
