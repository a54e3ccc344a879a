//! The keystream of AES in f8 mode (RFC 3711 section 4.1.2).
//!
//! Output feedback with a counter, from a start that depends on the packet's header. Each block
//! needs the one before it, so it is several times slower than counter mode; it is here for peers
//! that offer nothing else.

use aes::{
    Aes128Enc,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use zeroize::Zeroize;

use super::{Keystream, PacketId};
use crate::{PacketKind, SessionKeys, rtcp, rtp};

/// AES-128 in f8 mode.
pub(crate) struct F8 {
    cipher: Aes128Enc,
    /// Under `k_e XOR m`, which turns the IV into IV'.
    masked: Aes128Enc,
}

impl F8 {
    #[expect(clippy::expect_used, reason = "SessionKeys holds a key of its profile's length")]
    pub(crate) fn new(keys: &SessionKeys) -> Self {
        let key = keys.dangerous_cipher_key();
        // `m = k_s || 0x555..5`, as long as the key.
        let mut masked = [0x55; BLOCK_LEN];
        masked[..keys.dangerous_salt().len()].copy_from_slice(keys.dangerous_salt());
        for (byte, key) in masked.iter_mut().zip(key) {
            *byte ^= key;
        }
        let f8 = Self {
            cipher: Aes128Enc::new_from_slice(key).expect("16 bytes"),
            masked: Aes128Enc::new(&masked.into()),
        };
        masked.zeroize();
        f8
    }
}

impl Keystream for F8 {
    /// `S(j) = E(k_e, IV' XOR j XOR S(j - 1))`, with `S(-1) = 0`.
    fn blocks(&self, id: PacketId, header: &[u8]) -> impl FnMut() -> [u8; BLOCK_LEN] {
        let mut start = iv(id, header).into();
        self.masked.encrypt_block(&mut start);
        let start = u128::from_be_bytes(start.into());
        let (mut j, mut keystream) = (0_u128, 0);
        move || {
            let mut block = (start ^ j ^ keystream).to_be_bytes().into();
            self.cipher.encrypt_block(&mut block);
            keystream = u128::from_be_bytes(block.into());
            j += 1;
            block.into()
        }
    }

    fn apply(&self, id: PacketId, header: &[u8], body: &mut [u8]) {
        let mut next_block = self.blocks(id, header);
        for bytes in body.chunks_mut(BLOCK_LEN) {
            for (byte, key) in bytes.iter_mut().zip(next_block()) {
                *byte ^= key;
            }
        }
    }
}

/// ```text
/// SRTP  (4.1.2.2):  0x00 | M | PT | SEQ | TS | SSRC | ROC
/// SRTCP (4.1.2.3):  0..0 | E | SRTCP index | V | P | RC | PT | length | SSRC
/// ```
fn iv(id: PacketId, header: &[u8]) -> [u8; BLOCK_LEN] {
    let mut iv = [0; BLOCK_LEN];
    match id.kind {
        PacketKind::Rtp => {
            iv[1..rtp::FIXED_LEN].copy_from_slice(&header[1..rtp::FIXED_LEN]);
            iv[rtp::FIXED_LEN..].copy_from_slice(&id.word());
        }
        PacketKind::Rtcp => {
            iv[4..8].copy_from_slice(&id.word());
            iv[8..].copy_from_slice(&header[..rtcp::FIXED_LEN]);
        }
    }
    iv
}

const BLOCK_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PacketIndex;

    /// RFC 3711 appendix B.1 for SRTP; for SRTCP there is no vector, only section 4.1.2.3.
    #[test]
    fn ivs_are_laid_out_as_rfc_3711_says() {
        let header = 0x806e_5cba_5068_1de5_5c62_1599_u128 << 32;
        let id = PacketId::rtp(0x5c62_1599, PacketIndex::new(0xd462_564a, 0x5cba));
        let expected = 0x006e_5cba_5068_1de5_5c62_1599_d462_564a_u128;
        assert_eq!(iv(id, &header.to_be_bytes()[..12]), expected.to_be_bytes());

        let header = 0x81c8_000d_4d61_7273_u64.to_be_bytes();
        let id = PacketId::rtcp(0x4d61_7273, 0x8000_05d4);
        let expected = 0x0000_0000_8000_05d4_81c8_000d_4d61_7273_u128;
        assert_eq!(iv(id, &header), expected.to_be_bytes());
    }
}
