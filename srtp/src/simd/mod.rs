//! The primitives in x86 intrinsics: AES and GHASH four blocks an instruction, SHA-1 of sixteen
//! messages side by side.
//!
//! The only `unsafe` of this crate. A function here that uses AVX-512 takes an [`Avx512`], which
//! exists only where the CPU has it, so the functions are safe to call; slices come in, and
//! lengths are checked before a pointer is made. Nothing here knows packets: what is hashed and
//! encrypted is decided above. The portable implementations give the same bytes, which unit tests
//! and fuzz targets compare.
#![allow(unsafe_code)]

mod aes_key;
pub(crate) mod ctr;
pub(crate) mod gcm;
mod ghash;
pub(crate) mod sha1;
mod vector;

pub(crate) use aes_key::AesKey;

/// Proof that this CPU has what every function of this module needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, if it is true. The answer is cached by the standard library.
    pub(crate) fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("vpclmulqdq");
        all.then_some(Self(()))
    }

    /// The proof, or the line that says why a test was skipped.
    #[cfg(test)]
    pub(crate) fn or_skip() -> Option<Self> {
        let cpu = Self::detect();
        if cpu.is_none() {
            println!("SKIPPED srtp_avx512: this CPU has no AVX-512 with VAES and VPCLMULQDQ");
        }
        cpu
    }
}
