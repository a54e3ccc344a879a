//! What a compound RTCP packet speaks of: so that each part of it goes to whose it is.
//!
//! Sender reports and BYE are about sources of the party; report blocks and feedback about sources
//! that it was sent. Descriptions (SDES), extended reports and APP go along with the others, and
//! by their own SSRC where they are alone. Feedback whose header names nobody names its sources
//! further on (RFC 5104 section 4.3, REMB).

/// Whom a packet speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// A source of the party that sent it.
    Theirs(u32),
    /// A source that it was sent.
    Received(u32),
}

/// The packets of a compound; ends where lengths do not add up.
pub(crate) fn packets(compound: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = compound;
    std::iter::from_fn(move || {
        let &[_, _, high, low, ..] = rest else { return None };
        let size = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let (packet, after) = rest.split_at_checked(size)?;
        rest = after;
        Some(packet)
    })
}

/// Tells of everybody that one packet is about; of nobody for those that go along.
pub(crate) fn each_subject(packet: &[u8], mut tell: impl FnMut(About)) {
    let &[first, kind, ..] = packet else { return };
    let count = first & 0x1f;
    match (kind, count) {
        (SENDER_REPORT, _) => {
            word(packet, 4).map(About::Theirs).into_iter().for_each(&mut tell);
            blocks(packet, 28, 24, count).map(About::Received).for_each(tell);
        }
        (RECEIVER_REPORT, _) => blocks(packet, 8, 24, count).map(About::Received).for_each(tell),
        (BYE, _) => blocks(packet, 4, 4, count).map(About::Theirs).for_each(tell),
        // Notifications answer a request: they come from who sends the media.
        (TRANSPORT_FEEDBACK, TMMBN) | (PAYLOAD_FEEDBACK, TSTN) => {
            word(packet, 4).map(About::Theirs).into_iter().for_each(tell);
        }
        (TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK, _) => match word(packet, 8) {
            Some(0) => listed(packet, kind, count).map(About::Received).for_each(tell),
            named => named.map(About::Received).into_iter().for_each(tell),
        },
        _ => {}
    }
}

/// The SSRC that every packet begins with: who sent it or, in SDES, is described first.
pub(crate) fn sender(packet: &[u8]) -> Option<About> {
    word(packet, 4).map(About::Theirs)
}

/// Puts those of the packets that `keep` wants, by their place, into `into`, which has room for all
/// of them, and returns the length. What begins with a report begins with one still (RFC 3550 section 6.1).
pub(crate) fn extract(
    compound: &[u8],
    into: &mut [u8],
    mut keep: impl FnMut(usize) -> bool,
) -> usize {
    let is_report = |packet: &[u8]| matches!(packet[1], SENDER_REPORT | RECEIVER_REPORT);
    let mut length = 0;
    let mut append = |bytes: &[u8], length: &mut usize| {
        if let Some(room) = into.get_mut(*length..*length + bytes.len()) {
            room.copy_from_slice(bytes);
            *length += bytes.len();
        }
    };
    for (at, packet) in packets(compound).enumerate() {
        if !keep(at) {
            continue;
        }
        // Reduced-size RTCP (RFC 5506) begins with anything, as the whole did.
        if length == 0 && !is_report(packet) && packets(compound).next().is_some_and(is_report) {
            append(&[0x80, RECEIVER_REPORT, 0, 1], &mut length);
            append(compound.get(4..8).unwrap_or(&[0; 4]), &mut length);
        }
        append(packet, &mut length);
    }
    length
}

/// The sources that feedback lists when its header names none.
fn listed(packet: &[u8], kind: u8, format: u8) -> impl Iterator<Item = u32> + '_ {
    let (first, step) = match (kind, format) {
        (TRANSPORT_FEEDBACK, TMMBR) | (PAYLOAD_FEEDBACK, FIR | TSTR | VBCM) => (12, 8),
        (PAYLOAD_FEEDBACK, APPLICATION) if packet.get(12..16) == Some(b"REMB") => (20, 4),
        _ => (packet.len(), 4),
    };
    blocks(packet, first, step, u8::MAX)
}

/// The first words of at most `count` blocks of `size` bytes from `first` on.
fn blocks(packet: &[u8], first: usize, size: usize, count: u8) -> impl Iterator<Item = u32> + '_ {
    let blocks = packet.get(first..).unwrap_or_default().chunks_exact(size);
    blocks.take(usize::from(count)).filter_map(|block| word(block, 0))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// RFC 3550 section 12.1.
