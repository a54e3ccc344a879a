//! Header extensions under RFC 6904 and Cryptex (RFC 9335): the RFCs' vectors, and what a sender
//! and a receiver promise for every profile and form of extension.
//!
//! RFC 6904 is also tested against libsrtp. For Cryptex no installed implementation is a peer, so
//! the RFC's vectors are what shows that others would understand it.
#![allow(clippy::expect_used, reason = "a packet that cannot be made is the test's failure")]

use proptest::{prelude::*, sample::select};
use srtp::{
    Cryptex, ExtensionIds, HeaderExtensions, Malformed, MasterKey, Mki, PacketKind, Policy,
    Profile, Receiver, Refusal, Sealed, Sender, SessionKeys, ToOpen, ToProtect, Unsuitable,
    Weakness, Weaknesses, open_rtp_batch, protect_rtp_batch, rtp,
};

/// RFC 6904 appendix A: of five elements, those with ids 1, 3 and 4 are encrypted.
#[test]
fn rfc_6904_appendix_a() {
    let master = hex(CM_MASTER);
    let master = MasterKey::from_concatenated(Profile::AesCm128HmacSha1_80, &master).expect("30");
    let (mut sender, mut receiver) = pair(&master, encrypted(&[1, 3, 4]));
    let plain = hex("900f1234 decafbad cafebabe bede0006
        17414273 A4752627 48220000 C8308E46 55996386 B395FB00");
    let extension = hex("17588A92 70F4E15E 1C220000 C8309546 A994F0BC 54789700");
    let sealed = protect(&mut sender, &plain).expect("protects");
    assert_eq!(sealed[..16], plain[..16]);
    assert_eq!(sealed[16..40], extension);
    assert_eq!(open(&mut receiver, &sealed), Ok(plain));
}

/// RFC 9335 appendix A.1.
#[test]
fn rfc_9335_a1_aes_ctr() {
    cryptex_vectors(Profile::AesCm128HmacSha1_80, CM_MASTER, &CRYPTEX_CM);
}

/// RFC 9335 appendix A.2.
#[test]
fn rfc_9335_a2_aes_gcm() {
    let master = "000102030405060708090a0b0c0d0e0f a0a1a2a3a4a5a6a7a8a9aaab";
    cryptex_vectors(Profile::AeadAes128Gcm, master, &CRYPTEX_GCM);
}

fn cryptex_vectors(profile: Profile, master: &str, sealed: &[&str]) {
    let master = MasterKey::from_concatenated(profile, &hex(master)).expect("its length");
    let (mut sender, mut receiver) = pair(&master, CRYPTEX_REQUIRED);
    for (plain, expected) in CRYPTEX_PLAIN.iter().zip(sealed) {
        let plain = [hex(plain), vec![0xab; 16]].concat();
        let sealed = protect(&mut sender, &plain).expect("protects");
        assert_eq!(sealed, hex(expected));
        assert_eq!(open(&mut receiver, &sealed), Ok(plain));
    }
}

/// The rule of RFC 9335 section 5.1; the vectors are A.1's with an empty extension, whose plain
/// packet came with one.
#[test]
fn csrcs_without_an_extension_get_an_empty_one() {
    let master = hex(CM_MASTER);
    let master = MasterKey::from_concatenated(Profile::AesCm128HmacSha1_80, &master).expect("30");
    let (mut sender, mut receiver) = pair(&master, CRYPTEX_REQUIRED);
    let plain = [&hex("820f123a decafbad cafebabe 0001e240 0000b26e")[..], &[0xab; 16]].concat();
    let mut buffer = [&plain[..], &[0; 13]].concat();
    assert_eq!(sender.protect_rtp(&mut buffer, plain.len()), Err(Refusal::NoRoom));
    let sealed = protect(&mut sender, &plain).expect("protects");
    assert_eq!(sealed, hex(CRYPTEX_CM[4]));
    let opened = [&hex(CRYPTEX_PLAIN[4])[..], &[0xab; 16]].concat();
    assert_eq!(open(&mut receiver, &sealed), Ok(opened));
}

#[test]
fn cryptex_is_not_for_other_extensions() {
    for profile in Profile::ALL {
        let master = key(profile, 1);
        for other in [0x1001, 0xbedf, 0x0100] {
            let plain = packet(7, 2, Some(other), &[1, 2, 3, 4], 20);
            let (mut sender, mut receiver) = pair(&master, CRYPTEX_OPTIONAL);
            let sealed = protect(&mut sender, &plain).expect("protects");
            assert_eq!(sealed[..28], plain[..28], "{profile}, {other:#x}");
            assert_eq!(open(&mut receiver, &sealed), Ok(plain.clone()));

            let (mut sender, mut receiver) = pair(&master, CRYPTEX_REQUIRED);
            let refused = Err(Malformed::ExtensionProfile.into());
            assert_eq!(protect(&mut sender, &plain), refused);
            assert_eq!(open(&mut receiver, &sealed), refused);
        }
        // What says that it is encrypted, but is not.
        for claimed in [0xc0de, 0xc2de] {
            let plain = packet(7, 0, Some(claimed), &[], 20);
            let (mut sender, _) = pair(&master, CRYPTEX_OPTIONAL);
            assert_eq!(protect(&mut sender, &plain), Err(Malformed::ExtensionProfile.into()));
            assert!(protect(&mut sender, &packet(7, 0, None, &[], 20)).is_ok(), "index spent");
        }
    }
}

#[test]
fn a_cryptex_receiver_takes_plain_packets_unless_it_requires_cryptex() {
    for profile in Profile::ALL {
        let master = key(profile, 1);
        let mut plainly = pair(&master, HeaderExtensions::Clear).0;
        let mut optional = pair(&master, CRYPTEX_OPTIONAL).1;
        let mut required = pair(&master, CRYPTEX_REQUIRED).1;
        for (sequence, csrcs, extension) in
            [(1, 0, Some(0xbede)), (2, 0, Some(0x1000)), (3, 2, Some(0xbede)), (4, 1, None)]
        {
            let plain = packet(sequence, csrcs, extension, &[0x10, 9, 0, 0], 20);
            let sealed = protect(&mut plainly, &plain).expect("protects");
            let refused = open(&mut required, &sealed);
            assert_eq!(refused, Err(Malformed::ExtensionProfile.into()), "{profile}");
            assert_eq!(open(&mut optional, &sealed), Ok(plain), "{profile}");
        }
        let bare = packet(5, 0, None, &[], 20);
        let sealed = protect(&mut plainly, &bare).expect("protects");
        assert_eq!(open(&mut required, &sealed), Ok(bare), "{profile}: nothing to hide");
    }
}

#[test]
fn only_the_data_of_the_chosen_elements_change() {
    let encrypts = |profile: &Profile| profile.weakness() != Some(Weakness::NullCipher);
    for profile in Profile::ALL.into_iter().filter(encrypts) {
        let (mut sender, mut receiver) = pair(&key(profile, 1), encrypted(&[2, 20]));
        let one_byte = [0x12, 1, 1, 1, 0x23, 2, 2, 2, 2, 0, 0x20, 3];
        let two_byte = [1, 2, 1, 1, 20, 3, 2, 2, 2, 0, 2, 1, 3, 2, 0, 0];
        let cases: [(u16, &[u8], &[usize]); 3] = [
            (0xbede, &one_byte, &[5, 6, 7, 8, 11]),
            (0x1003, &two_byte, &[6, 7, 8, 12]),
            (0xbedd, &one_byte, &[]),
        ];
        for (sequence, (form, extension, chosen)) in (0..).zip(cases) {
            let mut changed = [false; 16];
            // A byte may be encrypted as itself, but not eight times.
            for round in 0..8 {
                let plain = packet(8 * sequence + round, 1, Some(form), extension, 30);
                let sealed = protect(&mut sender, &plain).expect("protects");
                assert_eq!(sealed[..20], plain[..20], "{profile}, {form:#x}");
                for at in 0..extension.len() {
                    changed[at] |= sealed[20 + at] != plain[20 + at];
                }
                assert_eq!(open(&mut receiver, &sealed), Ok(plain));
            }
            let changed: Vec<_> = (0..16).filter(|&at| changed[at]).collect();
            assert_eq!(changed, chosen, "{profile}, {form:#x}");
        }
    }
}

#[test]
fn each_key_has_header_keys_of_its_own() {
    let profile = Profile::AeadAes256Gcm;
    let policy = Policy { header_extensions: encrypted(&[1]), ..Policy::default() };
    let masters = [key(profile, 1), key(profile, 2)];
    let parameters = |at: usize| srtp::KeyParameters {
        mki: Mki::new(&[at as u8]).expect("1 byte"),
        ..(&masters[at]).into()
    };
    let mut sender = Sender::new(parameters(0), &policy).expect("suitable");
    let mut receiver = Receiver::new(parameters(0), &policy).expect("suitable");
    sender.install(&parameters(1)).expect("suitable");
    receiver.install(&parameters(1)).expect("suitable");
    sender.switch_to(&parameters(1).mki).expect("installed");
    let plain = packet(1, 0, Some(0xbede), &[0x1f; 20], 20);
    let sealed = protect(&mut sender, &plain).expect("protects");
    assert_eq!(open(&mut receiver, &sealed), Ok(plain.clone()));

    let (mut alone, _) = pair(&masters[1], encrypted(&[1]));
    let expected = protect(&mut alone, &plain).expect("protects");
    assert_eq!(sealed[..36], expected[..36], "under the second key");
}

#[test]
fn a_stream_taken_over_in_its_round_has_its_header_too() {
    for extensions in [encrypted(&[1]), CRYPTEX_REQUIRED] {
        for profile in Profile::ALL {
            let (mut sender, mut receiver) = pair(&key(profile, 1), extensions);
            let numbered = |sequence| packet(sequence, 2, Some(0xbede), &[0x13, 1, 2, 3], 20);
            for sequence in [0, 30_000, 60_000] {
                protect(&mut sender, &numbered(sequence)).expect("protects");
            }
            let sealed = protect(&mut sender, &numbered(5)).expect("protects");
            assert!(open(&mut receiver, &sealed).is_err(), "{profile}: round 1, not 0");
            receiver.expect_roc(0xcafe_babe, 1);
            assert_eq!(open(&mut receiver, &sealed), Ok(numbered(5)), "{profile}");
        }
    }
}

#[test]
fn rfc_6904_needs_the_master_key() {
    let keys = |kind| SessionKeys::derive(&key(Profile::AeadAes128Gcm, 1), kind);
    let make = |header_extensions| {
        let policy = Policy { header_extensions, accepted: Weaknesses::ALL, ..Policy::default() };
        let (rtp, rtcp) = (keys(PacketKind::Rtp), keys(PacketKind::Rtcp));
        Sender::from_session_keys(&rtp, rtcp, &policy).map(|_| ())
    };
    assert_eq!(make(encrypted(&[1])), Err(Unsuitable::NoMasterKey));
    assert_eq!(make(CRYPTEX_REQUIRED), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn what_was_sent_is_opened_and_no_flipped_bit_is(
        profile in select(&Profile::ALL[..]),
        policy in select(&POLICIES[..]),
        plain in packets(),
        bit: u16,
    ) {
        let (mut sender, mut receiver) = pair(&key(profile, 1), extensions(policy));
        let sealed = protect(&mut sender, &plain).expect("protects");
        let mut altered = sealed.clone();
        let bit = usize::from(bit) % (8 * sealed.len());
        altered[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open(&mut receiver, &altered).is_err());
        prop_assert_eq!(receiver.streams().count(), 0);
        prop_assert_eq!(open(&mut receiver, &sealed), Ok(as_opened(policy, plain)));
        prop_assert_eq!(open(&mut receiver, &sealed), Err(Refusal::Replayed));
    }

    #[test]
    fn any_extension_bytes_survive(
        profile in select(&Profile::ALL[..]),
        form in select(&[0xbede, 0x1000, 0x100f][..]),
        extension in prop::collection::vec(any::<u8>(), 0..100),
        ids in prop::collection::vec(1u8..=255, 0..60),
    ) {
        let extension = &extension[..extension.len() / 4 * 4];
        let plain = packet(1, 0, Some(form), extension, 9);
        let (mut sender, mut receiver) = pair(&key(profile, 1), encrypted(&ids));
        let sealed = protect(&mut sender, &plain).expect("protects");
        prop_assert_eq!(open(&mut receiver, &sealed), Ok(plain));
    }

    #[test]
    fn a_batch_gives_the_same_as_one_by_one(
        profile in select(&Profile::ALL[..]),
        policy in select(&POLICIES[..]),
        mut plain in prop::collection::vec(packets(), 1..40),
    ) {
        for (sequence, packet) in (100u16..).zip(&mut plain) {
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        }
        let master = key(profile, 1);
        let mut single = pair(&master, extensions(policy)).0;
        let expected: Vec<_> =
            plain.iter().map(|plain| protect(&mut single, plain).expect("protects")).collect();
        let (sender, receiver) = pair(&master, extensions(policy));

        let mut buffers: Vec<_> =
            plain.iter().map(|plain| [&plain[..], &[0; TAILROOM]].concat()).collect();
        let mut batch: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| { let len = buffer.len() - TAILROOM; ToProtect::new(0, buffer, len) })
            .collect();
        protect_rtp_batch(&mut [sender][..], &mut batch);
        let sealed: Vec<_> = batch
            .into_iter()
            .map(|packet| {
                let sealed: Sealed = packet.outcome.expect("done").expect("protects");
                packet.buffer[..sealed.len].to_vec()
            })
            .collect();
        prop_assert_eq!(&sealed, &expected);

        let mut arriving = sealed;
        let mut batch: Vec<_> =
            arriving.iter_mut().map(|packet| ToOpen::new(0, packet)).collect();
        open_rtp_batch(&mut [receiver][..], &mut batch);
        for (packet, plain) in batch.into_iter().zip(plain) {
            let len = packet.outcome.expect("done").expect("opens").len;
            prop_assert_eq!(&packet.packet[..len], as_opened(policy, plain));
        }
    }
}

/// What a test may choose; [`ExtensionIds`] is not made in a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    Clear,
    Elements(&'static [u8]),
    Cryptex(Cryptex),
}

const POLICIES: [Chosen; 5] = [
    Chosen::Clear,
    Chosen::Elements(&[1, 3, 7, 15, 200]),
    Chosen::Elements(&[2, 14, 255]),
    Chosen::Cryptex(Cryptex::Optional),
    Chosen::Cryptex(Cryptex::Required),
];

fn extensions(chosen: Chosen) -> HeaderExtensions {
    match chosen {
        Chosen::Clear => HeaderExtensions::Clear,
        Chosen::Elements(ids) => encrypted(ids),
        Chosen::Cryptex(cryptex) => HeaderExtensions::Cryptex(cryptex),
    }
}

/// What a receiver makes of `plain`: Cryptex has added an extension to CSRCs without one.
fn as_opened(chosen: Chosen, plain: Vec<u8>) -> Vec<u8> {
    let header = rtp::Header::new_checked(&plain).expect("well formed");
    let bare_csrcs = header.csrc_count() > 0 && !header.has_extension();
    if !bare_csrcs || !matches!(chosen, Chosen::Cryptex(_)) {
        return plain;
    }
    let (header, payload) = plain.split_at(header.payload_offset());
    let mut opened = [header, &[0xbe, 0xde, 0, 0], payload].concat();
    opened[0] |= 0x10;
    opened
}

/// Packets of every shape that each policy can send.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let one_byte = prop::collection::vec((1u8..15, 1usize..=16, 0usize..3), 0..6);
    let two_byte = prop::collection::vec((1u8..=255, 0usize..40, 0usize..3), 0..6);
    let extension = prop_oneof![
        Just((None, Vec::new())),
        one_byte.prop_map(|elements| (Some(0xbede), list(&elements, one_byte_header))),
        two_byte.prop_map(|elements| (Some(0x1000), list(&elements, |id, len| vec![id, len]))),
    ];
    (any::<u16>(), 0u8..=15, extension, 0usize..60).prop_map(|(sequence, csrcs, extension, len)| {
        packet(sequence, csrcs, extension.0, &extension.1, len)
    })
}

