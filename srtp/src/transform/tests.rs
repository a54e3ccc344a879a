//! What the transforms do that no `Sender` or `Receiver` can be asked for alone: session
//! parameters, and HMAC-SHA1 over messages that are not packets. All of it on every backend.

use super::*;

const SSRC: u32 = 0x4d61_7273;

/// RFC 7714 sections 17.3 and 17.4: SRTCP that is authentic and in the clear.
#[test]
fn gcm_without_encryption_gives_the_tags_of_rfc_7714() {
    let plain = hex("81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61
                     deadbeefdeadbeefdeadbeefdeadbeefdeadbeef");
    for (profile, tag) in [
        (Profile::AeadAes128Gcm, "841dd9683dd78ec92ae58790125f62b3"),
        (Profile::AeadAes256Gcm, "91db4afbfeee5a978fab4393ed2615fe"),
    ] {
        let key: Vec<u8> = (0..profile.key_len() as u8).collect();
        let keys = SessionKeys::from_parts(profile, &key, &[], b"Quid pro quo").expect("lengths");
        let id = PacketId::rtcp(SSRC, 0x5d4);
        for cipher in ciphers(&keys, PacketKind::Rtcp, clear()) {
            let (sealed, made) = seal(&cipher, id, &plain, 16);
            assert_eq!((sealed, made), (plain.clone(), hex(tag)), "{profile}");
            assert_eq!(open(&cipher, id, &plain, &hex(tag)), Ok(plain.clone()));
            assert_tampering_is_refused(&cipher, id, &plain, &hex(tag));
        }
    }
}

/// The tag is the only thing that differs from the packet in the clear, and it is the NULL
/// cipher's: the same keys authenticate the same bytes.
#[test]
fn left_out_encryption_is_the_null_cipher_under_the_same_keys() {
    let plain = packet();
    for profile in Profile::ALL.into_iter().filter(|profile| !profile.is_aead()) {
        let null = if profile.rtp_overhead() == 4 {
            Profile::NullHmacSha1_32
        } else {
            Profile::NullHmacSha1_80
        };
        for kind in [PacketKind::Rtp, PacketKind::Rtcp] {
            let id = match kind {
                PacketKind::Rtp => PacketId::rtp(SSRC, PacketIndex::new(7, 0x1234)),
                PacketKind::Rtcp => PacketId::rtcp(SSRC, 5),
            };
            let tag_len = profile.tag_len(kind);
            let without = ciphers(&keys(profile), kind, clear());
            let null = ciphers(&keys(null), kind, SessionParameters::default());
            for (without, null) in without.iter().zip(null) {
                let (sealed, tag) = seal(without, id, &plain, tag_len);
                assert_eq!(sealed, plain, "{profile} {kind:?}");
                assert_eq!(seal(&null, id, &plain, tag_len), (sealed, tag.clone()));
                assert_tampering_is_refused(without, id, &plain, &tag);
            }
        }
    }
}

#[test]
fn left_out_authentication_leaves_the_ciphertext_as_it_is_and_srtcp_its_tag() {
    let parameters = SessionParameters { unauthenticated_rtp: true, ..Default::default() };
    let (plain, id) = (packet(), PacketId::rtp(SSRC, PacketIndex::new(7, 0x1234)));
    for profile in Profile::ALL.into_iter().filter(|profile| !profile.is_aead()) {
        let trailer = |kind| Trailer::new(profile, kind, 3, parameters);
        let (rtp, rtcp) = (trailer(PacketKind::Rtp), trailer(PacketKind::Rtcp));
        assert_eq!((rtp.tag_len, rtp.mki, rtp.len), (0, 0, 3), "{profile}");
        assert_eq!((rtcp.tag_len, rtcp.mki, rtcp.tag, rtcp.len), (10, 4, 7, 17), "{profile}");

        let with = ciphers(&keys(profile), PacketKind::Rtp, SessionParameters::default());
        let without = ciphers(&keys(profile), PacketKind::Rtp, parameters);
        for (with, without) in with.iter().zip(without) {
            let (sealed, _) = seal(with, id, &plain, profile.rtp_overhead());
            assert_eq!(seal(&without, id, &plain, 0), (sealed.clone(), Vec::new()), "{profile}");
            assert_eq!(open(&without, id, &sealed, &[]), Ok(plain.clone()), "{profile}");
        }
    }
}

#[test]
fn the_e_flag_is_as_agreed_and_either_under_the_null_cipher() {
    for profile in Profile::ALL {
        let null = profile.weakness() == Some(crate::Weakness::NullCipher);
        for (parameters, flag) in [(SessionParameters::default(), ENCRYPTED_FLAG), (clear(), 0)] {
            let trailer = Trailer::new(profile, PacketKind::Rtcp, 0, parameters);
            assert_eq!(trailer.flag, if null { 0 } else { flag }, "{profile}");
            assert!(trailer.takes(flag | 9));
            assert_eq!(trailer.takes(flag ^ ENCRYPTED_FLAG | 9), null, "{profile}");
        }
    }
}

/// RFC 2202 section 3, whose keys of up to 20 bytes are padded with zeros as HMAC does itself.
#[test]
fn hmac_sha1_gives_the_tags_of_rfc_2202() {
    for (key, message, digest) in [
        (vec![0x0b; 20], b"Hi There".to_vec(), "b617318655057264e28bc0b6fb378c8ef146be00"),
        (
            b"Jefe".to_vec(),
            b"what do ya want for nothing?".to_vec(),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
        ),
        (vec![0xaa; 20], vec![0xdd; 50], "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
        (
            vec![0x0c; 20],
            b"Test With Truncation".to_vec(),
            "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04",
        ),
    ] {
        assert!(authenticates(&key, &message, &hex(digest)));
    }
}

/// Wycheproof's HMAC-SHA1 with whole and half tags, every message that reaches over the four
/// bytes which a transform appends.
#[test]
fn hmac_sha1_judges_as_wycheproof_does() {
    use wycheproof::mac::{TestName, TestSet};

    let set = TestSet::load(TestName::HmacSha1).expect("vectors");
    let groups = set.test_groups.iter().filter(|group| group.key_size <= 160);
    let mut judged = [0, 0];
    for test in groups.flat_map(|group| &group.tests).filter(|test| test.msg.len() >= 4) {
        let genuine = authenticates(&test.key, &test.msg, &test.tag);
        assert_eq!(genuine, !test.result.must_fail(), "test {}: {}", test.tc_id, test.comment);
        judged[usize::from(genuine)] += 1;
    }
    assert!(judged[0] > 50 && judged[1] > 20, "forged and genuine: {judged:?}");
}

/// Wycheproof's AES-GCM with the lengths that RFC 7714 has: the salt is the whole nonce where
/// SSRC and index are zero.
#[test]
fn gcm_judges_as_wycheproof_does() {
    use wycheproof::aead::{TestName, TestSet};

    let set = TestSet::load(TestName::AesGcm).expect("vectors");
    let groups = set.test_groups.iter().filter(|group| {
        matches!(group.key_size, 128 | 256) && group.nonce_size == 96 && group.tag_size == 128
    });
    let (mut judged, id) = ([0, 0], PacketId::rtp(0, PacketIndex::new(0, 0)));
    for test in groups.flat_map(|group| &group.tests) {
        let profile = match test.key.len() {
            16 => Profile::AeadAes128Gcm,
            _ => Profile::AeadAes256Gcm,
        };
        let keys = SessionKeys::from_parts(profile, &test.key, &[], &test.nonce).expect("lengths");
        let message = |body: &[u8]| [&test.aad[..], body].concat();
        for cipher in ciphers(&keys, PacketKind::Rtp, SessionParameters::default()) {
            with_transform!(&cipher, transform => {
                let mut data = message(&test.ct);
                let opened = transform.open(id, &mut data, test.aad.len(), &test.tag);
                let genuine = opened.is_ok();
                assert_eq!(genuine, !test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
                judged[usize::from(genuine)] += 1;
                if genuine {
                    assert_eq!(data, message(&test.pt), "test {}", test.tc_id);
                    let mut tag = [0; 16];
                    transform.seal(id, &mut data, test.aad.len(), &mut tag);
                    assert_eq!((data, &tag[..]), (message(&test.ct), &test.tag[..]));
                }
            });
        }
    }
    assert!(judged[0] > 30 && judged[1] > 60, "forged and genuine: {judged:?}");
}

/// Whether the transform takes `tag` for `message`, whose last four bytes stand in for the ROC.
/// Of a longer tag it sees the 10 bytes that it would have sent; the rest is compared here.
fn authenticates(key: &[u8], message: &[u8], tag: &[u8]) -> bool {
    let mut auth = [0; 20];
    auth[..key.len()].copy_from_slice(key);
    let profile = Profile::NullHmacSha1_80;
    let keys = SessionKeys::from_parts(profile, &[0; 16], &auth, &[0; 14]).expect("lengths");
    let (message, word) = message.split_last_chunk().expect("four bytes");
    let id = PacketId::rtp(0, PacketIndex::new(u32::from_be_bytes(*word), 0));
    let (sent, rest) = tag.split_at(10);
    let opens: Vec<bool> = ciphers(&keys, PacketKind::Rtp, SessionParameters::default())
        .iter()
        .map(|cipher| open(cipher, id, message, sent).is_ok())
        .collect();
    assert!(opens.iter().all(|other| *other == opens[0]), "the backends disagree");
    opens[0] && HmacSha1::new(&auth).mac(message, *word)[10..].starts_with(rest)
}

/// A cipher for each backend that this CPU has.
fn ciphers(keys: &SessionKeys, kind: PacketKind, parameters: SessionParameters) -> Vec<Cipher> {
    let cipher = |&backend| Cipher::new(keys, kind, parameters, backend);
    Backend::available().iter().map(cipher).collect()
}

fn clear() -> SessionParameters {
    SessionParameters { unencrypted_rtp: true, unencrypted_rtcp: true, ..Default::default() }
}

fn keys(profile: Profile) -> SessionKeys {
    let cipher = vec![3; profile.key_len()];
    SessionKeys::from_parts(profile, &cipher, &[4; 20], &[5; 14]).expect("lengths")
}

/// A plain packet that would do for RTP and RTCP.
fn packet() -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0x12, 0x34, 0, 0, 0, 1];
    packet.extend(SSRC.to_be_bytes());
    packet.extend(0..100);
    packet
}

fn seal(cipher: &Cipher, id: PacketId, plain: &[u8], tag_len: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut message, mut tag) = (plain.to_vec(), vec![0; tag_len]);
    let header_len = header_len(id);
    SealJob { cipher, id, message: &mut message, header_len, csrc_len: 0, tag: &mut tag }.seal();
    (message, tag)
}

