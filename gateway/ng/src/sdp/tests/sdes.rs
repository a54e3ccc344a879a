//! `a=crypto` as peers write it.

use base64::Engine;
use bytes::BytesMut;
use srtp::{Lifetimes, MAX_KEYS, Mki, Profile, SessionParameters};

use super::*;

const KEY_30: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const KEY_28: &str = "c3RhcnQgb2YgYSBrZXktMTYgc2FsdDEyYnl0ZQ";

fn printed(crypto: &CryptoAttribute, padding: KeyPadding) -> String {
    let mut out = BytesMut::new();
    crypto.print(padding, &mut out);
    String::from_utf8(out.to_vec()).expect("text")
}

#[test]
fn every_suite_is_read_and_written_back() {
    for profile in Profile::ALL {
        let bytes: Vec<u8> = (1..).take(profile.key_len() + profile.salt_len()).collect();
        let key = base64::prelude::BASE64_STANDARD_NO_PAD.encode(bytes);
        let value = format!("7 {profile} inline:{key}");
        let read = crypto(&value).expect("a usable line");
        assert_eq!((read.tag, read.profile()), (7, profile));
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
    assert_eq!(read.profile(), Profile::AesCm128HmacSha1_32);
}

#[test]
fn lifetime_mki_and_parameters_survive() {
    let value =
        format!("2 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|2^20|1066:4 UNENCRYPTED_SRTCP KDR=1");
    let read = crypto(&value).expect("a usable line");
    assert_eq!(read.key.lifetimes, Lifetimes::from_sdes(1 << 20).ok());
    assert_eq!(read.key.mki.as_bytes(), [0, 0, 4, 42]);
    assert!(read.session.unencrypted_rtcp && !read.session.unencrypted_rtp);
    assert_eq!(read.parameters, ["KDR=1"]);
    assert_eq!(printed(&read, KeyPadding::Omit), format!("a=crypto:{value}"));
}

#[test]
fn session_parameters_are_read_in_any_case_and_order_and_written_in_one() {
    let line = |names: &str| format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30} {names}");
    let read = crypto(&line("WSH=128 unauthenticated_srtp UNENCRYPTED_SRTCP Unencrypted_SRTP"))
        .expect("usable");
    let all = SessionParameters {
        unencrypted_rtp: true,
        unencrypted_rtcp: true,
        unauthenticated_rtp: true,
    };
    assert_eq!(read.session, all);
    let written = line("UNENCRYPTED_SRTP UNENCRYPTED_SRTCP UNAUTHENTICATED_SRTP WSH=128");
    assert_eq!(printed(&read, KeyPadding::Omit), format!("a=crypto:{written}"));
}

#[test]
fn a_decimal_lifetime_and_an_mki_without_lifetime_are_read() {
    let key = |info: &str| {
        crypto(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}{info}")).expect("usable").key
    };
    assert_eq!(key("|1000").lifetimes, Lifetimes::from_sdes(1000).ok());
    assert_eq!(key("|2^48").lifetimes, Some(Lifetimes::MAX));
    assert_eq!((key("").lifetimes, key("").mki), (None, Mki::none()));
    for info in ["|1:1", "||1:1"] {
        assert_eq!((key(info).lifetimes, key(info).mki.as_bytes()), (None, &[1][..]), "{info}");
    }
}

#[test]
fn every_key_of_a_line_is_read_and_written_back() {
    let value = format!(
        "1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_30}|2^20|1:2;inline:{KEY_30}|2:2;\
         inline:{KEY_30}|1000|65535:2 FEC_ORDER=FEC_SRTP"
    );
    let read = crypto(&value).expect("a usable line");
    let mkis: Vec<&[u8]> = read.keys().map(|key| key.mki.as_bytes()).collect();
    assert_eq!(mkis, [[0, 1], [0, 2], [255, 255]]);
    let lifetimes: Vec<_> = read.keys().map(|key| key.lifetimes.map(Lifetimes::rtp)).collect();
    assert_eq!(lifetimes, [Some(1 << 20), None, Some(1000)]);
    assert_eq!(printed(&read, KeyPadding::Omit), format!("a=crypto:{value}"));
    assert_eq!(read.dangerous_duplicate(), read);
}

#[test]
fn a_line_has_as_many_keys_as_a_direction_takes_and_no_more() {
    let line = |count: usize| {
        let keys: Vec<_> = (0..count).map(|mki| format!("inline:{KEY_30}|{mki}:1")).collect();
        crypto(&format!("1 AES_CM_128_HMAC_SHA1_80 {}", keys.join(";")))
    };
    assert_eq!(line(MAX_KEYS).map(|read| read.keys().count()), Some(MAX_KEYS));
    assert_eq!(line(MAX_KEYS + 1), None);
}

#[test]
fn several_keys_that_packets_could_not_tell_apart_make_a_line_unusable() {
    for (first, second) in
        [("", ""), ("|1:1", ""), ("", "|1:1"), ("|1:1", "|1:1"), ("|1:1", "|2:2")]
    {
        let keys = format!("inline:{KEY_30}{first};inline:{KEY_30}{second}");
        assert_eq!(crypto(&format!("1 AES_CM_128_HMAC_SHA1_80 {keys}")), None, "{keys}");
    }
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
        format!("1 AES_CM_512_HMAC_SHA1_80 {good}"),
        format!("1 {suite} inline:{KEY_28}"),
        format!("1 {suite} inline:{KEY_30}AAAA"),
        format!("1 {suite} inline:{}", "A".repeat(1000)),
        format!("1 {suite} inline:!{}", &KEY_30[1..]),
        format!("1 {suite} uri:{KEY_30}"),
        format!("1 {suite} {good}|0"),
        format!("1 {suite} {good}|2^49"),
        format!("1 {suite} {good}|2^64"),
        format!("1 {suite} {good}|2^999999999999"),
        format!("1 {suite} {good}|281474976710657"),
        format!("1 {suite} {good}|2^20|2^20"),
        format!("1 {suite} {good}|256:1"),
        format!("1 {suite} {good}|1:0"),
        format!("1 {suite} {good}|1:129"),
        format!("1 {suite} {good}|1:1|1:1"),
        format!("1 {suite} {good}|1:1;"),
        format!("1 {suite} {good}|1:1;inline:AAAA|2:1"),
        format!("1 {suite} {good}|1:1;inline:{KEY_30}|0|2:1"),
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
