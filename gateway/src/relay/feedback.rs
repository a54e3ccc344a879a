//! Maps a receiver's RTCP feedback back into the numbers of a source whose sequence we moved
//! on ([`super::sequence::Offset`]): report blocks and generic NACKs. All else passes as it is:
//! it carries no RTP sequence numbers, or (transport-wide feedback) numbers of its own. The
//! run-length blocks of extended reports (RFC 3611 section 4.1) do, and stay unmapped: nobody
//! resends by them.

use super::sequence::Offset;

/// Sender report (RFC 3550 section 6.4.1).
const SENDER_REPORT: u8 = 200;
/// Receiver report (RFC 3550 section 6.4.2).
const RECEIVER_REPORT: u8 = 201;
/// Transport-layer feedback (RFC 4585 section 6.2).
const TRANSPORT_FEEDBACK: u8 = 205;
/// Its format for generic NACKs.
const GENERIC_NACK: u8 = 1;

/// Rewrites the compound packet in place; `offset_of` finds a source's offset by SSRC. A packet
/// whose lengths do not add up is left alone from there on.
pub(super) fn map_back<'a>(compound: &mut [u8], offset_of: impl Fn(u32) -> Option<&'a Offset>) {
    let mut rest = compound;
    while let &mut [first, kind, high, low, ..] = rest {
        let size = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let Some((packet, after)) = rest.split_at_mut_checked(size) else { return };
        let count = first & 0x1f;
        match kind {
            SENDER_REPORT => map_report_blocks(packet, 28, count, &offset_of),
            RECEIVER_REPORT => map_report_blocks(packet, 8, count, &offset_of),
            TRANSPORT_FEEDBACK if count == GENERIC_NACK => map_nack(packet, &offset_of),
            _ => {}
        }
        rest = after;
    }
}

fn map_report_blocks<'a>(
    packet: &mut [u8],
    first: usize,
    count: u8,
    offset_of: &impl Fn(u32) -> Option<&'a Offset>,
) {
    let Some(blocks) = packet.get_mut(first..) else { return };
    for block in blocks.chunks_exact_mut(24).take(usize::from(count)) {
        let Some(offset) = word(block, 0).and_then(offset_of) else { continue };
        let Some(highest) = word(block, 8) else { continue };
        block[8..12].copy_from_slice(&offset.source_extended(highest).to_be_bytes());
    }
}

fn map_nack<'a>(packet: &mut [u8], offset_of: &impl Fn(u32) -> Option<&'a Offset>) {
    let Some(offset) = word(packet, 8).and_then(offset_of) else { return };
    for item in packet[12..].chunks_exact_mut(4) {
        let packet_id = u16::from_be_bytes([item[0], item[1]]);
        item[..2].copy_from_slice(&offset.source_sequence(packet_id).to_be_bytes());
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSRC: u32 = 0xdead_beef;

    /// A source that restarted at 500 when our next number was 1000.
    fn moved() -> Offset {
        let mut offset = Offset::default();
        for number in (900..1000).chain(20_500..20_600) {
            offset.next(number);
        }
        offset
    }

    fn report_block(ssrc: u32, highest: u32) -> Vec<u8> {
        let words = [ssrc, 0x0100_0003, highest, 7, 8, 9];
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn mapped(mut compound: Vec<u8>) -> Vec<u8> {
        let offset = moved();
        map_back(&mut compound, |ssrc| (ssrc == SSRC).then_some(&offset));
        compound
    }

    #[test]
    fn receiver_reports_name_the_sources_own_numbers() {
        let header = [0x82, 201, 0, 13, 0, 0, 0, 1];
        let compound = [&header[..], &report_block(SSRC, 1099), &report_block(5, 1099)].concat();
        let expected = [&header[..], &report_block(SSRC, 20_599), &report_block(5, 1099)].concat();
        assert_eq!(mapped(compound), expected);
    }

    #[test]
    fn reports_behind_a_sender_report_and_nacks_in_the_same_compound_are_mapped() {
        let mut report = vec![0x81, 200, 0, 12];
        report.extend([0; 24]);
        let nack = [0x81, 205, 0, 3, 0, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef, 0x04, 0x01, 0, 1];
        let compound = [&report[..], &report_block(SSRC, 1000), &nack].concat();
        let out = mapped(compound);
        assert_eq!(out[28..52], report_block(SSRC, 20_500));
        assert_eq!(out[64..68], [0x50, 0x2d, 0, 1], "1025 is the source's 20525");
    }

    #[test]
    fn any_cut_of_a_compound_is_taken_without_a_panic_and_other_bytes_stay() {
        let header = [0x9f, 201, 0, 13, 0, 0, 0, 1];
        let whole = [&header[..], &report_block(6, 1099), &report_block(5, 1099)].concat();
        for cut in 0..=whole.len() {
            assert_eq!(mapped(whole[..cut].to_vec()), whole[..cut]);
            let nack = [&[0x81, 205, 0, (cut / 4) as u8], &whole[4..]].concat();
            mapped(nack);
        }
    }
}
