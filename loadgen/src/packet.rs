//! The media we send: 20 ms of G.711 whose payload says which packet it is.
//!
//! ```text
//!  0      4        12        20                          160
//!  +------+--------+---------+---------------------------+
//!  | flow | number | due, ns | pattern of flow and number |
//!  +------+--------+---------+---------------------------+
//! ```
//! The pattern depends on flow and number, so a payload that was cut, mixed up or decrypted
//! wrongly does not check, wherever the damage is.

/// Bytes of RTP header without CSRCs or extension (RFC 3550 section 5.1).
pub const HEADER: usize = 12;
/// 20 ms of 8 kHz G.711.
pub const PAYLOAD: usize = 160;
/// A whole plain packet.
pub const PACKET: usize = HEADER + PAYLOAD;
/// RTP timestamp units of one packet.
const SAMPLES: u32 = 160;
const PATTERN: usize = 20;

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which flow (call and direction).
    pub flow: u32,
    /// Which packet of the flow's schedule.
    pub number: u32,
    /// When it was due, nanoseconds of CLOCK_REALTIME.
    pub due_ns: u64,
}

impl Stamp {
    /// Writes a whole packet into the front of `buffer` and returns its length.
    pub fn write(self, buffer: &mut [u8], ssrc: u32, first_sequence: u16) -> usize {
        let sequence = first_sequence.wrapping_add(self.number as u16);
        buffer[0] = 0x80;
        buffer[1] = 0; // PCMU; the marker bit of the first packet is of no use to a relay.
        buffer[2..4].copy_from_slice(&sequence.to_be_bytes());
        buffer[4..8].copy_from_slice(&self.number.wrapping_mul(SAMPLES).to_be_bytes());
        buffer[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let payload = &mut buffer[HEADER..PACKET];
        payload[..4].copy_from_slice(&self.flow.to_be_bytes());
        payload[4..12].copy_from_slice(&u64::from(self.number).to_be_bytes());
        payload[12..20].copy_from_slice(&self.due_ns.to_be_bytes());
        for (index, byte) in payload[PATTERN..].iter_mut().enumerate() {
            *byte = self.pattern(index);
        }
        PACKET
    }

    /// Reads a plain packet back; `None` unless every byte of its payload is as we wrote it.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let payload: &[u8; PAYLOAD] = packet.get(HEADER..)?.try_into().ok()?;
        let word =
            |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().unwrap_or_default());
        let flow = u32::from_be_bytes(payload[..4].try_into().ok()?);
        let stamp = Self { flow, number: u32::try_from(word(4)).ok()?, due_ns: word(12) };
        let intact = |(index, byte): (usize, &u8)| *byte == stamp.pattern(index);
        payload[PATTERN..].iter().enumerate().all(intact).then_some(stamp)
    }

    fn pattern(self, index: usize) -> u8 {
        (self.flow.wrapping_mul(31).wrapping_add(self.number).wrapping_add(index as u32) & 0xff)
            as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { flow: 7, number: 70_000, due_ns: 1_234_567_890_123 };

    #[test]
    fn a_packet_reads_back_as_written() {
        let mut buffer = [0; PACKET];
        assert_eq!(STAMP.write(&mut buffer, 9, 65_000), PACKET);
        assert_eq!(Stamp::read(&buffer), Some(STAMP));
    }

    #[test]
    fn any_damaged_payload_byte_shows() {
        let mut buffer = [0; PACKET];
        STAMP.write(&mut buffer, 9, 0);
        for at in HEADER..PACKET {
            let mut damaged = buffer;
            damaged[at] ^= 0x10;
            assert_ne!(Stamp::read(&damaged), Some(STAMP), "byte {at}");
        }
        assert_eq!(Stamp::read(&buffer[..PACKET - 1]), None);
    }

    #[test]
    fn the_sequence_wraps_with_the_schedule() {
        let mut buffer = [0; PACKET];
        Stamp { number: 600, ..STAMP }.write(&mut buffer, 9, 65_000);
        assert_eq!(u16::from_be_bytes([buffer[2], buffer[3]]), 65_000_u16.wrapping_add(600));
    }
}
