//! AES-GCM (NIST SP 800-38D), four blocks an instruction in the cipher and in the hash.
//!
//! GHASH's blocks are multiplied by descending powers of H and summed before one reduction, which
//! covers up to sixteen blocks: all of a voice packet, its header and its lengths. Opening
//! compares the tag before it decrypts, so a refused packet keeps its bytes. The key object holds
//! sixteen powers, as large as the round keys beside them, and is zeroized on drop.
//!
//! Field elements are kept as POLYVAL has them (RFC 8452 appendix A): a block turned round, and H
//! multiplied by x, which spares a shift in every product.

use std::arch::x86_64::*;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::{AesKey, Avx512, ctr};

/// A key with what is computed from it alone.
#[repr(align(64))]
pub(crate) struct GcmKey {
    aes: AesKey,
    /// H^16 down to H^1, each as a little-endian number.
    powers: [[u8; 16]; WINDOW],
}

/// The tag was wrong; nothing was decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl GcmKey {
    /// Of 16 or 32 bytes; `None` for any other length.
    pub(crate) fn new(cpu: Avx512, key: &[u8]) -> Option<Self> {
        if !matches!(key.len(), 16 | 32) {
            return None;
        }
        let aes = AesKey::new(cpu, key)?;
        let mut h = [0; 16];
        ctr::apply_keystream(cpu, &aes, [0; 16], &mut h);
        let mut made = Self { aes, powers: [[0; 16]; WINDOW] };
        // H times x (RFC 8452 appendix A), without a branch on a secret bit.
        let number = u128::from_be_bytes(h);
        let first = number << 1 ^ (FIELD & 0_u128.wrapping_sub(number >> 127));
        h.zeroize();
        // SAFETY: the CPU has AVX-512 F and carry-less multiply, also of vectors, which
        // `Avx512::detect` asked for.
        unsafe { fill_powers(&mut made.powers, first) };
        Some(made)
    }
}

impl Drop for GcmKey {
    fn drop(&mut self) {
        self.powers.zeroize();
    }
}

/// Encrypts `data`, at most 2^20 bytes, in place and writes the tag that covers it and `aad`.
pub(crate) fn seal(
    _cpu: Avx512,
    key: &GcmKey,
    nonce: &[u8; 12],
    aad: &[u8],
    data: &mut [u8],
    tag: &mut [u8; 16],
) {
    // SAFETY: the CPU has AVX-512 F and BW, VAES and carry-less multiply, also of vectors, which
    // `Avx512::detect` asked for.
    *tag = unsafe { encrypt(key, nonce, aad, data) };
}

/// Verifies the tag and then decrypts `data`, at most 2^20 bytes, in place.
pub(crate) fn open(
    cpu: Avx512,
    key: &GcmKey,
    nonce: &[u8; 12],
    aad: &[u8],
    data: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), Refused> {
    // SAFETY: the CPU has AVX-512 F and BW, VAES and carry-less multiply, also of vectors, which
    // `Avx512::detect` asked for.
    let expected = unsafe { authenticate(key, nonce, aad, data) };
    if !bool::from(expected.ct_eq(tag)) {
        return Err(Refused);
    }
    ctr::apply_keystream(cpu, &key.aes, counter_block(nonce, 2), data);
    Ok(())
}

/// The nonce and GCM's block counter: 1 for the tag, 2 onwards for data.
fn counter_block(nonce: &[u8; 12], count: u32) -> [u8; 16] {
    let mut block = [0; 16];
    block[..12].copy_from_slice(nonce);
    block[12..].copy_from_slice(&count.to_be_bytes());
    block
}

#[target_feature(enable = "avx512f,avx512bw,vaes,pclmulqdq,vpclmulqdq")]
fn encrypt(key: &GcmKey, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
    let mask = encrypted_counters::<1>(&key.aes, &mut first_counters(nonce, 1))[0];
    let mut counter = first_counters(nonce, 2);
    let mut hash = Ghash::new(key, aad, data.len());
    let (whole, rest) = data.as_chunks_mut::<{ 4 * 64 }>();
    for chunk in whole {
        blocks::<4>(&key.aes, &mut counter, chunk, &mut hash);
    }
    match rest.len().div_ceil(64) {
        0 => {}
        1 => blocks::<1>(&key.aes, &mut counter, rest, &mut hash),
        2 => blocks::<2>(&key.aes, &mut counter, rest, &mut hash),
        3 => blocks::<3>(&key.aes, &mut counter, rest, &mut hash),
        _ => blocks::<4>(&key.aes, &mut counter, rest, &mut hash),
    }
    hash.tag(mask)
}

