//! GHASH (NIST SP 800-38D section 6.4), four blocks an instruction.
//!
//! Blocks are multiplied by descending powers of H and summed before one reduction, which covers
//! as many blocks as there are powers. Field elements are kept as POLYVAL has them (RFC 8452
//! appendix A): a block turned round, and H multiplied by x, which spares a shift in every
//! product. Where a message begins and ends is its caller's business.

use std::arch::x86_64::*;

use super::{
    Avx512,
    vector::{broadcast, load_vector},
};

/// Computes H^16 down to H^1, each as a little-endian number, from H, a block.
pub(super) fn fill_powers(_cpu: Avx512, powers: &mut [[u8; 16]; POWERS], h: [u8; 16]) {
    // H times x (RFC 8452 appendix A), without a branch on a secret bit.
    let number = u128::from_be_bytes(h);
    let first = number << 1 ^ (FIELD & 0_u128.wrapping_sub(number >> 127));
    // SAFETY: the CPU has AVX-512 F and BW and carry-less multiply of vectors, which
    // `Avx512::detect` asked for.
    unsafe { fill_powers_of(powers, first) };
}

#[target_feature(enable = "avx512f,avx512bw,pclmulqdq,vpclmulqdq")]
fn fill_powers_of(powers: &mut [[u8; 16]; POWERS], first: u128) {
    let h = broadcast(&first.to_le_bytes());
    let mut power = _mm512_castsi512_si128(h);
    for bytes in powers.iter_mut().rev() {
        // SAFETY: an unaligned store to the 16 bytes of a `[u8; 16]`, borrowed mutably.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), power) };
        power = Products::of(_mm512_zextsi128_si512(power), h).reduced();
    }
}

/// A sum of products of 256 bits, in four lanes.
#[derive(Clone, Copy)]
pub(super) struct Products {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl Products {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn none() -> Self {
        let zero = _mm512_setzero_si512();
        Self { low: zero, middle: zero, high: zero }
    }

    /// Adds the products of four blocks, which end `left` vectors before the end, those included;
    /// `left` is 1 to 4.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    pub(super) fn add(&mut self, blocks: __m512i, powers: &[[u8; 16]; POWERS], left: usize) {
        let (vectors, _) = powers.as_flattened().as_chunks();
        let product = Self::of(blocks, load_vector(&vectors[vectors.len() - left]));
        self.low = _mm512_xor_si512(self.low, product.low);
        self.middle = _mm512_xor_si512(self.middle, product.middle);
        self.high = _mm512_xor_si512(self.high, product.high);
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn of(a: __m512i, b: __m512i) -> Self {
        Self {
            low: _mm512_clmulepi64_epi128::<0x00>(a, b),
            middle: _mm512_xor_si512(
                _mm512_clmulepi64_epi128::<0x01>(a, b),
                _mm512_clmulepi64_epi128::<0x10>(a, b),
            ),
            high: _mm512_clmulepi64_epi128::<0x11>(a, b),
        }
    }

    /// The sum, times x^-128, in the field: Montgomery's reduction in two steps.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    pub(super) fn reduced(self) -> __m128i {
        let field = _mm512_broadcast_i32x4(_mm_set_epi64x(((FIELD >> 64) as u64).cast_signed(), 1));
        let mut low = _mm512_xor_si512(self.low, _mm512_bslli_epi128::<8>(self.middle));
        let high = _mm512_xor_si512(self.high, _mm512_bsrli_epi128::<8>(self.middle));
        for _ in 0..2 {
            let product = _mm512_clmulepi64_epi128::<0x10>(low, field);
            low = _mm512_xor_si512(_mm512_shuffle_epi32::<0x4e>(low), product);
        }
        folded(_mm512_xor_si512(high, low))
    }
}

/// The sum of the four lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn folded(sums: __m512i) -> __m128i {
    let half = _mm256_xor_si256(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums));
    _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}

/// Each block with its bytes turned round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn turned(blocks: __m512i) -> __m512i {
    let order = _mm512_set4_epi32(0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f);
    _mm512_shuffle_epi8(blocks, order)
}

/// Blocks that share a reduction. Sixteen powers take 256 bytes of every session.
pub(super) const POWERS: usize = 16;
/// x^127 + x^126 + x^121 + 1, which x^128 equals (RFC 8452 section 3).
const FIELD: u128 = 0xc200_0000_0000_0000_0000_0000_0000_0001;
