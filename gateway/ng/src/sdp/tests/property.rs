//! Whatever arrives: no panic, and what we write is what we would read and write again.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::sdp::{Fragment, SessionRewrite};

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
        "a=candidate:1 1 UDP 1 192.0.2.1 4000 typ host",
        "a=candidate:2 2 udp 1 2001:db8::1 4000 typ relay raddr 192.0.2.1 rport 1",
        "a=remote-candidates:1 192.0.2.1 4000",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789012345678901",
        "a=ice-options:trickle",
        "a=end-of-candidates",
        "a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB",
        "a=tls-id:0123456789abcdef0123",
        "a=bundle-only",
        "a=rtcp-mux-only",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid",
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
            bundle_only: true,
            dtls: Some(golden::our_dtls()),
            ice: Some(golden::our_ice()),
            ..plain("[2001:db8::1]:30000")
        }),
    };
    kinds.iter().map(rewrite).collect()
}

/// Of `own`, whether `text` has a line that isn't among `ours`.
fn has_foreign(text: &str, own: &[&str], ours: &str) -> bool {
    text.lines().any(|line| own.iter().any(|name| line.starts_with(name)) && !ours.contains(line))
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
    fn never_panics_on_almost_candidates_and_fingerprints(
        candidate in "[0-9]{1,3} [12] (udp|tcp) [0-9]{0,11} [ -~]{0,20} [0-9]{1,6} typ host( raddr [ -~]{0,9})?",
        fingerprint in "sha-(1|256) [0-9A-F:]{0,100}",
    ) {
        let lines = [format!("a=candidate:{candidate}"), format!("a=fingerprint:{fingerprint}")];
        let lines = ["v=0", "m=audio 0 RTP/AVP 0", &lines[0], &lines[1]];
        prop_assert!(Sdp::parse(&body(&lines)).is_ok());
        let _ = Fragment::parse(&body(&lines[1..]));
    }

    #[test]
    fn relayed_sections_have_no_dtls_ice_or_bundle_but_ours(text in text(), kinds in vec(2u8..4, 64)) {
        let Ok(sdp) = Sdp::parse(&text) else { return Ok(()) };
        let written = sdp.rewrite(&SessionRewrite::default(), &rewrites(&kinds));
        let template = parse(&["v=0", "c=IN IP4 192.0.2.1", "m=audio 1 RTP/AVP 0"]);
        let ours = template.rewrite(&SessionRewrite::default(), &rewrites(&[3]));
        let own = ["a=setup", "a=fingerprint", "a=tls-id", "a=ice-", "a=candidate", "a=remote-c",
            "a=end-of", "a=group:BUNDLE"];
        let (written, ours) = (String::from_utf8_lossy(&written), String::from_utf8_lossy(&ours));
        prop_assert!(!has_foreign(&written, &own, &ours), "{written}");
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
