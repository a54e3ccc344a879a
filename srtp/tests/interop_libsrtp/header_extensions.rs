//! Encrypted header extension elements (RFC 6904), in every profile that libsrtp has. Cryptex it
//! does not have in the 2.x that is packaged: RFC 9335's vectors stand in for a peer.

use srtp::{ExtensionIds, HeaderExtensions, PacketKind, Policy, Profile};

use crate::{
    Theirs, profiles,
    scenario::{Endpoint, Keys, Ours, carry_call, packets::Random, policy},
    suite,
    sys::{Direction, Session},
    their_keys,
};

/// Of the elements that the call's packets have, all but 5: it stands behind padding, see below.
#[test]
fn a_call_with_encrypted_elements_is_the_same_for_libsrtp_and_us() {
    for profile in profiles() {
        println!("{profile}");
        let (mut ours, mut theirs) = pair(&Keys::with_mkis(profile, 2, 4), &[1, 3, 7]);
        carry_call(&mut ours, &mut theirs, 4);
    }
}

#[test]
fn encrypted_elements_are_the_same_for_libsrtp_and_us() {
    let mut random = Random(6904);
    for profile in profiles() {
        let keys = Keys::without_mki(profile);
        let (mut ours, mut theirs) = pair(&keys, &IDS);
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
        let (mut ours, mut theirs) = pair(&keys, &IDS);
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

/// Where an extension is not of elements (RFC 8285), RFC 6904 has nothing to encrypt, and we leave
/// it clear. libsrtp refuses the packet.
#[test]
fn libsrtp_does_not_protect_other_extensions_beside_encrypted_elements() {
    let (mut ours, mut theirs) = pair(&Keys::without_mki(Profile::AesCm128HmacSha1_80), &IDS);
    let packet = packet(1, &[0xab, 0xcd, 0, 1, 1, 2, 3, 4]);
    assert!(ours.protect(PacketKind::Rtp, &packet).is_ok());
    let theirs = theirs.protect(PacketKind::Rtp, &packet);
    assert!(theirs.is_err(), "repaired: let the call have them");
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

fn pair(keys: &Keys, ids: &[u8]) -> (Ours, Theirs) {
    let encrypted = ExtensionIds::new(ids.iter().copied()).expect("no zero");
    let header_extensions = HeaderExtensions::Encrypted(encrypted);
    let ours = Ours::new(keys, &Policy { header_extensions, ..policy(4) });
    let (suite, their_keys) = (suite(keys.profile()).expect("theirs too"), their_keys(keys));
    let session =
        |direction| Session::encrypting(ids, direction, suite, &their_keys).expect("a session");
    let (outbound, inbound) = (session(Direction::Outbound), session(Direction::Inbound));
    (ours, Theirs { encrypts_elements: true, ..Theirs::new(outbound, inbound, keys) })
}

const IDS: [u8; 8] = [1, 3, 4, 7, 14, 15, 100, 255];
