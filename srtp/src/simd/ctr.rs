//! AES in counter mode (RFC 3711 section 4.1.1), four blocks an instruction.
//!
//! The counter is the IV as a 128-bit big-endian number. The last bytes of the data are loaded and
//! stored under a mask, so nothing behind them is touched. Packets are not interleaved: the rounds
//! of one do not wait for those of the one before, and the CPU overlaps them by itself. No state
//! is kept; who uses which IV is decided by the caller.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_aesenc_epi128, _mm512_aesenclast_epi128,
    _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_set_epi64, _mm512_set4_epi32,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_storeu_si512, _mm512_xor_si512,
};

use super::{
    AesKey, Avx512,
    vector::{VECTOR_LEN, broadcast, load_vector},
};

/// XORs `data` with the keystream that begins at `iv`.
pub(crate) fn apply_keystream(_cpu: Avx512, key: &AesKey, iv: [u8; 16], data: &mut [u8]) {
    // SAFETY: the CPU has AVX-512 F and BW and VAES, which `Avx512::detect` asked for.
    unsafe { apply_one(key, iv, data) }
}

#[target_feature(enable = "avx512f,avx512bw,vaes")]
fn apply_one(key: &AesKey, iv: [u8; 16], data: &mut [u8]) {
    let counter = u128::from_be_bytes(iv);
    // The vector addition has 64 bits and no carry. A packet's IV ends in 16 zero bits, so the
    // second run is only for IVs that are not of RFC 3711.
    let before_carry = u64::MAX - counter as u64;
    if data.len() as u64 / BLOCK_LEN > before_carry {
        let blocks = before_carry + 1;
        let (data, rest) = data.split_at_mut(data.len().min((blocks * BLOCK_LEN) as usize));
        apply_run(key, counter, data);
        apply_run(key, counter.wrapping_add(u128::from(blocks)), rest);
    } else {
        apply_run(key, counter, data);
    }
}

