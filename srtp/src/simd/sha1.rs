//! HMAC-SHA1 of sixteen messages side by side, one in each 32-bit lane of an AVX-512 register.
//!
//! The states behind the key's two pads are made by [`HmacSha1`]; here they are gathered, carried
//! on and left. Whole blocks are read where the message lies, only the padded end is built on the
//! stack. Messages of one group may differ in length: a lane that has finished keeps its state
//! while the others go on.
//!
//! ```text
//! 16 blocks of 64 bytes --transpose--> 16 words of 16 lanes --80 rounds--> 5 words of 16 lanes
//! ```

use std::arch::x86_64::{
    __m512i, _mm256_maskz_loadu_epi32, _mm512_add_epi32, _mm512_castsi256_si512,
    _mm512_inserti64x4, _mm512_loadu_si512, _mm512_mask_add_epi32, _mm512_maskz_loadu_epi8,
    _mm512_rol_epi32, _mm512_set1_epi32, _mm512_set4_epi32, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    _mm512_xor_si512,
};

use super::Avx512;
use crate::transform::HmacSha1;

/// A message to authenticate.
pub(crate) struct MacJob<'a> {
    pub(crate) hmac: &'a HmacSha1,
    pub(crate) message: &'a [u8],
    /// What is authenticated behind the message: the ROC of SRTP, the E flag and index of SRTCP.
    pub(crate) word: [u8; 4],
    /// For the caller, because the jobs change places.
    pub(crate) place: u8,
    /// The MAC of `message ‖ word`, written here.
    pub(crate) mac: [u8; 20],
}

/// The MACs of any number of messages. The jobs are sorted by length, so that few lanes idle.
pub(crate) fn macs(_cpu: Avx512, jobs: &mut [MacJob<'_>]) {
    if jobs.len() > LANES {
        // Packets of a batch are mostly of one length: then this only compares.
        jobs.sort_unstable_by_key(|job| total_blocks(job.message.len()));
    }
    for jobs in jobs.chunks_mut(LANES) {
        if jobs.len() < WORTH_LANES {
            for job in jobs {
                job.mac = job.hmac.mac(job.message, job.word);
            }
        } else {
            // SAFETY: the CPU has AVX-512 F, BW and VL, which `Avx512::detect` asked for.
            unsafe { macs_in_lanes(jobs) };
        }
    }
}

/// For at most [`LANES`] jobs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn macs_in_lanes(jobs: &mut [MacJob<'_>]) {
    let zero = _mm512_setzero_si512();
    let mut states = [zero; LANES];
    let mut tails = [[[0; BLOCK_LEN]; 2]; LANES];
    let mut messages = [Message::default(); LANES];
    for (lane, (job, tail)) in jobs.iter().zip(&mut tails).enumerate() {
        states[lane] = load_states(job.hmac);
        messages[lane] = Message::new(job, tail);
    }
    let [a, b, c, d, e, _, _, _, outer @ ..] = transpose(states);
    let mut inner = [a, b, c, d, e];
    let most = messages.iter().map(Message::len).max().unwrap_or(0);
    for index in 0..most {
        let mut rows = [zero; LANES];
        let mut live = 0_u16;
        for (lane, message) in messages.iter().enumerate() {
            if let Some(block) = message.block(index) {
                rows[lane] = load_block(block);
                live |= 1 << lane;
            }
        }
        inner = compress(inner, transpose(rows), live);
    }
    let [a, b, c, d, e, ..] = outer;
    let digest = compress([a, b, c, d, e], outer_block(inner), u16::MAX);
    store_digests(digest, jobs);
}

/// The blocks of a message: those that lie in it, and its padded end.
#[derive(Clone, Copy, Default)]
struct Message<'a> {
    whole: &'a [[u8; BLOCK_LEN]],
    tail: &'a [[u8; BLOCK_LEN]],
}

impl<'a> Message<'a> {
    /// `tail` is all zeros.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new(job: &MacJob<'a>, tail: &'a mut [[u8; BLOCK_LEN]; 2]) -> Self {
        let (whole, rest) = job.message.as_chunks();
        store_part(&mut tail[0], rest);
        let bytes = tail.as_flattened_mut();
        let end = rest.len() + job.word.len();
        bytes[rest.len()..end].copy_from_slice(&job.word);
        // SHA-1's padding (FIPS 180-4 section 5.1.1). The key's block counts.
        bytes[end] = 0x80;
        let len = if end < BLOCK_LEN - 8 { BLOCK_LEN } else { 2 * BLOCK_LEN };
        let bits = 8 * (BLOCK_LEN + job.message.len() + job.word.len()) as u64;
        bytes[len - 8..len].copy_from_slice(&bits.to_be_bytes());
        Self { whole, tail: &tail[..len / BLOCK_LEN] }
    }

    #[inline]
    fn len(&self) -> usize {
        self.whole.len() + self.tail.len()
    }

    #[inline]
    fn block(&self, index: usize) -> Option<&'a [u8; BLOCK_LEN]> {
        self.whole.get(index).or_else(|| self.tail.get(index.wrapping_sub(self.whole.len())))
    }
}

