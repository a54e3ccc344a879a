//! AES-GCM (NIST SP 800-38D), four blocks an instruction in the cipher and in the hash.
//!
//! A message is laid out as GHASH reads it, in registers of four blocks, with its end at the end
//! of a register:
//!
//! ```text
//! zeros | associated data, zeros | data, zeros | lengths
//! ```
//!
//! So a block's place decides its power of H, and the lane of the lengths, in which nothing is to
//! be encrypted, encrypts the first counter. Sixteen blocks share a reduction, and a message that
//! has no more (a voice packet, its header and its lengths) is done without a loop. The key object
//! holds sixteen powers, as large as the round keys beside them, and is zeroized on drop.

use std::arch::x86_64::*;

use zeroize::Zeroize;

use super::{
    AesKey, Avx512, ctr,
    ghash::{self, POWERS, Products},
    vector::{Part, VECTOR_LEN, broadcast},
};

/// A key with what is computed from it alone.
#[repr(align(64))]
pub(crate) struct GcmKey {
    aes: AesKey,
    /// H^16 down to H^1, each as a little-endian number.
    powers: [[u8; 16]; POWERS],
}

/// The tag was wrong; the data is as it was.
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
        let mut made = Self { aes, powers: [[0; 16]; POWERS] };
        ghash::fill_powers(cpu, &mut made.powers, h);
        h.zeroize();
        Some(made)
    }
}

impl Drop for GcmKey {
    fn drop(&mut self) {
        self.powers.zeroize();
    }
}

/// Encrypts `data`, at most 2^20 bytes, in place and returns the tag that covers it and `aad`.
#[inline]
pub(crate) fn seal(
    _cpu: Avx512,
    key: &GcmKey,
    nonce: [u8; 12],
    aad: &[u8],
    data: &mut [u8],
) -> [u8; 16] {
    // SAFETY: the CPU has AVX-512 F, BW and VL, BMI2, VAES and carry-less multiply of vectors,
    // which `Avx512::detect` asked for.
    unsafe { seal_message(key, nonce, aad, data) }
}

/// Verifies the tag and decrypts `data`, at most 2^20 bytes, in place.
#[inline]
pub(crate) fn open(
    cpu: Avx512,
    key: &GcmKey,
    nonce: [u8; 12],
    aad: &[u8],
    data: &mut [u8],
    tag: [u8; 16],
) -> Result<(), Refused> {
    // SAFETY: the CPU has AVX-512 F, BW and VL, BMI2, VAES and carry-less multiply of vectors,
    // which `Avx512::detect` asked for.
    unsafe { open_message(cpu, key, nonce, aad, data, tag) }
}

/// A message's parts and their places, in bytes, in what GHASH reads.
struct Message<'a> {
    key: &'a GcmKey,
    aad: &'a [u8],
    aad_start: usize,
    data_start: usize,
    data_len: usize,
    /// Behind the lengths: the end of a vector.
    end: usize,
    /// The first counter block, its count not yet big-endian. Those before the data's are of no
    /// use.
    counter: __m128i,
}

impl<'a> Message<'a> {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(key: &'a GcmKey, nonce: [u8; 12], aad: &'a [u8], data_len: usize) -> Self {
        let aad_room = aad.len().next_multiple_of(BLOCK_LEN);
        let data_room = data_len.next_multiple_of(BLOCK_LEN);
        let end = (aad_room + data_room + BLOCK_LEN).next_multiple_of(VECTOR_LEN);
        let data_start = end - BLOCK_LEN - data_room;
        let aad_start = data_start - aad_room;
        let counter = counter_block(nonce, FIRST_COUNT.wrapping_sub(data_start / BLOCK_LEN));
        Self { key, aad, aad_start, data_start, data_len, end, counter }
    }

