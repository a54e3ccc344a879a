//! Whatever arrives: no panic, and what we write is what we would read and write again.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::sdp::SessionRewrite;

/// Lines that mean something, to get further than arbitrary bytes do.
fn line() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "o=a 1 1 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 0.0.0.0",
        "c=IN IP6 2001:db8::1",
        "t=0 0",
        "b=AS:64",
        "i=x",
        "k=clear:x",
        "a=sendonly",
        "a=mid:1",
        "a=mid:",
        "a=label:1",
        "a=rtpmap:0 X/8000",
        "a=fmtp:96 x=y",
        "a=rtcp-fb:* nack",
        "a=rtcp-fb:96 nack",
        "a=rtcp:9",
        "a=rtcp-mux",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:1",
        "a=setup:active",
        "a=ice-lite",
        "a=candidate:1",
        "a=group:BUNDLE 1",
        "a=ptime:20",
        "m=audio 4000 RTP/AVP 0 96 0",
        "m=video 4002/2 UDP/TLS/RTP/SAVPF 96 97",
        "m=audio 0 RTP/SAVP 0",
        "m=image 4004 udptl t38",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[a-z]=[ -~]{0,20}"]
}

fn text() -> impl Strategy<Value = Bytes> {
    vec(line(), 0..30).prop_map(|lines| {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        body(&[&["v=0", "c=IN IP4 192.0.2.1"], &lines[..]].concat())
    })
}

fn rewrites(kinds: &[u8]) -> Vec<MediaRewrite> {
    let rewrite = |kind: &u8| match kind {
        0 => MediaRewrite::Reject { protocol: None },
        1 => MediaRewrite::PassThrough,
        2 => relay(plain("198.51.100.1:30000")),
        _ => relay(LocalMedia {
            protocol: Protocol::UdpTlsRtpSavpf,
            rtcp_mux: true,
            keep_zero_address: true,
            generate_mid: Some(Bytes::from_static(b"m")),
            ..plain("[2001:db8::1]:30000")
        }),
    };
    kinds.iter().map(rewrite).collect()
}

proptest! {
    #[test]
    fn never_panics_on_arbitrary_bytes(bytes in vec(any::<u8>(), 0..2000)) {
        if let Ok(sdp) = Sdp::parse(&Bytes::from(bytes)) {
            sdp.rewrite(&SessionRewrite::default(), &rewrites(&[2, 1]));
        }
    }

    #[test]
    fn never_panics_on_arbitrary_crypto_values(value in "[0-9]{0,10} ?[A-Z_0-9]{0,9} ?(inline:)?[ -~]{0,70}") {
        crypto(&value);
    }

    #[test]
    fn what_is_written_reads_back_and_writes_the_same(text in text(), kinds in vec(0u8..4, 0..8)) {
        let Ok(sdp) = Sdp::parse(&text) else { return Ok(()) };
        let (session, media) = (SessionRewrite::default(), rewrites(&kinds));
        let written = sdp.rewrite(&session, &media);
        let again = Sdp::parse(&written);
        prop_assert!(again.is_ok(), "{again:?} of {written:?}");
        prop_assert_eq!(again.map(|sdp| sdp.rewrite(&session, &media)), Ok(written));
    }

    #[test]
    fn relayed_bodies_never_show_the_party_address(text in text()) {
        let Ok(sdp) = Sdp::parse(&text) else { return Ok(()) };
        let session = SessionRewrite {
            origin_address: Some("198.51.100.1".parse().expect("address")),
            ..SessionRewrite::default()
        };
        let kinds = vec![2; sdp.media.len()];
        let written = sdp.rewrite(&session, &rewrites(&kinds));
        let written = String::from_utf8_lossy(&written);
        prop_assert!(!written.contains("192.0.2.1") && !written.contains("2001:db8::1"));
    }
}
