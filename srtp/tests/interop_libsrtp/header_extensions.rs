//! Encrypted header extension elements (RFC 6904), in every profile that libsrtp has. Cryptex it
//! does not have in the 2.x that is packaged: RFC 9335's vectors stand in for a peer.

use srtp::{ExtensionIds, HeaderExtensions, PacketKind, Policy};

use super::{
    Direction, Endpoint, Key, Keys, Ours, Session, Theirs, profiles, scenario::packets::Random,
    suite,
};

#[test]
fn encrypted_elements_are_the_same_for_libsrtp_and_us() {
    let mut random = Random(6904);
    for profile in profiles() {
        let keys = Keys::without_mki(profile);
        let (mut ours, mut theirs) = pair(&keys);
        for sequence in 0..300 {
            let plain = packet(sequence, &list(sequence, &mut random));
            let protected = ours.protect(PacketKind::Rtp, &plain).expect("we protect");
            let expected = theirs.protect(PacketKind::Rtp, &plain).expect("they protect");
            assert_eq!(protected, expected, "{profile}, packet {sequence}: {plain:02x?}");
            let opened = ours.open(PacketKind::Rtp, &protected);
            assert_eq!(opened, Ok(plain.clone()), "{profile}, packet {sequence}");
            let opened = theirs.open(PacketKind::Rtp, &protected);
            assert_eq!(opened, Ok(plain), "{profile}, packet {sequence}");
        }
    }
}

/// Why [`list`] has padding only at the end: RFC 6904 section 3 has mask and keystream as long as
/// the extension, padding included, but libsrtp 2.5 spends no keystream on padding. What it
/// protects it opens; from each other's packets we get everything but the elements behind it.
#[test]
fn libsrtp_spends_no_keystream_on_padding_between_elements() {
    for profile in profiles().filter(|profile| profile.weakness().is_none()) {
        let keys = Keys::without_mki(profile);
        let (mut ours, mut theirs) = pair(&keys);
        let before_padding = 12 + 4 + 8;
        let elements = [0x16, 1, 2, 3, 4, 5, 6, 7, 0, 0x36, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0];
        let plain = packet(1, &[&[0xbe, 0xde, 0, 5][..], &elements].concat());
        let protected = theirs.protect(PacketKind::Rtp, &plain).expect("they protect");
        let opened = ours.open(PacketKind::Rtp, &protected).expect("it is authentic");
        assert_eq!(opened[..before_padding], plain[..before_padding], "{profile}");
        assert_eq!(opened[36..], plain[36..], "{profile}: the payload");
        assert_ne!(opened, plain, "repaired: let the list have padding anywhere");
    }
}

/// An extension of random elements in either form, with random ids, some of which are [`IDS`].
fn list(sequence: u16, random: &mut Random) -> Vec<u8> {
    let mut elements = Vec::new();
    let one_byte = sequence.is_multiple_of(2);
    for _ in 0..random.below(6) {
        let len = if one_byte { 1 + random.below(16) as u8 } else { random.below(40) as u8 };
        if one_byte {
            elements.push((1 + random.below(14) as u8) << 4 | (len - 1));
        } else {
            elements.extend([1 + random.below(255) as u8, len]);
        }
        elements.extend((0..len).map(|_| random.below(256) as u8));
    }
    elements.resize(elements.len().next_multiple_of(4), 0);
    let profile: [u8; 2] = if one_byte { [0xbe, 0xde] } else { [0x10, random.below(16) as u8] };
    [&profile[..], &(elements.len() as u16 / 4).to_be_bytes(), &elements].concat()
}

fn packet(sequence: u16, extension: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x90, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 160, 0xca, 0xfe, 0xba, 0xbe]);
    packet.extend(extension);
    packet.extend([0x5a; 40]);
    packet
}

fn pair(keys: &Keys) -> (Ours, Theirs) {
    let ids = ExtensionIds::new(IDS).expect("no zero");
    let policy =
        Policy { header_extensions: HeaderExtensions::Encrypted(ids), ..Policy::default() };
    let (key, salt) = keys.key_and_salt(0);
    let key = Key { key: [key, salt].concat(), mki: Vec::new() };
    let session = |direction| {
        let suite = suite(keys.profile()).expect("a profile that they have");
        Session::encrypting(&IDS, direction, suite, std::slice::from_ref(&key)).expect("a session")
    };
    let (outbound, inbound) = (session(Direction::Outbound), session(Direction::Inbound));
    (Ours::new(keys, &policy), Theirs { outbound, inbound, opens_reports: true })
}

const IDS: [u8; 8] = [1, 3, 4, 7, 14, 15, 100, 255];
