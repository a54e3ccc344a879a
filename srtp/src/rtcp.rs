//! A checked view of the first header of an RTCP compound packet (RFC 3550 section 6.1).
//!
//! These eight bytes are all that SRTCP leaves in the clear; the rest of the compound packet is
//! the business of whoever reads reports.

use crate::Malformed;

/// The first RTCP header and the SSRC behind it.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    fixed: &'a [u8; FIXED_LEN],
}

impl<'a> Header<'a> {
    /// Checks version 2 and that the header and SSRC are there.
    pub fn new_checked(packet: &'a [u8]) -> Result<Self, Malformed> {
        let fixed = packet.first_chunk::<FIXED_LEN>().ok_or(Malformed::TooShort)?;
        if fixed[0] >> 6 != 2 {
            return Err(Malformed::WrongVersion);
        }
        Ok(Self { fixed })
    }

    /// Report count or feedback format, 0 to 31.
    pub fn count(&self) -> u8 {
        self.fixed[0] & 0x1f
    }

    /// Packet type: 200 SR, 201 RR, 205 RTPFB, 206 PSFB and so on.
    pub fn packet_type(&self) -> u8 {
        self.fixed[1]
    }

    /// Bytes of this first packet, its header included, as its length field says.
    pub fn packet_len(&self) -> usize {
        4 * (usize::from(u16::from_be_bytes([self.fixed[2], self.fixed[3]])) + 1)
    }

    /// The sender of this packet.
    pub fn ssrc(&self) -> u32 {
        u32::from_be_bytes([self.fixed[4], self.fixed[5], self.fixed[6], self.fixed[7]])
    }
}

/// The clear bytes of an SRTCP packet: one header word and the SSRC.
pub const FIXED_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_header() {
        let packet = [0x81, 201, 0, 7, 1, 2, 3, 4];
        let header = Header::new_checked(&packet).expect("well formed");
        assert_eq!((header.count(), header.packet_type()), (1, 201));
        assert_eq!((header.packet_len(), header.ssrc()), (32, 0x0102_0304));
        assert_eq!(Header::new_checked(&packet[..7]).map(|_| ()), Err(Malformed::TooShort));
        let version_1 = Header::new_checked(&[0x41, 201, 0, 7, 1, 2, 3, 4]).map(|_| ());
        assert_eq!(version_1, Err(Malformed::WrongVersion));
    }
}
