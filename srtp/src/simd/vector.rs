//! Bytes to registers of 64 bytes and back, safe for any slice.
//!
//! A slice that does not fill its vectors is loaded and stored under masks, which name no byte
//! outside of it. What the bytes mean, and where in a vector they belong, is decided above.

use std::arch::x86_64::*;

/// Bytes of a register.
pub(super) const VECTOR_LEN: usize = 64;

/// A block in each of the four lanes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn broadcast(block: &[u8; 16]) -> __m512i {
    // SAFETY: an unaligned load of the 16 bytes of a `[u8; 16]`, which are initialised.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_vector(bytes: &[u8; VECTOR_LEN]) -> __m512i {
    // SAFETY: an unaligned load of the 64 bytes of a `[u8; 64]`, which are initialised.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// What a vector has of a slice that stands somewhere in a stream of zeros.
#[derive(Clone, Copy, Default)]
pub(super) struct Part {
    /// The bytes of the vector that are of the slice.
    mask: u64,
    /// Of the vector's first byte, counted from the slice's; negative ones wrap.
    offset: usize,
    /// Of the slice.
    len: usize,
}

impl Part {
    /// For a slice of `len` bytes at `start` and the vector at `at`.
    #[inline]
    #[target_feature(enable = "bmi2")]
    pub(super) fn new(len: usize, start: usize, at: usize) -> Self {
        let end = lowest((start + len).saturating_sub(at));
        let mask = if at < start { end & !lowest(start - at) } else { end };
        Self { mask, offset: at.wrapping_sub(start), len }
    }

    /// The vector.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn load(self, bytes: &[u8]) -> __m512i {
        let (mask, address) = (self.mask_for(bytes), bytes.as_ptr().wrapping_add(self.offset));
        // SAFETY: byte n of the vector is byte `offset + n` of the slice, and the mask has only
        // those n of which there is one; a masked load does not fault on others.
        unsafe { _mm512_maskz_loadu_epi8(mask, address.cast()) }
    }

    /// Stores what the vector has of `bytes`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn store(self, bytes: &mut [u8], vector: __m512i) {
        let mask = self.mask_for(bytes);
        let address = bytes.as_mut_ptr().wrapping_add(self.offset);
        // SAFETY: as for the load, only bytes of the slice are written, which is borrowed mutably.
        unsafe { _mm512_mask_storeu_epi8(address.cast(), mask, vector) };
    }

    /// `inside` where the vector has bytes of the slice, `outside` elsewhere.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    pub(super) fn select(self, outside: __m512i, inside: __m512i) -> __m512i {
        _mm512_mask_mov_epi8(outside, self.mask, inside)
    }

    /// None for a slice of another length than this was made for.
    #[inline]
    fn mask_for(self, bytes: &[u8]) -> u64 {
        if bytes.len() == self.len { self.mask } else { 0 }
    }
}

/// The `n` lowest bits, or all.
#[inline]
#[target_feature(enable = "bmi2")]
fn lowest(n: usize) -> u64 {
    _bzhi_u64(u64::MAX, n.min(64) as u32)
}
