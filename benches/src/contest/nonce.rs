//! SRTP's nonces, for contestants that are only primitives.

/// RFC 3711 section 4.1.1.
pub(super) fn counter(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    let id = u128::from(ssrc) << 64 | u128::from(index) << 16;
    (u128::from_be_bytes(iv) ^ id).to_be_bytes()
}

/// RFC 7714 section 8.1; of the salt its first 12 bytes.
pub(super) fn gcm(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 12] {
    let id = (u128::from(ssrc) << 48 | u128::from(index)).to_be_bytes();
    std::array::from_fn(|at| salt[at] ^ id[4 + at])
}
