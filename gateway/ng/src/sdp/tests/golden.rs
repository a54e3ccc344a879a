//! Whole bodies in and out, line for line.

use super::*;
use crate::sdp::{
    Bundle, Candidate, Fingerprint, HashFunction, IceCredentials, IceOptions, LocalDtls, LocalIce,
    RemoteCandidate, SessionRewrite, Setup,
};

fn rewrite(sdp: &Sdp, media: Vec<MediaRewrite>) -> Bytes {
    sdp.rewrite(&SessionRewrite::default(), &media)
}

#[test]
fn plain_audio_gets_our_address_and_no_session_level_connection() {
    let sdp = parse(&[
        "v=0",
        "o=alice 2890844526 2890844526 IN IP4 192.0.2.10",
        "s=call",
        "i=about",
        "u=http://example.org/",
        "e=alice@example.org",
        "p=+1 617 555-6011",
        "c=IN IP4 192.0.2.10",
        "b=AS:84",
        "t=0 0",
        "a=tool:phone",
        "a=recvonly",
        "m=audio 49170/2 RTP/AVP 0 8 101",
        "a=ptime:20",
        "a=rtpmap:101 telephone-event/8000",
        "a=silenceSupp:off - - - -",
        "a=maxptime:40",
        "a=fmtp:101 0-16",
        "a=label:7",
        "b=AS:64",
        "i=voice",
    ]);
    assert_eq!(sdp.media[0].direction, Direction::RecvOnly);
    assert_lines(
        &rewrite(&sdp, vec![relay(plain("198.51.100.1:30000"))]),
        &[
            "v=0",
            "o=alice 2890844526 2890844526 IN IP4 192.0.2.10",
            "s=call",
            "i=about",
            "u=http://example.org/",
            "e=alice@example.org",
            "p=+1 617 555-6011",
            "b=AS:84",
            "t=0 0",
            "a=tool:phone",
            "m=audio 30000 RTP/AVP 0 8 101",
            "i=voice",
            "c=IN IP4 198.51.100.1",
            "b=AS:64",
            "a=label:7",
            "a=rtpmap:0 PCMU/8000",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-16",
            "a=silenceSupp:off - - - -",
            "a=sendrecv",
            "a=rtcp:30001",
            "a=ptime:20",
            "a=maxptime:40",
        ],
    );
}

#[test]
fn srtp_with_all_suites_becomes_plain_without_crypto() {
    let sdp = with_session(&[
        "m=audio 49170 RTP/SAVP 0",
        "a=crypto:1 AEAD_AES_256_GCM inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKyw",
        "a=crypto:2 AEAD_AES_128_GCM inline:c3RhcnQgb2YgYSBrZXktMTYgc2FsdDEyYnl0ZQ==",
        "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^31",
        "a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|1:4",
        "a=crypto:5 F8_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
    ]);
    let tags: Vec<_> = sdp.media[0].crypto.iter().map(|crypto| crypto.tag).collect();
    assert_eq!(tags, [1, 2, 3, 4, 5]);
    assert_media(
        &rewrite(&sdp, vec![relay(plain("198.51.100.1:30000"))]),
        &[
            "m=audio 30000 RTP/AVP 0",
            "c=IN IP4 198.51.100.1",
            "a=rtpmap:0 PCMU/8000",
            "a=sendrecv",
            "a=rtcp:30001",
        ],
    );
}

#[test]
fn plain_becomes_srtp_with_our_crypto_after_rtcp_and_before_ptime() {
    let sdp = with_session(&["m=audio 49170 RTP/AVP 8", "a=ptime:20"]);
    let offered = [
        "1 AEAD_AES_128_GCM inline:c3RhcnQgb2YgYSBrZXktMTYgc2FsdDEyYnl0ZQ|2^31",
        "2 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|5:2 KDR=1",
    ];
    let local = LocalMedia {
        protocol: Protocol::RtpSavp,
        rtcp: RtcpLine::Full("198.51.100.2:30007".parse().expect("address")),
        rtcp_mux: true,
        crypto: offered.iter().filter_map(|value| crypto(value)).collect(),
        key_padding: KeyPadding::Write,
        ..plain("198.51.100.1:30000")
    };
    assert_media(
        &rewrite(&sdp, vec![relay(local)]),
        &[
            "m=audio 30000 RTP/SAVP 8",
            "c=IN IP4 198.51.100.1",
            "a=rtpmap:8 PCMA/8000",
            "a=sendrecv",
            "a=rtcp:30007 IN IP4 198.51.100.2",
            "a=rtcp-mux",
            "a=crypto:1 AEAD_AES_128_GCM inline:c3RhcnQgb2YgYSBrZXktMTYgc2FsdDEyYnl0ZQ==|2^31",
            "a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|5:2 KDR=1",
            "a=ptime:20",
        ],
    );
}

