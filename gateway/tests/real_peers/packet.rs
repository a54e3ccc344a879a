//! The packets that media agents exchange. Each carries the call, the direction and a count that
//! never restarts, so that whatever arrives can be traced to what was sent.

/// What a packet was meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The call's number.
    pub(crate) call: u16,
    /// Who sent it.
    pub(crate) sender: Sender,
}

/// The two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Caller,
    Callee,
}

/// What is read from an RTP header (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RtpHeader {
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
}

/// 20 ms of G.711.
const PAYLOAD: usize = 160;
/// A fixed header and its payload.
const RTP_PACKET: usize = 12 + PAYLOAD;
/// A sender report without report blocks and a source description with a CNAME of 4.
const RTCP_PACKET: usize = 28 + 16;

impl Origin {
    /// The payload of packet `count`.
    pub(crate) fn payload(self, count: u32) -> [u8; PAYLOAD] {
        let mut payload = [0; PAYLOAD];
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte = (at as u8).wrapping_mul(13) ^ (count as u8);
        }
        payload[..2].copy_from_slice(&self.call.to_be_bytes());
        payload[2] = self.sender as u8;
        payload[3..7].copy_from_slice(&count.to_be_bytes());
        payload
    }

    /// The count in a payload, if the whole of it is as this origin sends it.
    pub(crate) fn count_of(self, payload: &[u8]) -> Option<u32> {
        let count = u32::from_be_bytes(*payload.get(3..)?.first_chunk()?);
        (payload == self.payload(count)).then_some(count)
    }

    /// One SSRC for each origin.
    pub(crate) fn ssrc(self) -> u32 {
        0x5050_0000 | u32::from(self.call) << 1 | self.sender as u32
    }

    /// Packet `count` with the given sequence number; its timestamp counts on from zero.
    pub(crate) fn rtp(self, count: u32, sequence: u16) -> [u8; RTP_PACKET] {
        let mut packet = [0; RTP_PACKET];
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp(count).to_be_bytes());
        packet[8..12].copy_from_slice(&self.ssrc().to_be_bytes());
        packet[12..].copy_from_slice(&self.payload(count));
        packet
    }

    /// Report `count`: the count is where the NTP time would be (RFC 3550 section 6.4.1).
    pub(crate) fn rtcp(self, count: u32) -> [u8; RTCP_PACKET] {
        let mut packet = [0; RTCP_PACKET];
        packet[..4].copy_from_slice(&[0x80, 200, 0, 6]);
        packet[4..8].copy_from_slice(&self.ssrc().to_be_bytes());
        packet[8..12].copy_from_slice(&u32::from(self.call).to_be_bytes());
        packet[12..16].copy_from_slice(&count.to_be_bytes());
        packet[28..32].copy_from_slice(&[0x81, 202, 0, 3]);
        packet[32..36].copy_from_slice(&self.ssrc().to_be_bytes());
        packet[36..42].copy_from_slice(&[1, 4, b'p', b'e', b'e', b'r']);
        packet
    }

    /// The count in a report, if the whole of it is as this origin sends it.
    pub(crate) fn count_of_rtcp(self, packet: &[u8]) -> Option<u32> {
        let count = u32::from_be_bytes(*packet.get(12..)?.first_chunk()?);
        (packet == self.rtcp(count)).then_some(count)
    }
}

impl RtpHeader {
    /// Splits a packet without CSRCs, extension or padding: agents send nothing else.
    pub(crate) fn split(packet: &[u8]) -> Option<(Self, &[u8])> {
        let (header, payload) = packet.split_first_chunk::<12>()?;
        let [0x80, 0, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *header else { return None };
        let header = Self {
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
        };
        Some((header, payload))
    }
}

/// The RTP timestamp of packet `count`.
pub(crate) fn timestamp(count: u32) -> u32 {
    count.wrapping_mul(PAYLOAD as u32)
}

#[test]
fn a_payload_is_recognised_only_by_its_origin_and_only_whole() {
    let origin = Origin { call: 3, sender: Sender::Callee };
    let packet = origin.rtp(70_000, 9);
    let (header, payload) = RtpHeader::split(&packet).expect("a header");
    assert_eq!((header.sequence, header.ssrc), (9, origin.ssrc()));
    assert_eq!(origin.count_of(payload), Some(70_000));
    assert_eq!(Origin { call: 4, ..origin }.count_of(payload), None);
    let mut bent = packet;
    bent[RTP_PACKET - 1] ^= 1;
    assert_eq!(origin.count_of(&bent[12..]), None);
    assert_eq!(origin.count_of_rtcp(&origin.rtcp(8)), Some(8));
}
