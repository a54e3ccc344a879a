//! The structures that hand keys to the kernel (`tls12_crypto_info_*`, linux/tls.h), made from what
//! rustls extracts.
//!
//! They are kept as bytes, in the kernel's order, and wiped when dropped. Where nonces begin is
//! decided here and nowhere else: TLS 1.3 and ChaCha20-Poly1305 derive them from the record number,
//! AES-GCM under TLS 1.2 counts them by itself, and has to begin where no earlier record has been.

use std::{fmt, io, os::fd::BorrowedFd};

use rustls::{ConnectionTrafficSecrets, ProtocolVersion};
use zeroize::Zeroizing;

use crate::sys::{self, TlsOption};

/// A version of TLS whose records the kernel can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// `None` for the others, which rustls does not speak.
    pub fn of(version: ProtocolVersion) -> Option<Self> {
        match version {
            ProtocolVersion::TLSv1_2 => Some(Self::Tls12),
            ProtocolVersion::TLSv1_3 => Some(Self::Tls13),
            _ => None,
        }
    }

    /// `TLS_1_2_VERSION`, `TLS_1_3_VERSION`: as on the wire.
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Tls12 => 0x0303,
            Self::Tls13 => 0x0304,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

/// An AEAD that both rustls and the kernel know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cipher {
    /// `TLS_CIPHER_AES_GCM_128`.
    Aes128Gcm,
    /// `TLS_CIPHER_AES_GCM_256`.
    Aes256Gcm,
    /// `TLS_CIPHER_CHACHA20_POLY1305`.
    Chacha20Poly1305,
}

impl Cipher {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::Chacha20Poly1305];

    /// `None` for what rustls may learn later.
    pub(crate) fn of(secrets: &ConnectionTrafficSecrets) -> Option<Self> {
        match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { .. } => Some(Self::Aes128Gcm),
            ConnectionTrafficSecrets::Aes256Gcm { .. } => Some(Self::Aes256Gcm),
            ConnectionTrafficSecrets::Chacha20Poly1305 { .. } => Some(Self::Chacha20Poly1305),
            _ => None,
        }
    }

    /// The `TLS_CIPHER_*` of linux/tls.h.
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Aes128Gcm => 51,
            Self::Aes256Gcm => 52,
            Self::Chacha20Poly1305 => 54,
        }
    }

    /// The cipher of that number.
    pub(crate) fn numbered(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.number() == number)
    }

    /// Bytes of the key.
    pub(crate) const fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::Chacha20Poly1305 => 32,
        }
    }

    /// Bytes of the salt, the fixed part of the nonce in front of the kernel's `iv`.
    const fn salt_length(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 4,
            Self::Chacha20Poly1305 => 0,
        }
    }

    /// Bytes of the whole structure.
    const fn info_length(self) -> usize {
        HEADER + NONCE + self.key_length() + RECORD_NUMBER
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::Chacha20Poly1305 => "ChaCha20-Poly1305",
        })
    }
}

/// One of the two ways of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// What we send (`TLS_TX`).
    Sending,
    /// What we receive (`TLS_RX`).
    Receiving,
}

impl Way {
    const fn option(self) -> TlsOption {
        match self {
            Self::Sending => TlsOption::Transmit,
            Self::Receiving => TlsOption::Receive,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sending => "TLS_TX",
            Self::Receiving => "TLS_RX",
        })
    }
}

/// A `tls12_crypto_info_*`: keys, nonces and the number of the next record, for one way.
pub(crate) struct CryptoInfo {
    bytes: Zeroizing<[u8; MAX_INFO]>,
    cipher: Cipher,
}

impl CryptoInfo {
    /// For the record numbered `record` and those that follow it.
    ///
    /// `None` for a cipher that the kernel does not know.
    pub(crate) fn new(
        version: Version,
        record: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> Option<Self> {
        let (key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
            _ => return None,
        };
        let nonce = <[u8; NONCE]>::try_from(iv.as_ref()).ok()?;
        Self::from_parts(version, Cipher::of(secrets)?, record, key.as_ref(), nonce)
    }

    /// The same from bytes: the nonce of record 0, as the handshake gave it.
    ///
    /// `None` when the key has the wrong length.
    pub(crate) fn from_parts(
        version: Version,
        cipher: Cipher,
        record: u64,
        key: &[u8],
        nonce: [u8; NONCE],
    ) -> Option<Self> {
        if key.len() != cipher.key_length() {
            return None;
        }
        let nonce = match (version, cipher) {
            (Version::Tls12, Cipher::Aes128Gcm | Cipher::Aes256Gcm) => unused(nonce, record),
            _ => nonce,
        };
        let (salt, iv) = nonce.split_at(cipher.salt_length());
        let mut bytes = Zeroizing::new([0; MAX_INFO]);
        let fields: [&[u8]; 6] = [
            &version.number().to_ne_bytes(),
            &cipher.number().to_ne_bytes(),
            iv,
            key,
            salt,
            &record.to_be_bytes(),
        ];
        for (slot, byte) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *slot = *byte;
        }
        Some(Self { bytes, cipher })
    }

    /// Gives the keys to the kernel.
    pub(crate) fn install(&self, socket: BorrowedFd<'_>, way: Way) -> io::Result<()> {
        let bytes = self.bytes.get(..self.cipher.info_length()).unwrap_or_default();
        sys::set_keys(socket, way.option(), bytes)
    }

