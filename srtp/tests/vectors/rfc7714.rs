//! RFC 7714 sections 16 and 17. The tags of SRTCP in the clear (17.3 and 17.4) are made and
//! checked beside the transforms; here such packets are refused, as nobody agreed to them.

use srtp::{Malformed, PacketIndex, PacketKind, Profile, Receiver, Sender, SessionKeys};

use crate::{hex, on_backends, unused, with_tailroom};

/// Sections 16.1 and 16.2: SRTP, encryption and decryption.
#[test]
fn section_16_srtp() {
    for_each(PacketKind::Rtp, RTP, |mut sender, mut receiver, protected| {
        let plain = hex(RTP_PLAIN);
        let mut buffer = with_tailroom(&plain);
        let sealed = sender.protect_rtp(&mut buffer, plain.len()).expect("protects");
        assert_eq!(buffer[..sealed.len], protected);
        assert_eq!(sealed.index, PacketIndex::new(0, 0xf17b));

        let opened = receiver.open_rtp(&mut buffer[..sealed.len]).expect("opens");
        assert_eq!(buffer[..opened.len], plain);
    });
}

/// Sections 17.1 and 17.2: SRTCP, index 0x5d4, which the sender reaches by counting.
#[test]
fn section_17_srtcp() {
    for_each(PacketKind::Rtcp, RTCP, |mut sender, mut receiver, mut protected| {
        let plain = hex(RTCP_PLAIN);
        let mut buffer = with_tailroom(&plain);
        for _ in 0..0x5d4 {
            buffer[..plain.len()].copy_from_slice(&plain);
            sender.protect_rtcp(&mut buffer, plain.len()).expect("protects");
        }
        buffer[..plain.len()].copy_from_slice(&plain);
        let sealed = sender.protect_rtcp(&mut buffer, plain.len()).expect("protects");
        assert_eq!(buffer[..sealed.len], protected);
        assert_eq!(sealed.index, 0x5d4);

        let opened = receiver.open_rtcp(&mut protected).expect("opens");
        assert_eq!((opened.index, opened.ssrc), (0x5d4, 0x4d61_7273));
        assert_eq!(protected[..opened.len], plain);
    });
}

/// Sections 17.3 and 17.4: authentic, but E = 0, which nobody agreed to.
#[test]
fn section_17_unencrypted_srtcp_is_refused() {
    for_each(PacketKind::Rtcp, RTCP_CLEAR, |_, mut receiver, mut protected| {
        let opened = receiver.open_rtcp(&mut protected);
        assert_eq!(opened, Err(Malformed::EncryptionFlag.into()));
    });
}

/// Each profile's case with a fresh session on each backend.
fn for_each(
    kind: PacketKind,
    cases: [(Profile, &str); 2],
    check: impl Fn(Sender, Receiver, Vec<u8>),
) {
    for (profile, protected) in cases {
        let key: Vec<u8> = (0..profile.key_len() as u8).collect();
        let keys = |of| match of == kind {
            true => SessionKeys::from_parts(profile, &key, &[], b"Quid pro quo").expect("lengths"),
            false => unused(profile),
        };
        for (_, policy) in on_backends(profile) {
            let (rtp, rtcp) = (keys(PacketKind::Rtp), keys(PacketKind::Rtcp));
            let sender = Sender::from_session_keys(&rtp, rtcp, &policy).expect("suitable");
            let rtcp = keys(PacketKind::Rtcp);
            let receiver = Receiver::from_session_keys(&rtp, rtcp, &policy).expect("suitable");
            println!("{profile} on {}", policy.backend);
            check(sender, receiver, hex(protected));
        }
    }
}

const RTP: [(Profile, &str); 2] =
    [(Profile::AeadAes128Gcm, RTP_128), (Profile::AeadAes256Gcm, RTP_256)];
const RTCP: [(Profile, &str); 2] =
    [(Profile::AeadAes128Gcm, RTCP_128), (Profile::AeadAes256Gcm, RTCP_256)];
const RTCP_CLEAR: [(Profile, &str); 2] =
    [(Profile::AeadAes128Gcm, RTCP_128_CLEAR), (Profile::AeadAes256Gcm, RTCP_256_CLEAR)];

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