/// For data whose counters do not carry out of their low 64 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes")]
fn apply_run(key: &AesKey, counter: u128, data: &mut [u8]) {
    let round_keys = key.round_keys();
    if let Some(round_keys) = round_keys.as_array::<11>() {
        apply_rounds(round_keys, counter, data);
    } else if let Some(round_keys) = round_keys.as_array::<13>() {
        apply_rounds(round_keys, counter, data);
    } else if let Some(round_keys) = round_keys.as_array::<15>() {
        apply_rounds(round_keys, counter, data);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes")]
fn apply_rounds<const KEYS: usize>(keys: &[[u8; 16]; KEYS], counter: u128, data: &mut [u8]) {
    let (high, low) = ((counter >> 64) as i64, counter as i64);
    let mut counters = _mm512_add_epi64(
        _mm512_set_epi64(high, low, high, low, high, low, high, low),
        _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0),
    );
    let (groups, rest) = data.as_chunks_mut::<GROUP_LEN>();
    for group in groups {
        apply_group::<KEYS, GROUP>(keys, &mut counters, group);
    }
    match rest.len().div_ceil(VECTOR_LEN) {
        0 => {}
        1 => apply_group::<KEYS, 1>(keys, &mut counters, rest),
        2 => apply_group::<KEYS, 2>(keys, &mut counters, rest),
        3 => apply_group::<KEYS, 3>(keys, &mut counters, rest),
        _ => apply_group::<KEYS, 4>(keys, &mut counters, rest),
    }
}

/// `VECTORS` vectors of four blocks, side by side; the last one of `data` may be partly filled.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes")]
fn apply_group<const KEYS: usize, const VECTORS: usize>(
    keys: &[[u8; 16]; KEYS],
    counters: &mut __m512i,
    data: &mut [u8],
) {
    let mut blocks = [_mm512_setzero_si512(); VECTORS];
    let whitening = broadcast(&keys[0]);
    for block in &mut blocks {
        *block = _mm512_xor_si512(_mm512_shuffle_epi8(*counters, big_endian()), whitening);
        *counters = _mm512_add_epi64(*counters, _mm512_set_epi64(0, 4, 0, 4, 0, 4, 0, 4));
    }
    for key in &keys[1..KEYS - 1] {
        let key = broadcast(key);
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, key);
        }
    }
    let last = broadcast(&keys[KEYS - 1]);
    let (vectors, rest) = data.as_chunks_mut::<VECTOR_LEN>();
    for (index, block) in blocks.into_iter().enumerate() {
        let keystream = _mm512_aesenclast_epi128(block, last);
        match vectors.get_mut(index) {
            Some(vector) => xor_vector(vector, keystream),
            None => xor_part(rest, keystream),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor_vector(vector: &mut [u8; VECTOR_LEN], keystream: __m512i) {
    let text = _mm512_xor_si512(load_vector(vector), keystream);
    // SAFETY: an unaligned store to the same 64 bytes, borrowed mutably.
    unsafe { _mm512_storeu_si512(vector.as_mut_ptr().cast(), text) };
}

/// For fewer than 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn xor_part(part: &mut [u8], keystream: __m512i) {
    // Were `part` longer, the mask would leave bytes out, never name one outside of it.
    let mask = (1_u64 << (part.len() % VECTOR_LEN)) - 1;
    // SAFETY: the mask has the lowest bits set, at most `part.len()` of them: only bytes of
    // `part` are read, and a masked load does not fault on others.
    let text = unsafe { _mm512_maskz_loadu_epi8(mask, part.as_ptr().cast()) };
    let text = _mm512_xor_si512(text, keystream);
    // SAFETY: the same bytes are written, which `part` borrows mutably, and no others.
    unsafe { _mm512_mask_storeu_epi8(part.as_mut_ptr().cast(), mask, text) };
}

/// Turns the bytes of each 128-bit number around.
#[inline]
#[target_feature(enable = "avx512f")]
fn big_endian() -> __m512i {
    _mm512_set4_epi32(0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f)
}

const BLOCK_LEN: u64 = 16;
/// Vectors side by side: as many as keep the AES unit busy, which begins a vector every cycle and
/// has it three to four cycles.
const GROUP: usize = 4;
const GROUP_LEN: usize = GROUP * VECTOR_LEN;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transform::Aes;

    fn key(len: usize) -> Vec<u8> {
        (0..len).map(|byte| (byte * 29 + 5) as u8).collect()
    }

    #[test]
    fn every_length_and_alignment_agrees_and_nothing_behind_is_touched() {
        let Some(cpu) = Avx512::or_skip() else { return };
        for key_len in [16, 24, 32] {
            let key = key(key_len);
            let (ours, theirs) = (AesKey::new(cpu, &key).expect("a length"), Aes::new(&key));
            for len in 0..=600 {
                let start = len % 67;
                let mut got: Vec<u8> = (0..start + len + 70).map(|byte| byte as u8).collect();
                let mut expected = got.clone();
                let iv = [len as u8; 16];
                apply_keystream(cpu, &ours, iv, &mut got[start..start + len]);
                theirs.apply_keystream(iv, &mut expected[start..start + len]);
                assert_eq!(got, expected, "AES-{}, {len} bytes", 8 * key_len);
            }
        }
    }

    #[test]
    fn the_counter_carries_through_all_128_bits() {
        let Some(cpu) = Avx512::or_skip() else { return };
        let key = key(16);
        let (ours, theirs) = (AesKey::new(cpu, &key).expect("a length"), Aes::new(&key));
        for blocks in 0..40_u128 {
            for top in [u128::from(u16::MAX), u128::from(u64::MAX), u128::MAX] {
                let iv = (top - blocks).to_be_bytes();
                for len in [0, 15, 16, 17, 500, 512, 640] {
                    let (mut got, mut expected) = (vec![3; len], vec![3; len]);
                    apply_keystream(cpu, &ours, iv, &mut got);
                    theirs.apply_keystream(iv, &mut expected);
                    assert_eq!(got, expected, "{top:x} - {blocks}, {len} bytes");
                }
            }
        }
    }

    #[test]
    fn the_longest_message_agrees() {
        let Some(cpu) = Avx512::or_skip() else { return };
        let key = key(16);
        let (mut got, mut expected) = (vec![1; 1 << 20], vec![1; 1 << 20]);
        let iv = (77_u128 << 16).to_be_bytes();
        apply_keystream(cpu, &AesKey::new(cpu, &key).expect("a length"), iv, &mut got);
        Aes::new(&key).apply_keystream(iv, &mut expected);
        assert!(got == expected);
    }

    proptest! {
        #[test]
        fn any_key_iv_and_data_agree(
            key_len in prop::sample::select(vec![16, 24, 32]),
            key: [u8; 32],
            iv: [u8; 16],
            data in prop::collection::vec(any::<u8>(), 0..=2_000),
        ) {
            let Some(cpu) = Avx512::or_skip() else { return Ok(()) };
            let key = &key[..key_len];
            let (mut got, mut expected) = (data.clone(), data);
            apply_keystream(cpu, &AesKey::new(cpu, key).expect("a length"), iv, &mut got);
            Aes::new(key).apply_keystream(iv, &mut expected);
            prop_assert_eq!(got, expected);
        }
    }
}