/// SHA-1's compression (FIPS 180-4 section 6.1.2) in the `live` lanes; the others keep `before`.
#[inline]
#[target_feature(enable = "avx512f")]
fn compress(before: [__m512i; 5], mut words: [__m512i; 16], live: u16) -> [__m512i; 5] {
    let mut state = before;
    // Spelled out so that every index is a constant, and no word leaves its register.
    macro_rules! rounds {
        ($($t:literal)*) => { $(state = round::<$t>(state, &mut words);)* };
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
    rounds!(20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
    rounds!(40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59);
    rounds!(60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);
    let mut after = before;
    for (after, state) in after.iter_mut().zip(state) {
        *after = _mm512_mask_add_epi32(*after, live, *after, state);
    }
    after
}

#[inline]
#[target_feature(enable = "avx512f")]
fn round<const T: usize>(state: [__m512i; 5], words: &mut [__m512i; 16]) -> [__m512i; 5] {
    let [a, b, c, d, e] = state;
    if T >= 16 {
        let (w3, w8) = (words[(T + 13) % 16], words[(T + 8) % 16]);
        let (w14, w16) = (words[(T + 2) % 16], words[T % 16]);
        let sum = _mm512_xor_si512(_mm512_ternarylogic_epi32::<PARITY>(w16, w14, w8), w3);
        words[T % 16] = _mm512_rol_epi32::<1>(sum);
    }
    let (f, k) = match T / 20 {
        0 => (_mm512_ternarylogic_epi32::<CHOICE>(b, c, d), 0x5a82_7999_u32),
        1 => (_mm512_ternarylogic_epi32::<PARITY>(b, c, d), 0x6ed9_eba1),
        2 => (_mm512_ternarylogic_epi32::<MAJORITY>(b, c, d), 0x8f1b_bcdc),
        _ => (_mm512_ternarylogic_epi32::<PARITY>(b, c, d), 0xca62_c1d6),
    };
    let wk = _mm512_add_epi32(words[T % 16], _mm512_set1_epi32(k.cast_signed()));
    let sum = _mm512_add_epi32(_mm512_add_epi32(e, wk), f);
    let sum = _mm512_add_epi32(_mm512_rol_epi32::<5>(a), sum);
    [sum, a, _mm512_rol_epi32::<30>(b), c, d]
}

/// Word `n` of sixteen rows in vector `n`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    // In each 128-bit part, words 4p to 4p + 3 of four rows become four columns of four rows.
    let mut fours = [zero; 16];
    for quad in 0..4 {
        let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|row| rows[4 * quad + row]);
        let (low01, low23) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpacklo_epi32(r2, r3));
        let (high01, high23) = (_mm512_unpackhi_epi32(r0, r1), _mm512_unpackhi_epi32(r2, r3));
        fours[4 * quad] = _mm512_unpacklo_epi64(low01, low23);
        fours[4 * quad + 1] = _mm512_unpackhi_epi64(low01, low23);
        fours[4 * quad + 2] = _mm512_unpacklo_epi64(high01, high23);
        fours[4 * quad + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    // Then the four parts of four vectors are a matrix of 4 by 4 to transpose.
    let mut columns = [zero; 16];
    for column in 0..4 {
        let [q0, q1, q2, q3] = [0, 1, 2, 3].map(|quad| fours[4 * quad + column]);
        let even01 = _mm512_shuffle_i32x4::<0b10_00_10_00>(q0, q1);
        let odd01 = _mm512_shuffle_i32x4::<0b11_01_11_01>(q0, q1);
        let even23 = _mm512_shuffle_i32x4::<0b10_00_10_00>(q2, q3);
        let odd23 = _mm512_shuffle_i32x4::<0b11_01_11_01>(q2, q3);
        columns[column] = _mm512_shuffle_i32x4::<0b10_00_10_00>(even01, even23);
        columns[4 + column] = _mm512_shuffle_i32x4::<0b10_00_10_00>(odd01, odd23);
        columns[8 + column] = _mm512_shuffle_i32x4::<0b11_01_11_01>(even01, even23);
        columns[12 + column] = _mm512_shuffle_i32x4::<0b11_01_11_01>(odd01, odd23);
    }
    columns
}

/// The one block behind the outer pad: the inner digest, which is in lanes already, and padding.
#[inline]
#[target_feature(enable = "avx512f")]
fn outer_block(inner: [__m512i; 5]) -> [__m512i; 16] {
    let mut words = [_mm512_setzero_si512(); 16];
    words[..5].copy_from_slice(&inner);
    words[5] = _mm512_set1_epi32(i32::MIN);
    words[15] = _mm512_set1_epi32(8 * (BLOCK_LEN + 20) as i32);
    words
}

/// The inner state in words 0 to 4, the outer one in words 8 to 12.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn load_states(hmac: &HmacSha1) -> __m512i {
    const FIVE: u8 = 0b1_1111;
    // SAFETY: the mask lets five words be read, which are the `[u32; 5]`.
    let inner = unsafe { _mm256_maskz_loadu_epi32(FIVE, hmac.inner.as_ptr().cast()) };
    // SAFETY: the same.
    let outer = unsafe { _mm256_maskz_loadu_epi32(FIVE, hmac.outer.as_ptr().cast()) };
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(inner), outer)
}

