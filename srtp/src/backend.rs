//! Which implementation of AES, SHA-1 and GCM a session uses.
//!
//! Chosen once, by asking the CPU, when a session is built; never per packet. Every backend gives
//! the same bytes: the vectors and the fuzz targets run on all that the machine has.

use std::fmt;

/// An implementation of the primitives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// `aes`, `sha1` and `ring`, which use AES, SHA and carry-less multiply instructions where
    /// the CPU has them, one packet at a time. Runs everywhere.
    Portable,
    /// AVX-512 with VAES and VPCLMULQDQ: four AES blocks an instruction, SHA-1 of sixteen packets
    /// side by side.
    Avx512,
}

impl Backend {
    /// The fastest that this CPU has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if crate::simd::Avx512::detect().is_some() {
            return Self::Avx512;
        }
        Self::Portable
    }

    /// All that this CPU has, the fastest last.
    pub fn available() -> &'static [Self] {
        match Self::detect() {
            Self::Portable => &[Self::Portable],
            Self::Avx512 => &[Self::Portable, Self::Avx512],
        }
    }

    /// Its name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx512 => "AVX-512, VAES, VPCLMULQDQ",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
