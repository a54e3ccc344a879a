//! HMAC-SHA1 of sixteen messages side by side (FIPS 180-4 section 6.1, RFC 2104).
//!
//! SHA-1 is a chain of 80 steps, each of which waits for the last: alone, a message leaves the CPU
//! idle most of the time, SHA instructions or not. Here lane `i` of every register belongs to
//! message `i`. Messages of different lengths share the lanes: one that has no more blocks keeps
//! its state under a mask. Whole blocks are read where they lie; only a message's last bytes,
//! with the word and the padding behind them, are copied.
//!
//! ```text
//! 16 blocks of 64 bytes --transpose--> 16 words of 16 lanes --80 steps--> 5 words of 16 lanes
//! ```

use std::arch::x86_64::*;

use super::Avx512;
use crate::transform::HmacSha1;

/// A message whose MAC is wanted.
pub(crate) struct MacJob<'a> {
    pub(crate) hmac: &'a HmacSha1,
    pub(crate) message: &'a [u8],
    /// Follows the message.
    pub(crate) word: [u8; 4],
    /// For the caller, because the jobs change places.
    pub(crate) place: usize,
    /// The result.
    pub(crate) mac: [u8; 20],
}

/// The MACs of any number of messages; the jobs are sorted by length.
pub(crate) fn macs(cpu: Avx512, jobs: &mut [MacJob<'_>]) {
    // Messages that share the lanes take as long as the longest of them.
    if !jobs.is_sorted_by_key(|job| blocks(job.message.len())) {
        jobs.sort_unstable_by_key(|job| blocks(job.message.len()));
    }
    for jobs in jobs.chunks_mut(LANES) {
        if jobs.len() < WORTHWHILE {
            for job in jobs {
                job.mac = job.hmac.mac(job.message, job.word);
            }
        } else {
            side_by_side(cpu, jobs);
        }
    }
}

/// At most sixteen messages.
fn side_by_side(cpu: Avx512, jobs: &mut [MacJob<'_>]) {
    let mut tails = [Tail::EMPTY; LANES];
    let mut states = [[0_u32; LANES]; 5];
    let mut most = 0;
    for (lane, job) in jobs.iter().enumerate() {
        tails[lane].fill(job);
        most = most.max(tails[lane].total);
        for (word, state) in states.iter_mut().zip(&job.hmac.inner) {
            word[lane] = *state;
        }
    }
    for at in 0..most {
        let mut blocks: [&[u8; 64]; LANES] = [&ZEROS; LANES];
        let mut mask = 0_u16;
        for (lane, job) in jobs.iter().enumerate() {
            if let Some(block) = tails[lane].block(job.message, at) {
                blocks[lane] = block;
                mask |= 1 << lane;
            }
        }
        compress_blocks(cpu, &mut states, &blocks, mask);
    }
    let inner = states;
    for (lane, job) in jobs.iter().enumerate() {
        for (word, state) in states.iter_mut().zip(&job.hmac.outer) {
            word[lane] = *state;
        }
    }
    compress_digests(cpu, &mut states, &inner);
    for (lane, job) in jobs.iter_mut().enumerate() {
        for (bytes, word) in job.mac.as_chunks_mut::<4>().0.iter_mut().zip(&states) {
            *bytes = word[lane].to_be_bytes();
        }
    }
}

/// The end of a message: what does not fill a block, the word, and SHA-1's padding.
#[derive(Clone, Copy)]
struct Tail {
    bytes: [[u8; 64]; 2],
    /// Whole blocks before it.
    whole: usize,
    /// Blocks with it.
    total: usize,
}

impl Tail {
    const EMPTY: Self = Self { bytes: [[0; 64]; 2], whole: 0, total: 0 };

    /// Makes an empty one that of `job`'s message.
    fn fill(&mut self, job: &MacJob<'_>) {
        let (whole, rest) = job.message.as_chunks::<64>();
        (self.whole, self.total) = (whole.len(), blocks(job.message.len()));
        let bytes = self.bytes.as_flattened_mut();
        bytes[..rest.len()].copy_from_slice(rest);
        bytes[rest.len()..rest.len() + 4].copy_from_slice(&job.word);
        bytes[rest.len() + 4] = 0x80;
        let end = 64 * (self.total - self.whole);
        let bits = 8 * (64 + job.message.len() as u64 + 4);
        bytes[end - 8..end].copy_from_slice(&bits.to_be_bytes());
    }

    /// Block `at` of the message that this is the tail of.
    fn block<'a>(&'a self, message: &'a [u8], at: usize) -> Option<&'a [u8; 64]> {
        if at < self.whole {
            return message.as_chunks::<64>().0.get(at);
        }
        (at < self.total).then(|| &self.bytes[at - self.whole])
    }
}

/// Blocks of a message of `len` bytes with its word, a byte of padding and eight of length.
fn blocks(len: usize) -> usize {
    (len + 4 + 9).div_ceil(64)
}

fn compress_blocks(
    _cpu: Avx512,
    states: &mut [[u32; LANES]; 5],
    blocks: &[&[u8; 64]; LANES],
    mask: u16,
) {
    #[target_feature(enable = "avx512f,avx512bw")]
    fn run(states: &mut [[u32; LANES]; 5], blocks: &[&[u8; 64]; LANES], mask: u16) {
        let mut words = [_mm512_setzero_si512(); LANES];
        for (word, block) in words.iter_mut().zip(blocks) {
            *word = load(block);
        }
        let words = transpose(words);
        let before = load_states(states);
        let after = compress(before, swap_bytes(words));
        for ((state, before), after) in states.iter_mut().zip(before).zip(after) {
            store_words(state, _mm512_mask_mov_epi32(before, mask, after));
        }
    }
    // SAFETY: the CPU has AVX-512 F and BW, which `Avx512::detect` asked for.
    unsafe { run(states, blocks, mask) }
}

/// The outer hash: its message is the inner digest, one block with its padding.
fn compress_digests(_cpu: Avx512, states: &mut [[u32; LANES]; 5], inner: &[[u32; LANES]; 5]) {
    #[target_feature(enable = "avx512f,avx512bw")]
    fn run(states: &mut [[u32; LANES]; 5], inner: &[[u32; LANES]; 5]) {
        let mut words = [_mm512_setzero_si512(); LANES];
        for (word, inner) in words.iter_mut().zip(inner) {
            *word = load_words(inner);
        }
        words[5] = _mm512_set1_epi32(i32::MIN);
        words[15] = _mm512_set1_epi32(8 * (64 + 20));
        let after = compress(load_states(states), words);
        for (state, after) in states.iter_mut().zip(after) {
            store_words(state, after);
        }
    }
    // SAFETY: the CPU has AVX-512 F and BW, which `Avx512::detect` asked for.
    unsafe { run(states, inner) }
}

/// One block of every lane: the 80 steps, and the sum with the state before.
#[inline]
#[target_feature(enable = "avx512f")]
fn compress(before: [__m512i; 5], mut words: [__m512i; LANES]) -> [__m512i; 5] {
    let mut state = before;
    macro_rules! steps {
        ($($t:literal)*) => { $(step::<$t>(&mut state, &mut words);)* };
    }
    steps! {
         0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19
        20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
        40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59
        60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79
    }
    for (state, before) in state.iter_mut().zip(before) {
        *state = _mm512_add_epi32(*state, before);
    }
    state
}

/// Step `T`. Instead of moving a to b, b to c and so on, the names move: `a` of step `T` stands
/// at place `-T mod 5`.
#[inline]
#[target_feature(enable = "avx512f")]
fn step<const T: usize>(state: &mut [__m512i; 5], words: &mut [__m512i; LANES]) {
    let place = |name: usize| (name + 80 - T) % 5;
    let (b, c, d) = (state[place(1)], state[place(2)], state[place(3)]);
    let (mixed, constant) = match T / 20 {
        0 => (_mm512_ternarylogic_epi32::<CHOOSE>(b, c, d), 0x5a82_7999_u32),
        1 => (_mm512_ternarylogic_epi32::<PARITY>(b, c, d), 0x6ed9_eba1),
        2 => (_mm512_ternarylogic_epi32::<MAJORITY>(b, c, d), 0x8f1b_bcdc),
        _ => (_mm512_ternarylogic_epi32::<PARITY>(b, c, d), 0xca62_c1d6),
    };
    if T >= 16 {
        let (w3, w8, w14) = (words[(T - 3) % 16], words[(T - 8) % 16], words[(T - 14) % 16]);
        let sum = _mm512_ternarylogic_epi32::<PARITY>(w3, w8, w14);
        words[T % 16] = _mm512_rol_epi32::<1>(_mm512_xor_si512(sum, words[T % 16]));
    }
    let constant = _mm512_set1_epi32(constant.cast_signed());
    let rest = _mm512_add_epi32(_mm512_add_epi32(words[T % 16], constant), state[place(4)]);
    let turned = _mm512_add_epi32(_mm512_rol_epi32::<5>(state[place(0)]), mixed);
    state[place(4)] = _mm512_add_epi32(rest, turned);
    state[place(1)] = _mm512_rol_epi32::<30>(b);
}

/// Row `i` becomes column `i`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; LANES]) -> [__m512i; LANES] {
    let mut pairs = rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    // Quad `4 g + c` holds, in its 128-bit lane `l`, column `4 l + c` of rows `4 g` to `4 g + 3`.
    let mut quads = pairs;
    for g in 0..4 {
        for half in 0..2 {
            let (low, high) = (pairs[4 * g + half], pairs[4 * g + half + 2]);
            quads[4 * g + 2 * half] = _mm512_unpacklo_epi64(low, high);
            quads[4 * g + 2 * half + 1] = _mm512_unpackhi_epi64(low, high);
        }
    }
    let mut columns = quads;
    for c in 0..4 {
        let (g0, g1, g2, g3) = (quads[c], quads[4 + c], quads[8 + c], quads[12 + c]);
        let (low01, high01) =
            (_mm512_shuffle_i32x4::<0x44>(g0, g1), _mm512_shuffle_i32x4::<0xee>(g0, g1));
        let (low23, high23) =
            (_mm512_shuffle_i32x4::<0x44>(g2, g3), _mm512_shuffle_i32x4::<0xee>(g2, g3));
        columns[c] = _mm512_shuffle_i32x4::<0x88>(low01, low23);
        columns[4 + c] = _mm512_shuffle_i32x4::<0xdd>(low01, low23);
        columns[8 + c] = _mm512_shuffle_i32x4::<0x88>(high01, high23);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(high01, high23);
    }
    columns
}

/// SHA-1's words are big-endian.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn swap_bytes(words: [__m512i; LANES]) -> [__m512i; LANES] {
    let order = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    let mut swapped = words;
    for word in &mut swapped {
        *word = _mm512_shuffle_epi8(*word, order);
    }
    swapped
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(block: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes, and the load asks for no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_words(words: &[u32; LANES]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes, and the load asks for no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_states(states: &[[u32; LANES]; 5]) -> [__m512i; 5] {
    let mut loaded = [_mm512_setzero_si512(); 5];
    for (state, words) in loaded.iter_mut().zip(states) {
        *state = load_words(words);
    }
    loaded
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_words(words: &mut [u32; LANES], value: __m512i) {
    // SAFETY: the reference is to 64 writable bytes, and the store asks for no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) }
}

/// Dwords of a register.
const LANES: usize = 16;
/// Fewer messages than this are faster one by one, with SHA instructions.
const WORTHWHILE: usize = 4;
/// What an idle lane hashes.
const ZEROS: [u8; 64] = [0; 64];
/// Truth tables of FIPS 180-4 section 4.1.1, the first operand the highest bit.
const CHOOSE: i32 = 0xca;
const PARITY: i32 = 0x96;
const MAJORITY: i32 = 0xe8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(cpu: Avx512, lens: &[usize]) {
        let message: Vec<u8> = (0..2_000_u32).map(|at| (at * 7) as u8).collect();
        let keys: Vec<_> = (0..lens.len()).map(|key| HmacSha1::new(&[key as u8; 20])).collect();
        let mut jobs: Vec<_> = lens
            .iter()
            .zip(&keys)
            .enumerate()
            .map(|(at, (len, hmac))| MacJob {
                hmac,
                message: &message[at % 5..][..*len],
                word: [at as u8; 4],
                place: at,
                mac: [0; 20],
            })
            .collect();
        macs(cpu, &mut jobs);
        for job in jobs {
            assert_eq!(job.mac, job.hmac.mac(job.message, job.word), "{} bytes", job.message.len());
        }
    }

    #[test]
    fn every_length_agrees_with_one_by_one() {
        let Some(cpu) = Avx512::detect() else {
            println!("SKIPPED every_length_agrees_with_one_by_one: no AVX-512");
            return;
        };
        for len in 0..600 {
            check(cpu, &[len; LANES]);
        }
    }

    proptest! {
        #[test]
        fn any_mix_of_lengths_agrees_with_one_by_one(
            lens in prop::collection::vec(0usize..1_500, 0..50)
        ) {
            if let Some(cpu) = Avx512::detect() {
                check(cpu, &lens);
            }
        }
    }
}