/// A block's sixteen big-endian words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_block(block: &[u8; BLOCK_LEN]) -> __m512i {
    // SAFETY: an unaligned load of the 64 bytes of a `[u8; 64]`, which are initialised.
    let words = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
    big_endian(words)
}

/// Copies `part`, which is shorter than a block, to the front of `block`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store_part(block: &mut [u8; BLOCK_LEN], part: &[u8]) {
    let mask = (1_u64 << (part.len() % BLOCK_LEN)) - 1;
    // SAFETY: the mask has the lowest bits set, at most `part.len()` of them: only bytes of
    // `part` are read, and a masked load does not fault on others.
    let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, part.as_ptr().cast()) };
    // SAFETY: a store to the 64 bytes of a `[u8; 64]`, borrowed mutably.
    unsafe { _mm512_storeu_si512(block.as_mut_ptr().cast(), bytes) };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store_digests(digest: [__m512i; 5], jobs: &mut [MacJob<'_>]) {
    let mut words = [[0_u32; LANES]; 5];
    for (words, digest) in words.iter_mut().zip(digest) {
        let digest = big_endian(digest);
        // SAFETY: a store to the 64 bytes of a `[u32; 16]`, borrowed mutably.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), digest) };
    }
    for (lane, job) in jobs.iter_mut().enumerate().take(LANES) {
        for (bytes, words) in job.mac.as_chunks_mut::<4>().0.iter_mut().zip(&words) {
            *bytes = words[lane].to_ne_bytes();
        }
    }
}

/// Turns the bytes of each word around.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn big_endian(words: __m512i) -> __m512i {
    let order = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    _mm512_shuffle_epi8(words, order)
}

/// Blocks of a message of `len` bytes with its word, 0x80 and length.
fn total_blocks(len: usize) -> usize {
    (len + 4 + 1 + 8).div_ceil(BLOCK_LEN)
}

const BLOCK_LEN: usize = 64;
const LANES: usize = 16;
/// Fewer jobs than this are faster one by one, with SHA instructions: on Sapphire Rapids a group
/// of 176-byte messages takes as long as three and a half of them alone.
const WORTH_LANES: usize = 4;

/// `b & c | !b & d`, as a truth table.
const CHOICE: i32 = 0xca;
/// `b ^ c ^ d`.
const PARITY: i32 = 0x96;
/// `b & c | b & d | c & d`.
const MAJORITY: i32 = 0xe8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn job<'a>(hmac: &'a HmacSha1, message: &'a [u8], word: [u8; 4]) -> MacJob<'a> {
        MacJob { hmac, message, word, place: 0, mac: [0; 20] }
    }

    #[test]
    fn every_length_and_alignment_agrees() {
        let Some(cpu) = Avx512::or_skip() else { return };
        let bytes: Vec<u8> = (0..800_u32).map(|byte| (byte * 7 + byte / 256) as u8).collect();
        let keys: Vec<_> = (0..LANES as u8).map(|key| HmacSha1::new(&[key; 20])).collect();
        for len in 0..=600 {
            let message = &bytes[len % 67..][..len];
            let mut jobs: Vec<_> =
                keys.iter().map(|hmac| job(hmac, message, (len as u32).to_be_bytes())).collect();
            macs(cpu, &mut jobs);
            for job in jobs {
                assert_eq!(job.mac, job.hmac.mac(message, job.word), "{len} bytes");
            }
        }
    }

    #[test]
    fn any_number_of_jobs_agrees() {
        let Some(cpu) = Avx512::or_skip() else { return };
        let bytes: Vec<u8> = (0..255).collect();
        let keys: Vec<_> = (0..150).map(|key| HmacSha1::new(&[key; 20])).collect();
        for count in 0..=keys.len() {
            let mut jobs: Vec<_> = keys[..count]
                .iter()
                .enumerate()
                .map(|(at, hmac)| job(hmac, &bytes[..at * 37 % 255], [at as u8; 4]))
                .collect();
            macs(cpu, &mut jobs);
            for job in jobs {
                assert_eq!(job.mac, job.hmac.mac(job.message, job.word), "{count} jobs");
            }
        }
    }

    proptest! {
        #[test]
        fn mixed_messages_agree_with_one_by_one(
            packets in prop::collection::vec(
                (any::<([u8; 20], [u8; 4])>(), prop::collection::vec(any::<u8>(), 0..=600)),
                1..40,
            ),
        ) {
            let Some(cpu) = Avx512::or_skip() else { return Ok(()) };
            let keys: Vec<_> = packets.iter().map(|((key, _), _)| HmacSha1::new(key)).collect();
            let mut jobs: Vec<_> = packets
                .iter()
                .zip(&keys)
                .map(|(((_, word), message), hmac)| job(hmac, message, *word))
                .collect();
            macs(cpu, &mut jobs);
            for job in jobs {
                prop_assert_eq!(job.mac, job.hmac.mac(job.message, job.word));
            }
        }
    }
}
