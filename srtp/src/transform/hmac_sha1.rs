//! HMAC-SHA1 with the key's two blocks hashed beforehand.
//!
//! The generic way hashes the inner and the outer pad anew for each packet: two of six
//! compressions for a 172-byte packet. Kept here instead are the two SHA-1 states behind the
//! pads, 40 bytes. SHA instructions are used where the CPU has them.

use sha1::block_api::compress;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::session_keys::AUTH_KEY_LEN;

/// An HMAC-SHA1 key (RFC 2104), ready for use.
pub(crate) struct HmacSha1 {
    /// The SHA-1 state behind the inner pad, one block.
    pub(crate) inner: [u32; 5],
    /// The same behind the outer pad.
    pub(crate) outer: [u32; 5],
}

impl HmacSha1 {
    pub(crate) fn new(key: &[u8; AUTH_KEY_LEN]) -> Self {
        Self { inner: pad_state(key, 0x36), outer: pad_state(key, 0x5c) }
    }

    /// The MAC of `message ‖ word`.
    pub(crate) fn mac(&self, message: &[u8], word: [u8; 4]) -> [u8; DIGEST_LEN] {
        let mut state = self.inner;
        let (blocks, rest) = message.as_chunks::<BLOCK_LEN>();
        compress(&mut state, blocks);

        let mut tail = [[0; BLOCK_LEN]; 2];
        let bytes = tail.as_flattened_mut();
        let len = rest.len() + word.len();
        bytes[..rest.len()].copy_from_slice(rest);
        bytes[rest.len()..len].copy_from_slice(&word);
        let blocks = if len < LENGTH_AT { 1 } else { 2 };
        finish(&mut bytes[..blocks * BLOCK_LEN], len, BLOCK_LEN + message.len() + word.len());
        compress(&mut state, &tail[..blocks]);

        let mut last = [[0; BLOCK_LEN]];
        last[0][..DIGEST_LEN].copy_from_slice(&digest(state));
        finish(&mut last[0], DIGEST_LEN, BLOCK_LEN + DIGEST_LEN);
        let mut state = self.outer;
        compress(&mut state, &last);
        digest(state)
    }
}

impl Drop for HmacSha1 {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// Writes the start of `mac` as a tag of 10 or 4 bytes. Each length is a case of its own, so that
/// neither copying nor comparing becomes a call.
pub(crate) fn write_tag(mac: &[u8; DIGEST_LEN], tag: &mut [u8]) {
    if let Ok(tag) = <&mut [u8; 10]>::try_from(&mut *tag) {
        tag.copy_from_slice(&mac[..10]);
    } else if let Ok(tag) = <&mut [u8; 4]>::try_from(&mut *tag) {
        tag.copy_from_slice(&mac[..4]);
    } else {
        tag.copy_from_slice(&mac[..tag.len()]);
    }
}

/// Whether `tag` is the start of `mac`, in a time that does not tell where they differ.
pub(crate) fn tag_matches(mac: &[u8; DIGEST_LEN], tag: &[u8]) -> bool {
    let difference = match *tag {
        [a, b, c, d, e, f, g, h, i, j] => {
            let start = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
            let mac_start = u64::from_ne_bytes([
                mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], mac[6], mac[7],
            ]);
            let end = u16::from_ne_bytes([i, j]) ^ u16::from_ne_bytes([mac[8], mac[9]]);
            start ^ mac_start | u64::from(end)
        }
        [a, b, c, d] => {
            let mac = u32::from_ne_bytes([mac[0], mac[1], mac[2], mac[3]]);
            u64::from(u32::from_ne_bytes([a, b, c, d]) ^ mac)
        }
        _ => return mac[..tag.len()].ct_eq(tag).into(),
    };
    difference.ct_eq(&0).into()
}

/// The SHA-1 state after the key's padded block.
fn pad_state(key: &[u8; AUTH_KEY_LEN], pad: u8) -> [u32; 5] {
    let mut block = [pad; BLOCK_LEN];
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    let mut state = INITIAL_STATE;
    compress(&mut state, &[block]);
    block.zeroize();
    state
}

/// SHA-1's padding: `tail` holds `len` bytes of a message that is `total` bytes long.
fn finish(tail: &mut [u8], len: usize, total: usize) {
    tail[len] = 0x80;
    let length_at = tail.len() - 8;
    tail[length_at..].copy_from_slice(&(8 * total as u64).to_be_bytes());
}

fn digest(state: [u32; 5]) -> [u8; DIGEST_LEN] {
    let mut digest = [0; DIGEST_LEN];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// SHA-1's initial state (FIPS 180-4 section 5.3.1).
const INITIAL_STATE: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
const BLOCK_LEN: usize = 64;
const DIGEST_LEN: usize = 20;
/// The message length fills the last eight bytes of the last block.
const LENGTH_AT: usize = BLOCK_LEN - 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_matches_the_start_of_its_mac_and_nothing_else() {
        let mac: [u8; DIGEST_LEN] = std::array::from_fn(|at| at as u8);
        for len in [4, 7, 10, 20] {
            let mut tag = vec![0xff; len];
            write_tag(&mac, &mut tag);
            assert_eq!(tag, mac[..len]);
            assert!(tag_matches(&mac, &tag));
            for bit in 0..8 * len {
                let mut other = tag.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!tag_matches(&mac, &other), "bit {bit} of {len} bytes");
            }
        }
    }

    #[test]
    fn every_length_around_the_block_edges_agrees_with_an_independent_hmac() {
        let key = [0x0b; 20];
        let ours = HmacSha1::new(&key);
        let theirs = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
        for len in 0..300usize {
            let message: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            let whole = [&message[..], &[1, 2, 3, 4]].concat();
            let expected = ring::hmac::sign(&theirs, &whole);
            assert_eq!(ours.mac(&message, [1, 2, 3, 4]), expected.as_ref(), "length {len}");
        }
    }
}
