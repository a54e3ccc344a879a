//! Header extensions under RFC 6904 and Cryptex (RFC 9335): what a sender and a receiver promise
//! for every profile, backend and form of extension.
#![allow(clippy::expect_used, reason = "a packet that cannot be made is the test's failure")]

use proptest::{prelude::*, sample::select};
use srtp::{
    Backend, Cryptex, ExtensionIds, HeaderExtensions, Malformed, MasterKey, Mki, PacketKind,
    Policy, Profile, Receiver, Refusal, Sealed, Sender, SessionKeys, ToOpen, ToProtect, Unsuitable,
    Weakness, Weaknesses, open_rtp_batch, protect_rtp_batch, rtp,
};

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
        backend in select(Backend::available()),
        plain in packets(),
        bit: u16,
    ) {
        let (mut sender, mut receiver) = pair_on(backend, &key(profile, 1), extensions(policy));
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
        backend in select(Backend::available()),
        mut plain in prop::collection::vec(packets(), 1..40),
    ) {
        for (sequence, packet) in (100u16..).zip(&mut plain) {
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        }
        let master = key(profile, 1);
        let mut single = pair_on(backend, &master, extensions(policy)).0;
        let expected: Vec<_> =
            plain.iter().map(|plain| protect(&mut single, plain).expect("protects")).collect();
        let (sender, receiver) = pair_on(backend, &master, extensions(policy));

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
    pair_on(Backend::detect(), master, header_extensions)
}

fn pair_on(
    backend: Backend,
    master: &MasterKey,
    header_extensions: HeaderExtensions,
) -> (Sender, Receiver) {
    let accepted = Weaknesses::ALL;
    let policy = Policy { header_extensions, accepted, backend, ..Policy::default() };
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

const TAILROOM: usize = 40;
const CRYPTEX_OPTIONAL: HeaderExtensions = HeaderExtensions::Cryptex(Cryptex::Optional);
const CRYPTEX_REQUIRED: HeaderExtensions = HeaderExtensions::Cryptex(Cryptex::Required);