fn open(cipher: &Cipher, id: PacketId, sealed: &[u8], tag: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut message = sealed.to_vec();
    let (header_len, outcome) = (header_len(id).min(sealed.len()), Ok(()));
    OpenJob { cipher, id, message: &mut message, header_len, csrc_len: 0, tag, outcome }.open()?;
    Ok(message)
}

fn assert_tampering_is_refused(cipher: &Cipher, id: PacketId, sealed: &[u8], tag: &[u8]) {
    let refused = Err(Refusal::AuthenticationFailed);
    for at in 0..sealed.len() {
        let mut sealed = sealed.to_vec();
        sealed[at] ^= 1;
        assert_eq!(open(cipher, id, &sealed, tag), refused);
    }
    for at in 0..tag.len() {
        let mut tag = tag.to_vec();
        tag[at] ^= 0x80;
        assert_eq!(open(cipher, id, sealed, &tag), refused);
    }
    let other_flag = PacketId { flag: id.flag ^ ENCRYPTED_FLAG, ..id };
    if id.kind == PacketKind::Rtcp {
        assert_eq!(open(cipher, other_flag, sealed, tag), refused);
    }
}

fn header_len(id: PacketId) -> usize {
    match id.kind {
        PacketKind::Rtp => crate::rtp::FIXED_LEN,
        PacketKind::Rtcp => crate::rtcp::FIXED_LEN,
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}