const SENDER_REPORT: u8 = 200;
/// The same.
const RECEIVER_REPORT: u8 = 201;
/// The same.
const BYE: u8 = 203;
/// RFC 4585 section 6.1.
const TRANSPORT_FEEDBACK: u8 = 205;
/// The same.
const PAYLOAD_FEEDBACK: u8 = 206;
/// Formats of transport feedback, RFC 5104 section 4.2.
const TMMBR: u8 = 3;
/// The same.
const TMMBN: u8 = 4;
/// Formats of payload feedback, RFC 5104 section 4.3.
const FIR: u8 = 4;
/// The same.
const TSTR: u8 = 5;
/// The same.
const TSTN: u8 = 6;
/// The same.
const VBCM: u8 = 7;
/// RFC 4585 section 6.3; REMB is one.
const APPLICATION: u8 = 15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subjects(packet: &[u8]) -> Vec<About> {
        let mut subjects = Vec::new();
        each_subject(packet, |about| subjects.push(about));
        subjects
    }

    fn packet(head: [u8; 2], words: &[u32]) -> Vec<u8> {
        let mut packet = vec![head[0], head[1], 0, words.len() as u8];
        packet.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        packet
    }

    fn report(count: u8, sender: u32, about: &[u32]) -> Vec<u8> {
        let blocks = about.iter().flat_map(|ssrc| [*ssrc, 0, 0, 0, 0, 0]);
        packet([0x80 | count, 201], &std::iter::once(sender).chain(blocks).collect::<Vec<_>>())
    }

    #[test]
    fn each_kind_speaks_of_its_own() {
        let remb = u32::from_be_bytes(*b"REMB");
        let cases: [(Vec<u8>, &[About]); 11] = [
            (
                packet([0x81, 200], &[1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0]),
                &[About::Theirs(1), About::Received(7)],
            ),
            (report(2, 1, &[7, 8]), &[About::Received(7), About::Received(8)]),
            (report(0, 1, &[]), &[]),
            (packet([0x82, 203], &[1, 2]), &[About::Theirs(1), About::Theirs(2)]),
            (packet([0x81, 206], &[1, 7]), &[About::Received(7)]),
            (packet([0x81, 205], &[1, 7, 0x0005_0000]), &[About::Received(7)]),
            (packet([0x84, 206], &[1, 0, 7, 0, 8, 0]), &[About::Received(7), About::Received(8)]),
            (packet([0x83, 205], &[1, 0, 7, 0]), &[About::Received(7)]),
            (packet([0x84, 205], &[1, 0, 7, 0]), &[About::Theirs(1)]),
            (
                packet([0x8f, 206], &[1, 0, remb, 0, 7, 8]),
                &[About::Received(7), About::Received(8)],
            ),
            (packet([0x81, 202], &[1, 0]), &[]),
        ];
        for (packet, expected) in cases {
            assert_eq!(subjects(&packet), expected, "{packet:?}");
        }
    }

    #[test]
    fn an_extract_begins_with_a_report_where_the_whole_did() {
        let (rr, sdes, pli) =
            (report(1, 1, &[7]), packet([0x81, 202], &[1, 0]), packet([0x81, 206], &[1, 8]));
        let extracted = |compound: &[u8], places: &[usize]| {
            let mut into = [0; 200];
            let length = extract(compound, &mut into, |at| places.contains(&at));
            into[..length].to_vec()
        };
        let compound = [&rr[..], &sdes, &pli].concat();
        assert_eq!(extracted(&compound, &[0, 1]), [&rr[..], &sdes].concat());
        let empty = report(0, 1, &[]);
        assert_eq!(extracted(&compound, &[1, 2]), [&empty[..], &sdes, &pli].concat());
        let reduced = [&pli[..], &sdes].concat();
        assert_eq!(extracted(&reduced, &[1]), sdes);
        assert_eq!(extracted(&compound, &[]).len(), 0);
    }

    proptest! {
        #[test]
        fn any_compound_is_gone_through_within_its_bounds(mut bytes: Vec<u8>, kind in 200_u8..=207) {
            if let Some(second) = bytes.get_mut(1) {
                *second = kind;
            }
            let whole: usize = packets(&bytes).map(<[u8]>::len).sum();
            prop_assert!(whole <= bytes.len());
            for packet in packets(&bytes) {
                each_subject(packet, |_| {});
            }
            let mut into = vec![0; bytes.len() + 8];
            prop_assert!(extract(&bytes, &mut into, |_| true) <= whole);
        }
    }
}
