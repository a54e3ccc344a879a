//! Known answers: RFC 3711 appendix B.2 and B.3, RFC 7714 sections 16 and 17.
//!
//! The vectors are stated in session keys, below the key derivation, so they enter through
//! `SessionKeys::from_parts`; B.3 tests the derivation itself. All go through the same packet path
//! as real packets.
#![allow(clippy::expect_used, reason = "a vector that cannot be set up is the test's failure")]

use srtp::{
    KeyParameters, Malformed, MasterKey, Mki, PacketIndex, PacketKind, Policy, Profile, Receiver,
    Refusal, Sender, SessionKeys,
};

/// RFC 3711 appendix B.2: the keystream of SSRC 0, index 0, which is what zeros encrypt to.
#[test]
fn rfc_3711_b2_keystream() {
    let cipher = hex("2B7E151628AED2A6ABF7158809CF4F3C");
    let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
    let keys = || {
        SessionKeys::from_parts(Profile::AesCm128HmacSha1_80, &cipher, &[0; 20], &salt)
            .expect("lengths of the profile")
    };
    let sender = Sender::from_session_keys(&keys(), keys(), &Policy::default());
    let mut sender = sender.expect("suitable");
    let mut packet = vec![0; HEADER_LEN + B2_LEN + 10];
    packet[0] = 0x80;
    sender.protect_rtp(&mut packet, HEADER_LEN + B2_LEN).expect("protects");

    let keystream = &packet[HEADER_LEN..];
    let first = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
                 41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(keystream[..48], hex(first));
    let last = "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE
                6A2CC3787889374FBEB4C81B17BA6C44";
    assert_eq!(keystream[B2_LEN - 48..B2_LEN], hex(last));
}