#[target_feature(enable = "avx512f,avx512bw,vaes,pclmulqdq,vpclmulqdq")]
fn authenticate(key: &GcmKey, nonce: &[u8; 12], aad: &[u8], data: &[u8]) -> [u8; 16] {
    let mask = encrypted_counters::<1>(&key.aes, &mut first_counters(nonce, 1))[0];
    let mut hash = Ghash::new(key, aad, data.len());
    hash.absorb_bytes(data);
    hash.tag(mask)
}

/// Encrypts `data`, which ends in the last of `N` registers, and absorbs the ciphertext.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,pclmulqdq,vpclmulqdq")]
fn blocks<const N: usize>(
    key: &AesKey,
    counter: &mut __m512i,
    data: &mut [u8],
    hash: &mut Ghash<'_>,
) {
    let keystream = encrypted_counters::<N>(key, counter);
    for (keystream, data) in keystream.into_iter().zip(data.chunks_mut(64)) {
        let mask = mask_of(data);
        let sealed = _mm512_maskz_mov_epi8(mask, _mm512_xor_si512(load(data), keystream));
        store(data, sealed);
        hash.absorb(sealed, data.len().div_ceil(16));
    }
}

/// AES of `N` registers of counters, which moves on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes")]
fn encrypted_counters<const N: usize>(key: &AesKey, counter: &mut __m512i) -> [__m512i; N] {
    let mut state = [_mm512_setzero_si512(); N];
    let [first, rest @ ..] = key.round_keys() else { return state };
    let Some((last, middle)) = rest.split_last() else { return state };
    let whitening = broadcast(first);
    for block in &mut state {
        *block = _mm512_xor_si512(turned(*counter), whitening);
        *counter = _mm512_add_epi32(*counter, _mm512_set4_epi32(0, 0, 0, 4));
    }
    for round_key in middle {
        let round_key = broadcast(round_key);
        for block in &mut state {
            *block = _mm512_aesenc_epi128(*block, round_key);
        }
    }
    let last = broadcast(last);
    for block in &mut state {
        *block = _mm512_aesenclast_epi128(*block, last);
    }
    state
}