fn one_byte_header(id: u8, len: u8) -> Vec<u8> {
    vec![id << 4 | (len - 1)]
}

/// Elements with padding behind each, and at the end to a multiple of four.
fn list(elements: &[(u8, usize, usize)], header: fn(u8, u8) -> Vec<u8>) -> Vec<u8> {
    let mut list = Vec::new();
    for &(id, len, padding) in elements {
        list.extend(header(id, len as u8));
        list.resize(list.len() + len, id ^ 0x5a);
        list.resize(list.len() + padding, 0);
    }
    list.resize(list.len().next_multiple_of(4), 0);
    list
}

fn packet(
    sequence: u16,
    csrcs: u8,
    profile: Option<u16>,
    extension: &[u8],
    payload: usize,
) -> Vec<u8> {
    let mut packet = vec![0x80 | u8::from(profile.is_some()) << 4 | csrcs, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 160]);
    packet.extend(0xcafe_babe_u32.to_be_bytes());
    packet.extend((0..4 * csrcs).map(|byte| byte ^ 0x33));
    if let Some(profile) = profile {
        packet.extend(profile.to_be_bytes());
        packet.extend((extension.len() as u16 / 4).to_be_bytes());
        packet.extend(extension);
    }
    packet.resize(packet.len() + payload, 0x77);
    packet
}

