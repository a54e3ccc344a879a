//! AES in counter mode, four blocks an instruction (NIST SP 800-38A section 6.5).
//!
//! A packet has about ten blocks: three registers of four, whose rounds overlap. The last register
//! is loaded and stored under a mask, so nothing beyond the data is touched.

use std::arch::x86_64::*;

use super::{AesKey, Avx512};

/// XORs `data`, at most 2^20 bytes, with the keystream that begins at `iv`, whose low 16 bits
/// count blocks and start at zero (RFC 3711 section 4.1.1).
pub(crate) fn apply_keystream(_cpu: Avx512, key: &AesKey, iv: [u8; 16], data: &mut [u8]) {
    // SAFETY: the CPU has AVX-512 F and BW and VAES, which `Avx512::detect` asked for.
    unsafe { run(key, iv, data) }
}

#[target_feature(enable = "avx512f,avx512bw,vaes")]
fn run(key: &AesKey, iv: [u8; 16], data: &mut [u8]) {
    let mut counter = first_counters(iv);
    let (whole, rest) = data.as_chunks_mut::<{ 4 * 64 }>();
    for chunk in whole {
        blocks::<4>(key, &mut counter, chunk);
    }
    match rest.len().div_ceil(64) {
        0 => {}
        1 => blocks::<1>(key, &mut counter, rest),
        2 => blocks::<2>(key, &mut counter, rest),
        3 => blocks::<3>(key, &mut counter, rest),
        _ => blocks::<4>(key, &mut counter, rest),
    }
}

/// Encrypts `data`, which ends in the last of `N` registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes")]
fn blocks<const N: usize>(key: &AesKey, counter: &mut __m512i, data: &mut [u8]) {
    let (first, rest) = match key.round_keys() {
        [first, rest @ ..] => (first, rest),
        [] => return,
    };
    let Some((last, middle)) = rest.split_last() else { return };
    let mut state = [_mm512_setzero_si512(); N];
    let whitening = broadcast(first);
    for block in &mut state {
        *block = _mm512_xor_si512(big_endian(*counter), whitening);
        *counter = _mm512_add_epi32(*counter, _mm512_set4_epi32(0, 0, 0, 4));
    }
    for round_key in middle {
        let round_key = broadcast(round_key);
        for block in &mut state {
            *block = _mm512_aesenc_epi128(*block, round_key);
        }
    }
    let last = broadcast(last);
    for (block, data) in state.into_iter().zip(data.chunks_mut(64)) {
        let keystream = _mm512_aesenclast_epi128(block, last);
        let mask = u64::MAX >> (64 - data.len());
        store(data, mask, _mm512_xor_si512(load(data, mask), keystream));
    }
}

/// Four consecutive counter blocks in little-endian order, so that the count is a dword.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn first_counters(iv: [u8; 16]) -> __m512i {
    let iv = big_endian(broadcast(&iv));
    _mm512_add_epi32(iv, _mm512_set_epi32(0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0))
}

/// Turns each block's bytes round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn big_endian(blocks: __m512i) -> __m512i {
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

/// The bytes of `data` that `mask` names, zero elsewhere. `mask` names none beyond its end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(data: &[u8], mask: u64) -> __m512i {
    debug_assert_eq!(mask, u64::MAX >> (64 - data.len()));
    // SAFETY: only the bytes under the mask are read, the first `data.len()` of the slice.
    unsafe { _mm512_maskz_loadu_epi8(mask, data.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store(data: &mut [u8], mask: u64, value: __m512i) {
    debug_assert_eq!(mask, u64::MAX >> (64 - data.len()));
    // SAFETY: only the bytes under the mask are written, the first `data.len()` of the slice.
    unsafe { _mm512_mask_storeu_epi8(data.as_mut_ptr().cast(), mask, value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::Aes;

    #[test]
    fn every_length_and_key_size_agrees_with_the_portable_one() {
        let Some(cpu) = Avx512::detect() else {
            println!("SKIPPED every_length_and_key_size_agrees_with_the_portable_one: no AVX-512");
            return;
        };
        let iv = *b"0123456789abcd\0\0";
        for key_len in [16, 24, 32] {
            let key: Vec<u8> = (0..key_len).collect();
            let (ours, portable) = (AesKey::new(cpu, &key).expect("a length"), Aes::new(&key));
            for len in (0..700).chain([4_096, 70_001]) {
                let plain: Vec<u8> = (0..len + 3).map(|byte| byte as u8).collect();
                let (mut one, mut other) = (plain.clone(), plain.clone());
                apply_keystream(cpu, &ours, iv, &mut one[1..=len]);
                portable.apply_keystream(iv, &mut other[1..=len]);
                assert_eq!(one, other, "key of {key_len}, {len} bytes");
            }
        }
    }
}