    /// Associated data and data's length in bits, in the last lane of a vector.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn lengths(&self) -> __m512i {
        let bits = |len: usize| (8 * len as i64).swap_bytes();
        let lengths = _mm_set_epi64x(bits(self.data_len), bits(self.aad.len()));
        _mm512_maskz_broadcast_i32x4(LAST_LANE, lengths)
    }
}

/// Which of a vector before and after the cipher GHASH reads.
trait Direction {
    /// The one done.
    const OPENS: bool;
}

struct Seal;
struct Open;

impl Direction for Seal {
    const OPENS: bool = false;
}

impl Direction for Open {
    const OPENS: bool = true;
}

/// Where in a message some vectors are.
trait Place {
    /// The last vector has the lengths.
    const ENDS: bool;
}

struct Inside;
struct End;

impl Place for Inside {
    const ENDS: bool = false;
}

impl Place for End {
    const ENDS: bool = true;
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2,vaes,pclmulqdq,vpclmulqdq")]
fn seal_message(key: &GcmKey, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
    let message = Message::new(key, nonce, aad, data.len());
    match key.aes.keys_of_128() {
        Some(keys) => seal_with(keys, &message, data),
        None => seal_with(key.aes.keys_of_256(), &message, data),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2,vaes,pclmulqdq,vpclmulqdq")]
fn seal_with<const KEYS: usize>(
    keys: &[[u8; 16]; KEYS],
    message: &Message<'_>,
    data: &mut [u8],
) -> [u8; 16] {
    let mut done = Done::nothing(message);
    if message.end > GROUP_LEN {
        all_but_end::<Seal, KEYS>(keys, message, &mut done, data);
    }
    match (message.end - done.len) / VECTOR_LEN {
        1 => seal_end::<KEYS, 1>(keys, message, &done, data),
        2 => seal_end::<KEYS, 2>(keys, message, &done, data),
        3 => seal_end::<KEYS, 3>(keys, message, &done, data),
        _ => seal_end::<KEYS, 4>(keys, message, &done, data),
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2,vaes,pclmulqdq,vpclmulqdq")]
fn seal_end<const KEYS: usize, const V: usize>(
    keys: &[[u8; 16]; KEYS],
    message: &Message<'_>,
    done: &Done,
    data: &mut [u8],
) -> [u8; 16] {
    let group = group::<Seal, End, KEYS, V>(keys, message, done, data);
    group.store(data);
    let (tag, mut bytes) = (group.tag(), [0; 16]);
    // SAFETY: an unaligned store to the 16 bytes of a `[u8; 16]`, borrowed mutably.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), tag) };
    bytes
}

/// A long message is decrypted in the pass that hashes, and encrypted again if it turns out to be
/// forged: a second pass for each genuine one would cost more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2,vaes,pclmulqdq,vpclmulqdq")]
fn open_message(
    cpu: Avx512,
    key: &GcmKey,
    nonce: [u8; 12],
    aad: &[u8],
    data: &mut [u8],
    tag: [u8; 16],
) -> Result<(), Refused> {
    let message = Message::new(key, nonce, aad, data.len());
    let mut done = Done::nothing(&message);
    let outcome = match key.aes.keys_of_128() {
        Some(keys) => open_with(keys, &message, &mut done, data, tag),
        None => open_with(key.aes.keys_of_256(), &message, &mut done, data, tag),
    };
    if outcome.is_err() && done.len > message.data_start {
        let mut first = [0; 16];
        first[..12].copy_from_slice(&nonce);
        first[15] = FIRST_COUNT as u8;
        let decrypted = data.len().min(done.len - message.data_start);
        ctr::apply_keystream(cpu, &key.aes, first, &mut data[..decrypted]);
    }
    outcome
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2,vaes,pclmulqdq,vpclmulqdq")]
fn open_with<const KEYS: usize>(
    keys: &[[u8; 16]; KEYS],
    message: &Message<'_>,
    done: &mut Done,
    data: &mut [u8],
    tag: [u8; 16],
) -> Result<(), Refused> {
    if message.end > GROUP_LEN {
        all_but_end::<Open, KEYS>(keys, message, done, data);
    }
    match (message.end - done.len) / VECTOR_LEN {
        1 => open_end::<KEYS, 1>(keys, message, done, data, tag),
        2 => open_end::<KEYS, 2>(keys, message, done, data, tag),
        3 => open_end::<KEYS, 3>(keys, message, done, data, tag),
        _ => open_end::<KEYS, 4>(keys, message, done, data, tag),
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2,vaes,pclmulqdq,vpclmulqdq")]
fn open_end<const KEYS: usize, const V: usize>(
    keys: &[[u8; 16]; KEYS],
    message: &Message<'_>,
    done: &Done,
    data: &mut [u8],
    tag: [u8; 16],
) -> Result<(), Refused> {
    let group = group::<Open, End, KEYS, V>(keys, message, done, data);
    // SAFETY: an unaligned load of the 16 bytes of a `[u8; 16]`.
    let tag = unsafe { _mm_loadu_si128(tag.as_ptr().cast()) };
    // One comparison of all bits, whichever differ.
    let differing = _mm_xor_si128(group.tag(), tag);
    if _mm_testz_si128(differing, differing) == 0 {
        return Err(Refused);
    }
    group.store(data);
    Ok(())
}

/// What is done of a message: some whole vectors from its start.
struct Done {
    /// Bytes.
    len: usize,
    /// The next counter block, as in [`Message`].
    counter: __m128i,
    hash: __m128i,
}

impl Done {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn nothing(message: &Message<'_>) -> Self {
        Self { len: 0, counter: message.counter, hash: _mm_setzero_si128() }
    }
}

/// Does all groups of four vectors but the last, and the smaller one before them.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2,vaes,pclmulqdq,vpclmulqdq")]
fn all_but_end<D: Direction, const KEYS: usize>(
    keys: &[[u8; 16]; KEYS],
    message: &Message<'_>,
    done: &mut Done,
    data: &mut [u8],
) {
    match message.end / VECTOR_LEN % 4 {
        1 => next_group::<D, KEYS, 1>(keys, message, done, data),
        2 => next_group::<D, KEYS, 2>(keys, message, done, data),
        3 => next_group::<D, KEYS, 3>(keys, message, done, data),
        _ => {}
    }
    while done.len + GROUP_LEN < message.end {
        next_group::<D, KEYS, 4>(keys, message, done, data);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2,vaes,pclmulqdq,vpclmulqdq")]
fn next_group<D: Direction, const KEYS: usize, const V: usize>(
    keys: &[[u8; 16]; KEYS],
    message: &Message<'_>,
    done: &mut Done,
    data: &mut [u8],
) {
    let group = group::<D, Inside, KEYS, V>(keys, message, done, data);
    group.store(data);
    done.hash = group.products.reduced();
    done.counter = _mm_add_epi32(done.counter, _mm_set_epi32(4 * V as i32, 0, 0, 0));
    done.len += V * VECTOR_LEN;
}

/// Some vectors, encrypted or decrypted but not stored, and absorbed but not reduced.
struct Group<const V: usize> {
    parts: [Part; V],
    results: [__m512i; V],
    products: Products,
    /// The last four blocks of keystream.
    keystream: __m512i,
}

/// The `V` vectors that are next.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2,vaes,pclmulqdq,vpclmulqdq")]
fn group<D: Direction, P: Place, const KEYS: usize, const V: usize>(
    keys: &[[u8; 16]; KEYS],
    message: &Message<'_>,
    done: &Done,
    data: &[u8],
) -> Group<V> {
    let mut parts = [Part::default(); V];
    let mut texts = [_mm512_setzero_si512(); V];
    let mut absorbed = [_mm512_setzero_si512(); V];
    for v in 0..V {
        let at = done.len + v * VECTOR_LEN;
        if at < message.data_start {
            let aad = Part::new(message.aad.len(), message.aad_start, at);
            absorbed[v] = aad.load(message.aad);
        }
        parts[v] = Part::new(data.len(), message.data_start, at);
        texts[v] = parts[v].load(data);
    }
    let mut counters = following::<V>(done.counter);
    if P::ENDS {
        absorbed[V - 1] = _mm512_or_si512(absorbed[V - 1], message.lengths());
        // The tag's count, in the lane of the lengths.
        counters[V - 1] = _mm512_mask_set1_epi32(counters[V - 1], 1 << 15, 1);
    }
    let mut results = encrypted(keys, counters);
    let keystream = results[V - 1];
    let mut products = Products::none();
    for v in 0..V {
        results[v] = _mm512_xor_si512(texts[v], results[v]);
        let blocks = if D::OPENS {
            _mm512_or_si512(absorbed[v], texts[v])
        } else {
            parts[v].select(absorbed[v], results[v])
        };
        let mut blocks = ghash::turned(blocks);
        if v == 0 {
            blocks = _mm512_xor_si512(blocks, _mm512_zextsi128_si512(done.hash));
        }
        products.add(blocks, &message.key.powers, V - v);
    }
    Group { parts, results, products, keystream }
}

impl<const V: usize> Group<V> {
    /// Writes the results over the data.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn store(&self, data: &mut [u8]) {
        for v in 0..V {
            self.parts[v].store(data, self.results[v]);
        }
    }

    /// Of the group with the lengths: the hash, encrypted.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,pclmulqdq,vpclmulqdq")]
    fn tag(&self) -> __m128i {
        let hash = _mm512_zextsi128_si512(self.products.reduced());
        let hash = _mm512_castsi512_si128(ghash::turned(hash));
        _mm_xor_si128(hash, _mm512_extracti32x4_epi32::<3>(self.keystream))
    }
}

/// `nonce` with the lowest 32 bits of `count`, which are not big-endian.
#[inline]
#[target_feature(enable = "avx512f")]
fn counter_block(nonce: [u8; 12], count: usize) -> __m128i {
    let [n0, n1, n2, n3, n4, n5, n6, n7, rest @ ..] = nonce;
    let start = i64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
    let rest = i64::from(u32::from_le_bytes(rest)) | (count as i64) << 32;
    _mm_set_epi64x(rest, start)
}

/// The counter blocks from `first` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn following<const V: usize>(first: __m128i) -> [__m512i; V] {
    let first = _mm512_broadcast_i32x4(first);
    let mut counters = [first; V];
    for (v, counter) in counters.iter_mut().enumerate() {
        let n = 4 * v as i32;
        let steps = _mm512_set_epi32(n + 3, 0, 0, 0, n + 2, 0, 0, 0, n + 1, 0, 0, 0, n, 0, 0, 0);
        *counter = _mm512_add_epi32(first, steps);
    }
    counters
}

/// AES of counter blocks, whose counts are numbers of the CPU.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes")]
fn encrypted<const KEYS: usize, const V: usize>(
    keys: &[[u8; 16]; KEYS],
    mut blocks: [__m512i; V],
) -> [__m512i; V] {
    let big_endian = _mm512_set4_epi32(0x0c0d_0e0f, 0x0b0a_0908, 0x0706_0504, 0x0302_0100);
    let whitening = broadcast(&keys[0]);
    for block in &mut blocks {
        *block = _mm512_xor_si512(_mm512_shuffle_epi8(*block, big_endian), whitening);
    }
    for key in &keys[1..KEYS - 1] {
        let key = broadcast(key);
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, key);
        }
    }
    let last = broadcast(&keys[KEYS - 1]);
    for block in &mut blocks {
        *block = _mm512_aesenclast_epi128(*block, last);
    }
    blocks
}

const BLOCK_LEN: usize = 16;
/// Of the data's first counter block; 1 is the tag's.
const FIRST_COUNT: usize = 2;
/// As many blocks as share a reduction.
const GROUP_LEN: usize = POWERS * BLOCK_LEN;
/// The dwords of a vector's last block.
const LAST_LANE: u16 = 0xf000;

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
        let (mut data, mut other) = (plain.to_vec(), plain.to_vec());
        let mut tag = seal(cpu, &ours, NONCE, aad, &mut data);
        let nonce = Nonce::assume_unique_for_key(NONCE);
        let theirs = ring
            .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut other)
            .expect("a short message");
        assert!(data == other, "{} and {} bytes", aad.len(), plain.len());
        assert_eq!(tag, theirs.as_ref(), "{} and {} bytes", aad.len(), plain.len());

        let bit = (aad.len() + plain.len()) % 128;
        tag[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(cpu, &ours, NONCE, aad, &mut data, tag), Err(Refused));
        assert!(data == other, "a refused message keeps its bytes");
        tag[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(cpu, &ours, NONCE, aad, &mut data, tag), Ok(()));
        assert!(data == plain, "{} and {} bytes", aad.len(), plain.len());
    }

    #[test]
    fn every_length_agrees_with_ring() {
        let Some(cpu) = Avx512::or_skip() else { return };
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

    /// Parts are loaded and stored at offsets that lie outside of them, under masks.
    #[test]
    fn nothing_around_a_message_is_read_or_written() {
        let Some(cpu) = Avx512::or_skip() else { return };
        let key = GcmKey::new(cpu, &[9; 16]).expect("a length");
        for aad_len in [0, 1, 12, 15, 16, 17, 28, 64, 72, 80, 260] {
            // Up to, at and beyond the sixteen blocks that are done without a loop.
            for len in (0..=70).chain(150..=290).chain([511, 512, 513, 1_200]) {
                let (mut quiet, mut loud) = (vec![0; len + 600], vec![0xa5; len + 600]);
                let (quiet_aad, mut loud_aad) = (vec![7; aad_len], vec![0x5a; aad_len + 600]);
                loud_aad[300..][..aad_len].fill(7);
                quiet[300..][..len].fill(3);
                loud[300..][..len].fill(3);
                let aad = &loud_aad[300..][..aad_len];
                let tag = seal(cpu, &key, NONCE, aad, &mut loud[300..][..len]);
                let other = seal(cpu, &key, NONCE, &quiet_aad, &mut quiet[300..][..len]);
                assert_eq!(tag, other, "{aad_len} and {len} bytes");
                assert!(loud[300..][..len] == quiet[300..][..len], "{aad_len} and {len} bytes");
                let opened = open(cpu, &key, NONCE, aad, &mut loud[300..][..len], tag);
                assert_eq!(opened, Ok(()), "{aad_len} and {len} bytes");
                assert!(loud[300..][..len].iter().all(|byte| *byte == 3));
                let around = loud[..300].iter().chain(&loud[300 + len..]);
                assert!(around.into_iter().all(|byte| *byte == 0xa5), "{aad_len} and {len} bytes");
            }
        }
    }

    #[test]
    fn messages_of_fifteen_to_seventeen_blocks_agree_with_ring() {
        let Some(cpu) = Avx512::or_skip() else { return };
        let bytes: Vec<u8> = (0..600_u32).map(|at| (at * 7) as u8).collect();
        for aad_len in [0_usize, 12, 16, 17, 72, 80, 81, 200, 256] {
            for blocks in [15_usize, 16, 17, 18, 32, 33] {
                let data_blocks = (blocks - 1).saturating_sub(aad_len.div_ceil(16));
                for len in (16 * data_blocks).saturating_sub(16)..=16 * data_blocks {
                    check(cpu, &bytes[..16], &bytes[..aad_len], &bytes[..len]);
                }
            }
        }
    }

    #[test]
    fn only_keys_of_gcm_are_taken_and_one_fits_in_512_bytes() {
        let Some(cpu) = Avx512::or_skip() else { return };
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