#[test]
fn ipv6_media_is_written_towards_ipv4_and_back() {
    let sdp = parse(&[
        "v=0",
        "o=- 1 1 IN IP6 2001:db8::10",
        "s=-",
        "t=0 0",
        "m=audio 4000 RTP/AVP 0",
        "c=IN IP6 2001:db8::10",
    ]);
    let session = SessionRewrite {
        origin_address: Some("198.51.100.1".parse().expect("address")),
        ..SessionRewrite::default()
    };
    let written = sdp.rewrite(&session, &[relay(plain("198.51.100.1:30000"))]);
    let head = ["v=0", "o=- 1 1 IN IP4 198.51.100.1", "s=-", "t=0 0", "m=audio 30000 RTP/AVP 0"];
    let tail = ["a=rtpmap:0 PCMU/8000", "a=sendrecv", "a=rtcp:30001"];
    assert_lines(&written, &[&head[..], &["c=IN IP4 198.51.100.1"], &tail].concat());

    let answer = Sdp::parse(&written).expect("our own body");
    let written = rewrite(&answer, vec![relay(plain("[2001:db8::1]:30000"))]);
    assert_lines(&written, &[&head[..], &["c=IN IP6 2001:db8::1"], &tail].concat());
}

#[test]
fn a_browser_offer_with_audio_and_video_loses_bundle_ice_dtls_and_feedback_towards_avp() {
    let sdp = with_session(&[
        "a=group:BUNDLE 0 1",
        "a=ice-lite",
        "a=msid-semantic: WMS",
        "a=fingerprint:sha-256 AA:BB",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789012345678901",
        "a=ice-options:trickle",
        "a=setup:actpass",
        "a=mid:0",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=sendonly",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=rtcp-fb:111 transport-cc",
        "a=rtcp-rsize",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=ssrc:1 cname:x",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "a=mid:1",
        "a=bundle-only",
        "a=rtpmap:96 VP8/90000",
        "a=rtcp-fb:* nack pli",
        "a=candidate:1 1 UDP 1 192.0.2.10 5000 typ host",
        "a=end-of-candidates",
    ]);
    let session = SessionRewrite::default();
    let audio = LocalMedia { direction: Direction::SendOnly, ..plain("198.51.100.1:30000") };
    let video = plain("198.51.100.1:30002");
    assert_media(
        &sdp.rewrite(&session, &[relay(audio), relay(video)]),
        &[
            "a=msid-semantic: WMS",
            "m=audio 30000 RTP/AVP 111 0",
            "c=IN IP4 198.51.100.1",
            "a=mid:0",
            "a=rtpmap:111 opus/48000/2",
            "a=fmtp:111 minptime=10;useinbandfec=1",
            "a=rtpmap:0 PCMU/8000",
            "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            "a=ssrc:1 cname:x",
            "a=sendonly",
            "a=rtcp:30001",
            "m=video 30002 RTP/AVP 96",
            "c=IN IP4 198.51.100.1",
            "a=mid:1",
            "a=rtpmap:96 VP8/90000",
            "a=sendrecv",
            "a=rtcp:30003",
        ],
    );
}

#[test]
fn a_browser_s_layers_sources_and_extensions_reach_another_browser_as_they_are() {
    let media = [
        "a=msid-semantic: WMS *",
        "a=extmap-allow-mixed",
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
        "a=mid:v",
        "a=rtpmap:96 VP8/90000",
        "a=rtcp-fb:96 goog-remb",
        "a=rtpmap:97 rtx/90000",
        "a=fmtp:97 apt=96",
        "a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=extmap:4/sendonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
        "a=msid:stream track",
        "a=rtcp-rsize",
        "a=rid:h send",
        "a=rid:l send",
        "a=simulcast:send h;l",
        "a=ssrc-group:FID 1 2",
        "a=ssrc:1 cname:x",
        "a=ssrc:2 cname:x",
        "a=sendrecv",
    ];
    let sdp = with_session(&media);
    let local = LocalMedia {
        protocol: Protocol::UdpTlsRtpSavpf,
        rtcp_mux: true,
        ..plain("198.51.100.1:9")
    };
    let mut expected = media.to_vec();
    expected.insert(3, "c=IN IP4 198.51.100.1");
    expected.extend(["a=rtcp:10", "a=rtcp-mux"]);
    assert_media(&rewrite(&sdp, vec![relay(local)]), &expected);
}

