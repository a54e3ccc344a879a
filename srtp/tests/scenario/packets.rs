//! Packets of every shape that RFC 3550 allows, and the seed's numbers.

/// An RTP packet: up to 15 CSRCs, with or without a header extension and padding, its payload
/// empty, tiny, usual or close to an Ethernet frame.
pub(crate) fn rtp_packet(sequence: u16, ssrc: u32, random: &mut Random) -> Vec<u8> {
    let csrcs = if random.one_in(3) { random.below(16) as u8 } else { 0 };
    let extension = extension(random);
    let mut payload = payload(random);
    let padding = random.one_in(4);
    if padding {
        let len = 1 + random.below(20) as u8;
        payload.extend((1..len).map(|_| 0));
        payload.push(len);
    }
    let flags = u8::from(padding) << 5 | u8::from(extension.is_some()) << 4;
    let mut packet = vec![0x80 | flags | csrcs, random.below(256) as u8];
    packet.extend(sequence.to_be_bytes());
    packet.extend(u32::from(sequence).wrapping_mul(160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..4 * csrcs).map(|byte| byte ^ 0x55));
    packet.extend(extension.unwrap_or_default());
    packet.extend(payload);
    packet
}

/// None, an empty one, one-byte and two-byte elements (RFC 8285), or something of a profile's own.
fn extension(random: &mut Random) -> Option<Vec<u8>> {
    match random.below(8) {
        0 => Some(vec![0xbe, 0xde, 0, 0]),
        1 => Some(vec![0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]),
        2 => Some(vec![0xbe, 0xde, 0, 2, 0x32, 1, 2, 3, 0, 0x50, 9, 0]),
        3 => Some(vec![0x10, 0x00, 0, 2, 1, 0, 7, 3, 1, 2, 3, 0]),
        4 => Some(vec![0xab, 0xcd, 0, 1, 1, 2, 3, 4]),
        _ => None,
    }
}

fn payload(random: &mut Random) -> Vec<u8> {
    let len = match random.below(4) {
        0 => random.below(5),
        1 => 1_200 + random.below(100),
        _ => 5 + random.below(300),
    };
    (0..len).map(|_| random.below(256) as u8).collect()
}

/// A compound RTCP packet: a sender report with 0 to 3 report blocks, then a source description.
pub(crate) fn compound_report(ssrc: u32, random: &mut Random) -> Vec<u8> {
    let blocks = random.below(4) as u8;
    let mut packet = vec![0x80 | blocks, 200, 0, 6 + 6 * blocks];
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..20 + 24 * blocks).map(|_| random.below(256) as u8));
    packet.extend([0x81, 202, 0, 3]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([1, 4, b'n', b'a', b'm', b'e', 0, 0]);
    packet
}

pub(crate) fn shuffle<T>(packets: &mut [T], random: &mut Random) {
    for at in (1..packets.len()).rev() {
        packets.swap(at, random.below(at as u64 + 1) as usize);
    }
}

/// SplitMix64: enough to deal out events, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