/// RFC 3711 appendix B.3: the first two labels and the salt, SRTP's.
#[test]
fn rfc_3711_b3_key_derivation() {
    let master = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::from_concatenated(Profile::AesCm128HmacSha1_80, &master).expect("30");
    let keys = SessionKeys::derive(&master, PacketKind::Rtp);
    assert_eq!(keys.dangerous_cipher_key(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(keys.dangerous_salt()[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
    // The RFC prints 94 bytes of authentication key; HMAC-SHA1 takes the first 20.
    let auth = hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
    assert_eq!(keys.dangerous_auth_key()[..], auth);
}

/// RFC 7714 sections 16.1 and 16.2: SRTP, encryption and decryption.
#[test]
fn rfc_7714_16_srtp() {
    for (profile, protected) in
        [(Profile::AeadAes128Gcm, RTP_128), (Profile::AeadAes256Gcm, RTP_256)]
    {
        let (mut sender, mut receiver) = rfc_7714_pair(profile);
        let (plain, protected) = (hex(RTP_PLAIN), hex(protected));
        let mut buffer = with_tailroom(&plain);
        let sealed = sender.protect_rtp(&mut buffer, plain.len()).expect("protects");
        assert_eq!(buffer[..sealed.len], protected, "{profile}");
        assert_eq!(sealed.index, PacketIndex::new(0, 0xf17b));

        let opened = receiver.open_rtp(&mut buffer[..sealed.len]).expect("opens");
        assert_eq!(buffer[..opened.len], plain, "{profile}");
    }
}

/// RFC 7714 sections 17.1 and 17.2: SRTCP, index 0x5d4, which the sender reaches by counting.
#[test]
fn rfc_7714_17_srtcp() {
    for (profile, protected) in
        [(Profile::AeadAes128Gcm, RTCP_128), (Profile::AeadAes256Gcm, RTCP_256)]
    {
        let (mut sender, mut receiver) = rfc_7714_pair(profile);
        let (plain, mut protected) = (hex(RTCP_PLAIN), hex(protected));
        let mut buffer = with_tailroom(&plain);
        for _ in 0..0x5d4 {
            buffer[..plain.len()].copy_from_slice(&plain);
            sender.protect_rtcp(&mut buffer, plain.len()).expect("protects");
        }
        buffer[..plain.len()].copy_from_slice(&plain);
        let sealed = sender.protect_rtcp(&mut buffer, plain.len()).expect("protects");
        assert_eq!(buffer[..sealed.len], protected, "{profile}");
        assert_eq!(sealed.index, 0x5d4);

        let opened = receiver.open_rtcp(&mut protected).expect("opens");
        assert_eq!((opened.index, opened.ssrc), (0x5d4, 0x4d61_7273));
        assert_eq!(protected[..opened.len], plain, "{profile}");
    }
}

/// RFC 7714 sections 17.3 and 17.4: authentic, but E = 0. Encryption is part of the profile.
#[test]
fn rfc_7714_17_unencrypted_srtcp_is_refused() {
    for (profile, protected) in
        [(Profile::AeadAes128Gcm, RTCP_128_CLEAR), (Profile::AeadAes256Gcm, RTCP_256_CLEAR)]
    {
        let (_, mut receiver) = rfc_7714_pair(profile);
        let opened = receiver.open_rtcp(&mut hex(protected));
        assert_eq!(opened, Err(Malformed::EncryptionFlag.into()), "{profile}");
    }
}

/// An MKI stands behind the tag in AEAD packets and before it in the others, and is not covered
/// by the tag (RFC 3711 section 3.1, RFC 7714 section 8.2): the rest is as without.
#[test]
fn an_mki_changes_nothing_but_its_own_place() {
    for profile in Profile::COMMON {
        let mki = Mki::new(b"mki!").expect("4 bytes");
        let master = vec![9; profile.key_len() + profile.salt_len()];
        let master = MasterKey::from_concatenated(profile, &master).expect("its length");
        let key = KeyParameters { mki, ..(&master).into() };
        let sender = |key| Sender::new(key, &Policy::default()).expect("suitable");
        let plain = hex(RTP_PLAIN);
        let mut with = with_tailroom(&plain);
        let mut without = with.clone();
        let with_len = sender(key.clone()).protect_rtp(&mut with, plain.len()).expect("protects");
        let without_len =
            sender((&master).into()).protect_rtp(&mut without, plain.len()).expect("protects");
        let at = if profile.is_aead() { without_len.len } else { plain.len() };
        let mut expected = without[..without_len.len].to_vec();
        expected.splice(at..at, *b"mki!");
        assert_eq!(with[..with_len.len], expected, "{profile}");

        let mut receiver = Receiver::new(key, &Policy::default()).expect("suitable");
        let mut other = with[..with_len.len].to_vec();
        other[at] ^= 1;
        assert_eq!(receiver.open_rtp(&mut other), Err(Refusal::UnknownMki));
        let opened = receiver.open_rtp(&mut with[..with_len.len]).expect("opens");
        assert_eq!(with[..opened.len], plain, "{profile}");
    }
}

fn rfc_7714_pair(profile: Profile) -> (Sender, Receiver) {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    let keys = || SessionKeys::from_parts(profile, &key, &[], b"Quid pro quo").expect("lengths");
    let policy = Policy::default();
    (
        Sender::from_session_keys(&keys(), keys(), &policy).expect("suitable"),
        Receiver::from_session_keys(&keys(), keys(), &policy).expect("suitable"),
    )
}

fn with_tailroom(packet: &[u8]) -> Vec<u8> {
    [packet, &[0; 64]].concat()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

const HEADER_LEN: usize = 12;
/// B.2's segment length.
const B2_LEN: usize = 1_044_512;

const RTP_PLAIN: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
    69736120 696e2070 61727465 73207472 6573";
const RTP_128: &str = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
    0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
const RTP_256: &str = "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238
    9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13";
const RTCP_PLAIN: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
    deadbeef deadbeef deadbeef deadbeef deadbeef";
const RTCP_128: &str = "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
    c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
const RTCP_256: &str = "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50
    a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4";
const RTCP_128_CLEAR: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930
    4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef 841dd968 3dd78ec9 2ae58790 125f62b3
    000005d4";
const RTCP_256_CLEAR: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930
    4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef 91db4afb feee5a97 8fab4393 ed2615fe
    000005d4";