#[test]
fn encryption_of_headers_is_agreed_with_nobody_past_us() {
    let encrypted =
        "a=extmap:2 urn:ietf:params:rtp-hdrext:encrypt urn:ietf:params:rtp-hdrext:toffset";
    let sdp = with_session(&[
        "a=cryptex",
        encrypted,
        "m=audio 9 UDP/TLS/RTP/SAVPF 0",
        "a=cryptex",
        encrypted,
        "a=extmap:3 urn:ietf:params:rtp-hdrext:toffset",
    ]);
    assert_eq!(sdp.media[0].extensions.len(), 1);
    let written = rewrite(&sdp, vec![relay(plain("198.51.100.1:30000"))]);
    let written = String::from_utf8(written.to_vec()).expect("text");
    assert!(!written.contains("cryptex") && !written.contains("encrypt"), "{written}");
    assert!(written.contains("a=extmap:3 urn:ietf:params:rtp-hdrext:toffset\r\n"));
}

#[test]
fn our_dtls_and_ice_take_the_place_of_the_party_s_own_and_feedback_stays() {
    let sdp = with_session(&[
        "a=group:LS 1 2",
        "a=group:BUNDLE 0 1",
        "a=ice-options:trickle ice2",
        "a=fingerprint:sha-256 AA:BB",
        "m=video 5000 UDP/TLS/RTP/SAVPF 96",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789012345678901",
        "a=candidate:1 1 UDP 1 192.0.2.10 5000 typ host",
        "a=end-of-candidates",
        "a=tls-id:00112233445566778899aabbccddeeff",
        "a=setup:active",
        "a=bundle-only",
        "a=rtcp-fb:* ccm fir",
        "a=rtcp-fb:96 nack",
        "a=rtpmap:96 VP8/90000",
        "a=rtcp-rsize",
    ]);
    let local = LocalMedia {
        protocol: Protocol::UdpTlsRtpSavpf,
        rtcp: RtcpLine::Omit,
        rtcp_mux: true,
        generate_mid: Some(Bytes::from_static(b"1")),
        bundle_only: true,
        dtls: Some(our_dtls()),
        ice: Some(our_ice()),
        ..plain("198.51.100.1:30000")
    };
    let session = SessionRewrite {
        ice_lite: true,
        bundles: vec![Bundle { mids: vec![Bytes::from_static(b"1"), Bytes::from_static(b"v")] }],
        ..SessionRewrite::default()
    };
    assert_media(
        &sdp.rewrite(&session, &[relay(local)]),
        &[
            "a=ice-lite",
            "a=group:BUNDLE 1 v",
            "a=group:LS 1 2",
            "m=video 30000 UDP/TLS/RTP/SAVPF 96",
            "c=IN IP4 198.51.100.1",
            "a=mid:1",
            "a=bundle-only",
            "a=rtpmap:96 VP8/90000",
            "a=rtcp-fb:96 nack",
            "a=rtcp-fb:* ccm fir",
            "a=rtcp-rsize",
            "a=sendrecv",
            "a=rtcp-mux",
            "a=setup:passive",
            "a=fingerprint:sha-1 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:FF",
            "a=tls-id:ffeeddccbbaa99887766554433221100",
            "a=ice-ufrag:ours0123",
            "a=ice-pwd:ours4567890123456789012345",
            "a=ice-options:trickle",
            "a=candidate:H1 1 UDP 2130706431 198.51.100.1 30000 typ host",
            "a=candidate:R2 2 UDP 1694498815 2001:db8::1 30001 typ srflx raddr 198.51.100.1 rport 30001",
            "a=remote-candidates:1 192.0.2.10 5000 2 2001:db8::10 5001",
            "a=end-of-candidates",
        ],
    );
}

pub(super) fn our_dtls() -> LocalDtls {
    let mut digest: Vec<u8> = (0..20).collect();
    digest[19] = 0xff;
    let fingerprint = Fingerprint::new(HashFunction::Sha1, &digest).expect("20 bytes");
    let tls_id = Some(Bytes::from_static(b"ffeeddccbbaa99887766554433221100"));
    LocalDtls { setup: Setup::Passive, fingerprint, tls_id }
}

pub(super) fn our_ice() -> LocalIce {
    let candidate = |value: &str| Candidate::parse(value.as_bytes()).expect(value).expect(value);
    let chosen = |component, address: &str| RemoteCandidate {
        component,
        address: address.parse().expect(address),
    };
    LocalIce {
        credentials: IceCredentials::new("ours0123", "ours4567890123456789012345")
            .expect("credentials"),
        options: IceOptions { trickle: true, ice2: false },
        candidates: vec![
            candidate("H1 1 udp 2130706431 198.51.100.1 30000 typ host"),
            candidate(
                "R2 2 UDP 1694498815 2001:db8::1 30001 typ srflx raddr 198.51.100.1 rport 30001 x y",
            ),
        ],
        remote_candidates: vec![chosen(1, "192.0.2.10:5000"), chosen(2, "[2001:db8::10]:5001")],
        end_of_candidates: true,
    }
}

