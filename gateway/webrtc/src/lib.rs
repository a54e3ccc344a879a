//! DTLS-SRTP and ICE, sans-IO: bytes and the time go in, bytes and what was agreed come out.

pub mod dtls;
pub mod ice;
pub mod identity;

use srtp::Profile;

/// The DTLS-SRTP protection profile of an SRTP profile (RFC 5764 section 4.1.2, RFC 7714
/// section 14.2), or `None` where IANA has none.
pub fn protection_profile(profile: Profile) -> Option<u16> {
    match profile {
        Profile::AesCm128HmacSha1_80 => Some(0x0001),
        Profile::AesCm128HmacSha1_32 => Some(0x0002),
        Profile::AeadAes128Gcm => Some(0x0007),
        Profile::AeadAes256Gcm => Some(0x0008),
        _ => None,
    }
}
