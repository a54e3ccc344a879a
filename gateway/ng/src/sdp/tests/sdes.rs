//! `a=crypto` as peers write it.

use bytes::BytesMut;
use srtp::Profile;

use super::*;
use crate::sdp::Mki;

const KEY_30: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const KEY_28: &str = "c3RhcnQgb2YgYSBrZXktMTYgc2FsdDEyYnl0ZQ";
const KEY_44: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKyw";

fn printed(crypto: &CryptoAttribute, padding: KeyPadding) -> String {
    let mut out = BytesMut::new();
    crypto.print(padding, &mut out);
    String::from_utf8(out.to_vec()).expect("text")
}

#[test]
fn every_suite_is_read_and_written_back() {
    let keys = [(Profile::AeadAes256Gcm, KEY_44), (Profile::AeadAes128Gcm, KEY_28)];
    let counter = [Profile::AesCm128HmacSha1_80, Profile::AesCm128HmacSha1_32];
    for (profile, key) in keys.into_iter().chain(counter.map(|profile| (profile, KEY_30))) {
        let value = format!("7 {profile} inline:{key}");
        let read = crypto(&value).expect("a usable line");
        assert_eq!((read.tag, read.key.profile()), (7, profile));
        assert_eq!(printed(&read, KeyPadding::Omit), format!("a=crypto:{value}"));
    }
}

#[test]
fn padding_makes_no_difference_when_read_and_is_written_when_asked_for() {
    let padded = format!("1 AEAD_AES_128_GCM inline:{KEY_28}==");
    let bare = format!("1 AEAD_AES_128_GCM inline:{KEY_28}");
    assert_eq!(crypto(&padded), crypto(&bare));
    let read = crypto(&bare).expect("a usable line");
    assert_eq!(printed(&read, KeyPadding::Write), format!("a=crypto:{padded}"));
    let whole = crypto(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}")).expect("usable");
    assert!(printed(&whole, KeyPadding::Write).ends_with(KEY_30));
}

#[test]
fn suite_and_method_are_read_in_any_case() {
    let read = crypto(&format!("1 aes_cm_128_hmac_sha1_32 INLINE:{KEY_30}")).expect("usable");
    assert_eq!(read.key.profile(), Profile::AesCm128HmacSha1_32);
}

#[test]
fn lifetime_mki_and_parameters_survive() {
    let value =
        format!("2 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|2^20|1066:4 KDR=1 UNENCRYPTED_SRTCP");
    let read = crypto(&value).expect("a usable line");
    assert_eq!(read.lifetime, Some(1 << 20));
    assert_eq!(read.mki, Some(Mki { value: 1066, len: 4 }));
    assert_eq!(read.mki.map(Mki::to_packet_bytes), Some(vec![0, 0, 4, 42]));
    assert_eq!(read.parameters, ["KDR=1", "UNENCRYPTED_SRTCP"]);
    assert_eq!(printed(&read, KeyPadding::Omit), format!("a=crypto:{value}"));
}

#[test]
fn a_decimal_lifetime_and_an_mki_without_lifetime_are_read() {
    let read = |info: &str| crypto(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}{info}"));
    assert_eq!(read("|1000").and_then(|read| read.lifetime), Some(1000));
    assert_eq!(read("|1:1").and_then(|read| read.mki), Some(Mki { value: 1, len: 1 }));
    assert_eq!(read("||1:1").and_then(|read| read.mki), Some(Mki { value: 1, len: 1 }));
}

#[test]
fn an_mki_longer_than_its_value_is_padded_in_front() {
    let mki = Mki { value: 1, len: 20 };
    assert_eq!(mki.to_packet_bytes(), [[0; 19].as_slice(), &[1]].concat());
}

#[test]
fn the_first_of_several_keys_is_taken() {
    let two = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|1:1;inline:AAAA|2:1");
    let read = crypto(&two).expect("a usable line");
    assert_eq!(read.mki, Some(Mki { value: 1, len: 1 }));
    assert_eq!(
        read.key,
        crypto(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}")).expect("usable").key
    );
}

#[test]
fn a_line_we_cannot_use_is_as_if_it_were_not_there() {
    let suite = "AES_CM_128_HMAC_SHA1_80";
    let good = format!("inline:{KEY_30}");
    for bad in [
        String::new(),
        format!("1 {suite}"),
        format!("x {suite} {good}"),
        format!("+1 {suite} {good}"),
        format!("1234567890 {suite} {good}"),
        format!("1 F8_128_HMAC_SHA1_80 {good}"),
        format!("1 {suite} inline:{KEY_28}"),
        format!("1 {suite} inline:{KEY_30}AAAA"),
        format!("1 {suite} inline:{}", "A".repeat(1000)),
        format!("1 {suite} inline:!{}", &KEY_30[1..]),
        format!("1 {suite} uri:{KEY_30}"),
        format!("1 {suite} {good}|0"),
        format!("1 {suite} {good}|2^49"),
        format!("1 {suite} {good}|2^999999999999"),
        format!("1 {suite} {good}|2^20|2^20"),
        format!("1 {suite} {good}|256:1"),
        format!("1 {suite} {good}|1:0"),
        format!("1 {suite} {good}|1:129"),
        format!("1 {suite} {good}|1:1|1:1"),
    ] {
        assert_eq!(crypto(&bad), None, "{bad}");
    }
}

#[test]
fn nothing_of_a_key_is_shown_by_debug() {
    let sdp = parse(&[
        "v=0",
        "k=clear:c2VjcmV0",
        "m=audio 4000 RTP/SAVP 0",
        "c=IN IP4 192.0.2.1",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj FEC_KEY=inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
        "a=key-mgmt:mikey AQAFgM0XflABAAAAAAAAAAAAAAsAyO",
    ]);
    assert_eq!(sdp.media[0].crypto.len(), 1);
    let shown = format!("{sdp:?}");
    for secret in ["d0Rm", "c2Vj", "AQAF"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