    /// Reads them back as they stand now.
    pub(crate) fn read(socket: BorrowedFd<'_>, way: Way, cipher: Cipher) -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; MAX_INFO]);
        let wanted = bytes.get_mut(..cipher.info_length()).unwrap_or_default();
        sys::keys(socket, way.option(), wanted)?;
        Ok(Self { bytes, cipher })
    }

    /// The number of the next record, which is how many there were under these keys (and, under
    /// TLS 1.2, in the handshake's last message).
    pub(crate) fn record(&self) -> u64 {
        let end = self.cipher.info_length();
        let number = self.bytes.get(end - RECORD_NUMBER..end).unwrap_or_default();
        number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

impl fmt::Debug for CryptoInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CryptoInfo")
            .field("cipher", &self.cipher)
            .field("keys", &"[redacted]")
            .finish_non_exhaustive()
    }
}

/// An explicit nonce from which AES-GCM under TLS 1.2 (RFC 5288) may count upwards.
///
/// rustls used `base XOR n` for the records `n < record`, its Finished among them; the kernel uses
/// what it is given, and adds one for each record. Were it given `base`, its first record would
/// repeat the Finished's nonce, which gives away GCM's authentication key. All that rustls used
/// lies in one aligned block of a power of two: the count begins behind that block, and comes back
/// to it no earlier than after 2^64 records less the block.
fn unused(nonce: [u8; NONCE], record: u64) -> [u8; NONCE] {
    let [s0, s1, s2, s3, explicit @ ..] = nonce;
    let base = u64::from_be_bytes(explicit);
    let block = record.checked_next_power_of_two().unwrap_or(1 << 63);
    let first = (base | (block - 1)).wrapping_add(1);
    let [e0, e1, e2, e3, e4, e5, e6, e7] = first.to_be_bytes();
    [s0, s1, s2, s3, e0, e1, e2, e3, e4, e5, e6, e7]
}

/// Of an AEAD's nonce: the kernel's salt and iv together.
pub(crate) const NONCE: usize = 12;

/// `struct tls_crypto_info`: version and cipher.
const HEADER: usize = 4;

/// `rec_seq`.
const RECORD_NUMBER: usize = 8;

/// Of the longest structure.
const MAX_INFO: usize = Cipher::Chacha20Poly1305.info_length();

const _: () = assert!(
    Cipher::Aes128Gcm.info_length() == 40
        && Cipher::Aes256Gcm.info_length() == 56
        && MAX_INFO == 56,
    "the sizes of linux/tls.h"
);

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE_BYTES: [u8; NONCE] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    fn info(version: Version, cipher: Cipher, record: u64) -> CryptoInfo {
        CryptoInfo::from_parts(
            version,
            cipher,
            record,
            &vec![0x55; cipher.key_length()],
            NONCE_BYTES,
        )
        .unwrap()
    }

    #[test]
    fn fields_stand_in_the_kernels_order() {
        let info = info(Version::Tls13, Cipher::Aes128Gcm, 0x0102);
        let mut expected = vec![];
        expected.extend(0x0304_u16.to_ne_bytes());
        expected.extend(51_u16.to_ne_bytes());
        expected.extend([5, 6, 7, 8, 9, 10, 11, 12]);
        expected.extend([0x55; 16]);
        expected.extend([1, 2, 3, 4]);
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(info.bytes[..40], expected);
        assert_eq!(info.record(), 0x0102);
    }

    #[test]
    fn chacha_has_its_whole_nonce_in_the_iv_and_no_salt() {
        let info = info(Version::Tls12, Cipher::Chacha20Poly1305, 1);
        assert_eq!(info.bytes[4..16], NONCE_BYTES);
        assert_eq!(info.bytes[16..48], [0x55; 32]);
        assert_eq!(info.record(), 1);
    }

    #[test]
    fn tls12_gcm_never_repeats_a_nonce_of_the_handshake() {
        for low in 0..=255_u8 {
            let base = [0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, low];
            for record in 0..70_u64 {
                let explicit =
                    |nonce: [u8; NONCE]| u64::from_be_bytes(nonce[4..].try_into().unwrap());
                let used: Vec<_> = (0..record).map(|n| explicit(base) ^ n).collect();
                let first = explicit(unused(base, record));
                // Counting upwards meets an earlier nonce only if one lies ahead within reach.
                assert!(
                    used.iter().all(|nonce| nonce.wrapping_sub(first) > 1 << 40),
                    "base {low}, record {record}"
                );
            }
        }
        assert_eq!(unused([0xff; NONCE], 1)[4..], [0; 8], "it wraps");
    }

    #[test]
    fn tls13_keeps_the_nonce_that_the_handshake_gave() {
        let info = info(Version::Tls13, Cipher::Aes256Gcm, 3);
        assert_eq!(info.bytes[4..12], NONCE_BYTES[4..]);
        assert_eq!(info.bytes[44..48], NONCE_BYTES[..4]);
    }

    #[test]
    fn a_key_of_the_wrong_length_makes_no_structure() {
        let wrong =
            CryptoInfo::from_parts(Version::Tls13, Cipher::Aes256Gcm, 0, &[0; 16], NONCE_BYTES);
        assert!(wrong.is_none());
    }

    #[test]
    fn keys_are_never_printed() {
        let info = info(Version::Tls13, Cipher::Aes128Gcm, 0);
        assert!(format!("{info:?}").contains("[redacted]") && !format!("{info:?}").contains("85"));
    }
}