fn protect(sender: &mut Sender, plain: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut buffer = [plain, &[0; TAILROOM]].concat();
    let sealed = sender.protect_rtp(&mut buffer, plain.len())?;
    buffer.truncate(sealed.len);
    Ok(buffer)
}

fn open(receiver: &mut Receiver, sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut packet = sealed.to_vec();
    let opened = receiver.open_rtp(&mut packet)?;
    packet.truncate(opened.len);
    Ok(packet)
}

fn pair(master: &MasterKey, header_extensions: HeaderExtensions) -> (Sender, Receiver) {
    let policy = Policy { header_extensions, accepted: Weaknesses::ALL, ..Policy::default() };
    let sender = Sender::new(master, &policy).expect("suitable");
    (sender, Receiver::new(master, &policy).expect("suitable"))
}

fn key(profile: Profile, seed: u8) -> MasterKey {
    let bytes = vec![seed; profile.key_len() + profile.salt_len()];
    MasterKey::from_concatenated(profile, &bytes).expect("the profile's length")
}

fn encrypted(ids: &[u8]) -> HeaderExtensions {
    HeaderExtensions::Encrypted(ExtensionIds::new(ids.iter().copied()).expect("no zero"))
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

const TAILROOM: usize = 40;
const CRYPTEX_OPTIONAL: HeaderExtensions = HeaderExtensions::Cryptex(Cryptex::Optional);
const CRYPTEX_REQUIRED: HeaderExtensions = HeaderExtensions::Cryptex(Cryptex::Required);

/// Master key and salt of RFC 6904 appendix A and RFC 9335 appendix A.1.
const CM_MASTER: &str = "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6";

/// The packets of RFC 9335 appendix A without their 16 bytes of payload.
const CRYPTEX_PLAIN: [&str; 6] = [
    "900f1235 decafbad cafebabe bede0001 51000200",
    "900f1236 decafbad cafebabe 10000001 05020002",
    "920f1238 decafbad cafebabe 0001e240 0000b26e bede0001 51000200",
    "920f1239 decafbad cafebabe 0001e240 0000b26e 10000001 05020002",
    "920f123a decafbad cafebabe 0001e240 0000b26e bede0000",
    "920f123b decafbad cafebabe 0001e240 0000b26e 10000000",
];
const CRYPTEX_CM: [&str; 6] = [
    "900f1235 decafbad cafebabe c0de0001 eb923652 51c3e036 f8de27e9 c27ee3e0 b4651d9f bc4218a7
     0244522f 34a5",
    "900f1236 decafbad cafebabe c2de0001 4ed9cc4e 6a712b30 96c5ca77 339d4204 ce0d7739 6cab6958
     5fbce381 94a5",
    "920f1238 decafbad cafebabe 8bb6e12b 5cff16dd c0de0001 92838c8c 09e58393 e1de3a9a 74734d67
     45671338 c3acf11d a2df8423 bee0",
    "920f1239 decafbad cafebabe f70e513e b90b9b25 c2de0001 bbed4848 faa64466 5f3d7f34 125914e9
     f4d0ae92 3c6f479b 95a0f7b5 3133",
    "920f123a decafbad cafebabe 7130b6ab fe2ab0e3 c0de0000 e3d9f64b 25c9e74c b4cf8e43 fb92e378
     1c2c0cea b6b3a499 a14c",
    "920f123b decafbad cafebabe cbf24c12 4330e1c8 c2de0000 599dd45b c9d687b6 03e8b59d 771fd38e
     88b170e0 cd31e125 eabe",
];
const CRYPTEX_GCM: [&str; 6] = [
    "900f1235 decafbad cafebabe c0de0001 39972dc9 572c4d99 e8fc355d e743fb2e 94f9d8ff 54e72f41
     93bbc5c7 4ffab0fa 9fa0fbeb",
    "900f1236 decafbad cafebabe c2de0001 bb75a4c5 45cd1f41 3bdb7daa 2b1e3263 de313667 c9632490
     81b35a65 f5cb6c88 b394235f",
    "920f1238 decafbad cafebabe 63bbccc4 a7f695c4 c0de0001 8ad7c71f ac70a80c 92866b4c 6ba98546
     ef913586 e95ffaaf fe956885 bb0647a8 bc094ac8",
    "920f1239 decafbad cafebabe 3680524f 8d312b00 c2de0001 c78d1200 38422bc1 11a7187a 18246f98
     0c059cc6 bc9df8b6 26394eca 344e4b05 d80fea83",
    "920f123a decafbad cafebabe 15b6bb43 37906fff c0de0000 b7b96453 7a2b03ab 7ba5389c e9331712
     6b5d974d f30c6884 dcb651c5 e120c1da",
    "920f123b decafbad cafebabe dcb38c9e 48bf95f4 c2de0000 61ee432c f9203170 76613258 d3ce4236
     c06ac429 681ad084 13512dc9 8b5207d8",
];