/// GHASH of associated data, ciphertext and their lengths, in windows of up to sixteen blocks.
struct Ghash<'a> {
    powers: &'a [[u8; 16]; WINDOW],
    aad_len: usize,
    data_len: usize,
    /// Blocks of associated data and of ciphertext still to come.
    aad_blocks: usize,
    data_blocks: usize,
    /// Blocks that the current window still takes: the power of H due to the next.
    left: usize,
    /// The hash of all windows before.
    hash: __m128i,
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl<'a> Ghash<'a> {
    /// That has absorbed `aad`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,pclmulqdq,vpclmulqdq")]
    fn new(key: &'a GcmKey, aad: &[u8], data_len: usize) -> Self {
        let zero = _mm512_setzero_si512();
        let mut hash = Self {
            powers: &key.powers,
            aad_len: aad.len(),
            data_len,
            aad_blocks: aad.len().div_ceil(16),
            data_blocks: data_len.div_ceil(16),
            left: 0,
            hash: _mm_setzero_si128(),
            low: zero,
            middle: zero,
            high: zero,
        };
        hash.absorb_bytes(aad);
        hash
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,pclmulqdq,vpclmulqdq")]
    fn absorb_bytes(&mut self, bytes: &[u8]) {
        for bytes in bytes.chunks(64) {
            self.absorb(load(bytes), bytes.len().div_ceil(16));
        }
    }

    /// Absorbs the first `count` blocks of a register, the rest of which is zero.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,pclmulqdq,vpclmulqdq")]
    fn absorb(&mut self, blocks: __m512i, count: usize) {
        let mut blocks = turned(blocks);
        if self.left == 0 {
            self.left = self.window();
            blocks = _mm512_xor_si512(blocks, _mm512_zextsi128_si512(self.hash));
        }
        let from_aad = count.min(self.aad_blocks);
        self.aad_blocks -= from_aad;
        self.data_blocks = self.data_blocks.saturating_sub(count - from_aad);
        let powers = load_powers(&self.powers[WINDOW - self.left..], count);
        let cross = _mm512_xor_si512(
            _mm512_clmulepi64_epi128::<0x01>(blocks, powers),
            _mm512_clmulepi64_epi128::<0x10>(blocks, powers),
        );
        self.low = _mm512_xor_si512(self.low, _mm512_clmulepi64_epi128::<0x00>(blocks, powers));
        self.middle = _mm512_xor_si512(self.middle, cross);
        self.high = _mm512_xor_si512(self.high, _mm512_clmulepi64_epi128::<0x11>(blocks, powers));
        self.left -= count;
        if self.left == 0 {
            self.hash = reduce(folded(self.low), folded(self.middle), folded(self.high));
            let zero = _mm512_setzero_si512();
            (self.low, self.middle, self.high) = (zero, zero, zero);
        }
    }

    /// The blocks of the next window: all that are left, or as many whole registers as fit.
    #[inline]
    fn window(&self) -> usize {
        let (aad, all) = (self.aad_blocks, self.aad_blocks + self.data_blocks + 1);
        match (all <= WINDOW, aad < WINDOW) {
            (true, _) => all,
            (false, true) => aad + (WINDOW - aad) / 4 * 4,
            (false, false) => WINDOW,
        }
    }

    /// Absorbs the lengths in bits, and adds the encrypted first counter, in `mask`'s low lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,pclmulqdq,vpclmulqdq")]
    fn tag(mut self, mask: __m512i) -> [u8; 16] {
        let bits = (self.aad_len as u128) << 67 | (self.data_len as u128) << 3;
        let lengths = load(&bits.to_be_bytes());
        self.absorb(lengths, 1);
        let hash = turned(_mm512_zextsi128_si512(self.hash));
        let mut tag = [0; 16];
        store(&mut tag, _mm512_xor_si512(hash, mask));
        tag
    }
}

#[target_feature(enable = "avx512f,avx512bw,pclmulqdq,vpclmulqdq")]
fn fill_powers(powers: &mut [[u8; 16]; WINDOW], first: u128) {
    let h = _mm512_castsi512_si128(load(&first.to_le_bytes()));
    let mut power = h;
    for bytes in powers.iter_mut().rev() {
        store(bytes, _mm512_zextsi128_si512(power));
        let cross = _mm_xor_si128(
            _mm_clmulepi64_si128::<0x01>(power, h),
            _mm_clmulepi64_si128::<0x10>(power, h),
        );
        let (low, high) =
            (_mm_clmulepi64_si128::<0x00>(power, h), _mm_clmulepi64_si128::<0x11>(power, h));
        power = reduce(low, cross, high);
    }
}

/// A product of 256 bits, times x^-128, in the field: Montgomery's reduction in two steps.
#[inline]
#[target_feature(enable = "avx512f,pclmulqdq")]
fn reduce(low: __m128i, middle: __m128i, high: __m128i) -> __m128i {
    let field = _mm_set_epi64x(((FIELD >> 64) as u64).cast_signed(), 1);
    let mut low = _mm_xor_si128(low, _mm_slli_si128::<8>(middle));
    let high = _mm_xor_si128(high, _mm_srli_si128::<8>(middle));
    for _ in 0..2 {
        let product = _mm_clmulepi64_si128::<0x10>(low, field);
        low = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), product);
    }
    _mm_xor_si128(high, low)
}

/// The sum of the four lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn folded(sums: __m512i) -> __m128i {
    let half = _mm256_xor_si256(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums));
    _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}

/// Four consecutive counter blocks, turned round so that the count is a dword.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn first_counters(nonce: &[u8; 12], count: u32) -> __m512i {
    let first = turned(broadcast(&counter_block(nonce, count)));
    _mm512_add_epi32(first, _mm512_set_epi32(0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0))
}

/// Each block with its bytes turned round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn turned(blocks: __m512i) -> __m512i {
    let order = _mm512_set4_epi32(0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f);
    _mm512_shuffle_epi8(blocks, order)
}

/// A block four times.
#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast(block: &[u8; 16]) -> __m512i {
    // SAFETY: the reference is to 16 readable bytes, and the load asks for no alignment.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
}

/// The first `count` of `powers`, at most four; zero in the other lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_powers(powers: &[[u8; 16]], count: usize) -> __m512i {
    load(powers[..count].as_flattened())
}

