//! What we send ffmpeg: PCMU packets that have every value of a byte, and the samples they mean.

/// RTP packets of 20 ms.
pub(crate) fn packets(first_sequence: u16, ssrc: u32) -> Vec<Vec<u8>> {
    let packet = |number: u16| {
        let mut packet = vec![0x80, 0];
        packet.extend(first_sequence.wrapping_add(number).to_be_bytes());
        packet.extend((u32::from(number) * SAMPLES_PER_PACKET as u32).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend(payload(number));
        packet
    };
    (0..PACKETS).map(packet).collect()
}

/// The samples of all packets, in 16 bits, little-endian.
pub(crate) fn decoded() -> Vec<u8> {
    (0..PACKETS).flat_map(payload).flat_map(|code| linear(code).to_le_bytes()).collect()
}

/// A sender report for the beginning: NTP time and counts are of no account.
pub(crate) fn sender_report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, SENDER_REPORT, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xe8, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend([0; 12]);
    packet
}

/// A sender report and the end.
pub(crate) fn bye(ssrc: u32) -> Vec<u8> {
    let mut packet = sender_report(ssrc);
    packet.extend([0x81, BYE, 0, 1]);
    packet.extend(ssrc.to_be_bytes());
    packet
}

fn payload(number: u16) -> impl Iterator<Item = u8> {
    (0..SAMPLES_PER_PACKET).map(move |at| (at * 7) as u8 ^ number as u8)
}

/// G.711's µ-law: sign, three bits of segment, four of step, all inverted.
fn linear(code: u8) -> i16 {
    let code = !code;
    let (segment, step) = (code >> 4 & 7, i16::from(code & 0x0f));
    let magnitude = (((step << 3) + BIAS) << segment) - BIAS;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The packet type of a sender report (RFC 3550 section 12.1).
pub(crate) const SENDER_REPORT: u8 = 200;
const BYE: u8 = 203;
const BIAS: i16 = 0x84;
const PACKETS: u16 = 100;
const SAMPLES_PER_PACKET: u16 = 160;
