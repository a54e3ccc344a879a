//! RFC 3711 appendix B.

use srtp::{PacketIndex, Policy, Profile, Receiver, Sender, SessionKeys, Weakness, Weaknesses};

use crate::{Derivation, HEADER_LEN, Keystream, hex, on_backends, unused, with_tailroom};

/// B.1 has a salt of 4 bytes where the suite has 14. The mask continues a short salt with 0x55,
/// so the salt continued by hand is the same mask.
#[test]
fn b1_f8() {
    let key = hex("234829008467be186c3de14aae72d62c");
    let salt = hex("32f2870d 55555555555555555555");
    let header = hex("806e5cba50681de55c621599");
    let payload = hex("70736575646f72616e646f6d6e657373 20697320746865206e65787420626573
                       74207468696e67");
    let ciphertext = hex("019ce7a26e7854014a6366aa95d4eefd 1ad4172a14f9faf455b7f1d4b62bd08f
                          562c0eef7c4802");
    let plain = [header, payload].concat();
    for profile in [Profile::F8_128HmacSha1_80, Profile::F8_128HmacSha1_32] {
        for (_, policy) in on_backends(profile) {
            let policy = Policy { accepted: Weaknesses::NONE.with(Weakness::F8), ..policy };
            let keys = SessionKeys::from_parts(profile, &key, &[0; 20], &salt).expect("lengths");
            let mut sender =
                Sender::from_session_keys(&keys, unused(profile), &policy).expect("suitable");
            let before = PacketIndex::new(0xd462_564a, 0x5cb9);
            sender.resume(0x5c62_1599, before).expect("there is room");
            let mut packet = with_tailroom(&plain);
            let sealed = sender.protect_rtp(&mut packet, plain.len()).expect("protects");
            assert_eq!(packet[HEADER_LEN..plain.len()], ciphertext, "{profile}");

            let mut receiver =
                Receiver::from_session_keys(&keys, unused(profile), &policy).expect("suitable");
            receiver.expect(0x5c62_1599, before);
            let opened = receiver.open_rtp(&mut packet[..sealed.len]).expect("opens");
            assert_eq!(packet[..opened.len], plain, "{profile}");
        }
    }
}

#[test]
fn b2_counter_mode() {
    Keystream {
        profiles: [Profile::AesCm128HmacSha1_80, Profile::AesCm128HmacSha1_32],
        key: "2B7E151628AED2A6ABF7158809CF4F3C",
        first: "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
                41E95B3BB0A2E8DD477901E4FCA894C0",
        last: "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE
               6A2CC3787889374FBEB4C81B17BA6C44",
    }
    .check();
}

#[test]
fn b3_key_derivation() {
    for profiles in [
        [Profile::AesCm128HmacSha1_80, Profile::AesCm128HmacSha1_32],
        [Profile::F8_128HmacSha1_80, Profile::F8_128HmacSha1_32],
        [Profile::NullHmacSha1_80, Profile::NullHmacSha1_32],
    ] {
        Derivation {
            profiles,
            master_key: "E1F97A0D3E018BE0D64FA32C06DE4139",
            master_salt: "0EC675AD498AFEEBB6960B3AABE6",
            cipher_key: "C61E7A93744F39EE10734AFE3FF7A087",
            salt: "30CBBC08863D8C85D49DB34A9AE1",
            auth_key: "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4",
        }
        .check();
    }
}
