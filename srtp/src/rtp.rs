//! A checked view of an RTP header (RFC 3550 section 5.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! |                           timestamp                           |
//! |           synchronization source (SSRC) identifier            |
//! |            contributing sources (CSRC), CC words              |
//! |      defined by profile       |           length              |  if X
//! |                       header extension                        |
//! ```
//!
//! The view never copies and, once checked, never panics. It does not judge padding: in SRTP the
//! padding count is encrypted.

use crate::Malformed;

/// An RTP header that lies whole within its packet.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    packet: &'a [u8],
    fixed: &'a [u8; FIXED_LEN],
    payload_offset: usize,
}

impl<'a> Header<'a> {
    /// Checks version 2, and that CSRCs and extension lie within `packet`.
    pub fn new_checked(packet: &'a [u8]) -> Result<Self, Malformed> {
        let fixed = packet.first_chunk::<FIXED_LEN>().ok_or(Malformed::TooShort)?;
        if fixed[0] >> 6 != 2 {
            return Err(Malformed::WrongVersion);
        }
        let mut header = Self { packet, fixed, payload_offset: FIXED_LEN };
        header.payload_offset += 4 * header.csrc_count();
        let rest = packet.get(header.payload_offset..).ok_or(Malformed::CsrcsPastEnd)?;
        if header.has_extension() {
            let word = rest.first_chunk::<4>().ok_or(Malformed::ExtensionPastEnd)?;
            let words = usize::from(u16::from_be_bytes([word[2], word[3]]));
            header.payload_offset += 4 + 4 * words;
            if header.payload_offset > packet.len() {
                return Err(Malformed::ExtensionPastEnd);
            }
        }
        Ok(header)
    }

    /// The padding bit.
    pub fn has_padding(&self) -> bool {
        self.fixed[0] & 0x20 != 0
    }

    /// The extension bit.
    pub fn has_extension(&self) -> bool {
        self.fixed[0] & EXTENSION_BIT != 0
    }

    /// Number of contributing sources, 0 to 15.
    pub fn csrc_count(&self) -> usize {
        usize::from(self.fixed[0] & 0x0f)
    }

    /// The marker bit.
    pub fn marker(&self) -> bool {
        self.fixed[1] & 0x80 != 0
    }

    /// Payload type, 0 to 127.
    pub fn payload_type(&self) -> u8 {
        self.fixed[1] & 0x7f
    }

    /// Sequence number.
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.fixed[2], self.fixed[3]])
    }

    /// Timestamp, in units of the payload type's clock.
    pub fn timestamp(&self) -> u32 {
        word(&self.fixed[4..8])
    }

    /// Synchronization source.
    pub fn ssrc(&self) -> u32 {
        word(&self.fixed[8..12])
    }

    /// The contributing sources.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + 'a {
        let end = FIXED_LEN + 4 * self.csrc_count();
        self.packet[FIXED_LEN..end].chunks_exact(4).map(word)
    }

    /// The header extension's profile word and its data, if there is one.
    pub fn extension(&self) -> Option<(u16, &'a [u8])> {
        let start = FIXED_LEN + 4 * self.csrc_count();
        let (word, data) = self.packet[start..self.payload_offset].split_first_chunk::<4>()?;
        Some((u16::from_be_bytes([word[0], word[1]]), data))
    }

    /// Bytes of header, CSRCs and extension: where the payload begins.
    pub fn payload_offset(&self) -> usize {
        self.payload_offset
    }

    /// The payload, padding included.
    pub fn payload(&self) -> &'a [u8] {
        &self.packet[self.payload_offset..]
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

/// The header up to and including the SSRC.
pub const FIXED_LEN: usize = 12;
/// The extension bit, in the first byte.
pub(crate) const EXTENSION_BIT: u8 = 0x10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_csrcs_and_extension() {
        let mut packet = vec![0x92, 0x80 | 96, 0x12, 0x34, 0, 0, 0, 9, 0xaa, 0xbb, 0xcc, 0xdd];
        packet.extend([0, 0, 0, 1, 0, 0, 0, 2]);
        packet.extend([0xbe, 0xde, 0, 1, 5, 6, 7, 8]);
        packet.extend(b"payload");
        let header = Header::new_checked(&packet).expect("well formed");
        assert!(header.marker());
        assert_eq!(header.payload_type(), 96);
        assert_eq!(header.sequence(), 0x1234);
        assert_eq!(header.timestamp(), 9);
        assert_eq!(header.ssrc(), 0xaabb_ccdd);
        assert_eq!(header.csrcs().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(header.extension(), Some((0xbede, &[5, 6, 7, 8][..])));
        assert_eq!(header.payload(), b"payload");
    }

    #[test]
    fn refuses_other_versions_and_headers_that_reach_past_the_packet() {
        let refused = |packet: &[u8]| Header::new_checked(packet).map(|_| ()).unwrap_err();
        let plain = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(Header::new_checked(&plain).is_ok());
        assert_eq!(refused(&plain[..11]), Malformed::TooShort);
        for (first, expected) in [
            (0x00, Malformed::WrongVersion),
            (0x40, Malformed::WrongVersion),
            (0xc0, Malformed::WrongVersion),
            (0x81, Malformed::CsrcsPastEnd),
            (0x90, Malformed::ExtensionPastEnd),
        ] {
            let mut packet = plain;
            packet[0] = first;
            assert_eq!(refused(&packet), expected, "first byte {first:#x}");
        }
        let long_extension = [0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(refused(&long_extension), Malformed::ExtensionPastEnd);
    }

    proptest! {
        #[test]
        fn accessors_hold_for_whatever_is_accepted(mut bytes: Vec<u8>) {
            if let Some(first) = bytes.first_mut() {
                *first = *first & 0x3f | 0x80;
            }
            if let Ok(header) = Header::new_checked(&bytes) {
                prop_assert_eq!(header.csrcs().count(), header.csrc_count());
                prop_assert_eq!(header.extension().is_some(), header.has_extension());
                prop_assert_eq!(header.payload().len() + header.payload_offset(), bytes.len());
            }
        }
    }
}