/// A mask of the first bytes of a register, as many as `bytes` has: 1 to 64.
#[inline]
fn mask_of(bytes: &[u8]) -> u64 {
    assert!(matches!(bytes.len(), 1..=64));
    u64::MAX >> (64 - bytes.len())
}

/// `bytes`, 1 to 64 of them, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(bytes: &[u8]) -> __m512i {
    // SAFETY: only the bytes under the mask are read, which are those of the slice.
    unsafe { _mm512_maskz_loadu_epi8(mask_of(bytes), bytes.as_ptr().cast()) }
}

/// Writes the first bytes of `value`, as many as `bytes` has: 1 to 64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store(bytes: &mut [u8], value: __m512i) {
    // SAFETY: only the bytes under the mask are written, which are those of the slice.
    unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask_of(bytes), value) }
}

/// Blocks that share a reduction. Sixteen powers take 256 bytes of every session.
const WINDOW: usize = 16;
/// x^127 + x^126 + x^121 + 1, which x^128 equals (RFC 8452 section 3).
const FIELD: u128 = 0xc200_0000_0000_0000_0000_0000_0000_0001;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::*;

    const NONCE: [u8; 12] = *b"Quid pro quo";

    /// Seals and opens as `ring` does, and refuses a changed tag without touching the data.
    fn check(cpu: Avx512, key: &[u8], aad: &[u8], plain: &[u8]) {
        let ours = GcmKey::new(cpu, key).expect("a length");
        let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let ring = LessSafeKey::new(UnboundKey::new(algorithm, key).expect("a length"));
        let (mut data, mut other, mut tag) = (plain.to_vec(), plain.to_vec(), [0; 16]);
        seal(cpu, &ours, &NONCE, aad, &mut data, &mut tag);
        let nonce = Nonce::assume_unique_for_key(NONCE);
        let theirs = ring
            .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut other)
            .expect("a short message");
        assert!(data == other, "{} and {} bytes", aad.len(), plain.len());
        assert_eq!(tag, theirs.as_ref(), "{} and {} bytes", aad.len(), plain.len());

        let bit = (aad.len() + plain.len()) % 128;
        tag[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(cpu, &ours, &NONCE, aad, &mut data, &tag), Err(Refused));
        assert!(data == other, "a refused message keeps its bytes");
        tag[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(cpu, &ours, &NONCE, aad, &mut data, &tag), Ok(()));
        assert!(data == plain, "{} and {} bytes", aad.len(), plain.len());
    }

    #[test]
    fn every_length_agrees_with_ring() {
        let Some(cpu) = Avx512::detect() else {
            println!("SKIPPED every_length_agrees_with_ring: no AVX-512");
            return;
        };
        let bytes: Vec<u8> = (0..70_001_u32).map(|at| (at * 7) as u8).collect();
        for key_len in [16, 32] {
            for len in (0..=600).chain([1_200, 4_096, 70_001]) {
                check(cpu, &bytes[..key_len], &bytes[..12], &bytes[..len]);
                check(cpu, &bytes[..key_len], &bytes[..len % 101], &bytes[..len]);
            }
            for aad_len in (0..=100).chain([255, 256, 257, 4_000]) {
                for len in [0, 1, 16, 160, 171, 240, 241, 300] {
                    check(cpu, &bytes[..key_len], &bytes[..aad_len], &bytes[..len]);
                }
            }
        }
    }

    #[test]
    fn only_keys_of_gcm_are_taken_and_one_fits_in_512_bytes() {
        let Some(cpu) = Avx512::detect() else {
            println!("SKIPPED only_keys_of_gcm_are_taken: no AVX-512");
            return;
        };
        for len in 0..40 {
            let key = GcmKey::new(cpu, &vec![1; len]);
            assert_eq!(key.is_some(), matches!(len, 16 | 32), "{len}");
        }
        assert_eq!(size_of::<GcmKey>(), 512);
    }

    proptest! {
        #[test]
        fn any_message_agrees_with_ring(
            (key, long) in (any::<[u8; 32]>(), any::<bool>()),
            aad in prop::collection::vec(any::<u8>(), 0..400),
            plain in prop::collection::vec(any::<u8>(), 0..2_000),
        ) {
            if let Some(cpu) = Avx512::detect() {
                check(cpu, if long { &key } else { &key[..16] }, &aad, &plain);
            }
        }
    }
}