#[test]
fn what_passes_through_takes_dtls_and_ice_of_the_session_with_it() {
    let sdp = with_session(&[
        "a=ice-lite",
        "a=ice-ufrag:abcd",
        "a=setup:actpass",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "a=fingerprint:sha-256 AA:BB",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "a=ice-pwd:0123456789012345678901",
    ]);
    let media = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel";
    let address = "c=IN IP4 192.0.2.10";
    let (print, setup) = ("a=fingerprint:sha-256 AA:BB", "a=setup:actpass");
    let (ufrag, pwd) = ("a=ice-ufrag:abcd", "a=ice-pwd:0123456789012345678901");
    let through = || vec![MediaRewrite::PassThrough, MediaRewrite::PassThrough];
    assert_media(
        &rewrite(&sdp, through()),
        &[media, address, print, "a=ice-lite", ufrag, media, address, pwd, setup],
    );
    let session = SessionRewrite { remove_ice: true, ..SessionRewrite::default() };
    assert_media(
        &sdp.rewrite(&session, &through()),
        &[media, address, print, media, address, setup],
    );
}

#[test]
fn old_style_hold_keeps_its_zero_address_only_when_asked() {
    let sdp = parse(&[&SESSION[..], &["m=audio 49170 RTP/AVP 0", "c=IN IP4 0.0.0.0"]].concat());
    let tail = ["a=rtpmap:0 PCMU/8000", "a=inactive", "a=rtcp:30001"];
    for (keep_zero_address, ours, address) in [
        (true, "198.51.100.1:30000", "c=IN IP4 0.0.0.0"),
        (true, "[2001:db8::1]:30000", "c=IN IP6 ::"),
        (false, "198.51.100.1:30000", "c=IN IP4 198.51.100.1"),
    ] {
        let local = LocalMedia { direction: Direction::Inactive, keep_zero_address, ..plain(ours) };
        assert_media(
            &rewrite(&sdp, vec![relay(local)]),
            &[&["m=audio 30000 RTP/AVP 0", address], &tail[..]].concat(),
        );
    }
}

#[test]
fn rejected_media_keeps_its_place_formats_mid_and_label_only() {
    let sdp = with_session(&[
        "m=audio 49170 RTP/SAVPF 0 96",
        "a=label:2",
        "a=mid:a",
        "a=rtpmap:96 opus/48000/2",
        "a=foo",
        "m=video 49172 RTP/AVP 31",
    ]);
    let rejected = [
        "m=audio 0 RTP/SAVPF 0 96",
        "c=IN IP4 0.0.0.0",
        "a=mid:a",
        "a=label:2",
        "m=video 0 RTP/AVP 31",
        "c=IN IP4 0.0.0.0",
    ];
    let reject = || MediaRewrite::Reject { protocol: None };
    assert_media(&rewrite(&sdp, vec![reject(), reject()]), &rejected);
    // Sections that nobody decided on are rejected too: no address slips through.
    assert_media(&rewrite(&sdp, vec![]), &rejected);
}

#[test]
fn rejected_media_is_written_under_the_transport_that_was_offered() {
    let sdp = with_session(&["m=audio 0 RTP/SAVP 0"]);
    let reject = MediaRewrite::Reject { protocol: Some(Protocol::RtpAvp) };
    assert_media(&rewrite(&sdp, vec![reject]), &["m=audio 0 RTP/AVP 0", "c=IN IP4 0.0.0.0"]);
}

#[test]
fn message_and_t38_pass_through_with_the_address_the_session_gave_them() {
    let message = [
        "m=message 2855 TCP/MSRP *",
        "c=IN IP4 192.0.2.10",
        "a=accept-types:text/plain",
        "a=path:msrp://192.0.2.10:2855/x;tcp",
    ];
    let fax = ["m=image 5000 udptl t38", "c=IN IP4 192.0.2.77", "a=T38FaxVersion:0"];
    let sdp = with_session(&[&message[..1], &message[2..], &fax[..]].concat());
    assert_media(
        &rewrite(&sdp, vec![MediaRewrite::PassThrough, MediaRewrite::PassThrough]),
        &[&message[..], &fax[..]].concat(),
    );
}

#[test]
fn a_direction_of_the_session_follows_what_passes_through() {
    let sdp =
        with_session(&["a=recvonly", "m=image 5000 udptl t38", "m=text 1 X/Y *", "a=inactive"]);
    assert_media(
        &rewrite(&sdp, vec![MediaRewrite::PassThrough, MediaRewrite::PassThrough]),
        &[
            "m=image 5000 udptl t38",
            "c=IN IP4 192.0.2.10",
            "a=recvonly",
            "m=text 1 X/Y *",
            "c=IN IP4 192.0.2.10",
            "a=inactive",
        ],
    );
}
