//! What is read of a body, and how a broken one is refused.

use super::*;
use crate::sdp::SdpError;

const HEAD: [&str; 5] = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0"];

/// The first section of a body with `media` after [`HEAD`].
fn section(media: &[&str]) -> crate::sdp::MediaSection {
    parse(&[&HEAD[..], media].concat()).media.remove(0)
}

fn refused(text: &str) -> (String, &'static str) {
    let error = Sdp::parse(&Bytes::copy_from_slice(text.as_bytes())).expect_err(text);
    (error.to_string(), error.incumbent())
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().expect("an address of a test"))
}

#[test]
fn lines_may_end_with_lf_alone_and_the_body_with_blank_lines() {
    let crlf = parse(&[&HEAD[..], &["m=audio 4000 RTP/AVP 0", "a=mid:x", "", ""]].concat());
    let text = [&HEAD[..], &["m=audio 4000 RTP/AVP 0", "a=mid:x"]].concat().join("\n");
    let lf = Sdp::parse(&Bytes::from(text)).expect("LF alone");
    assert_eq!(format!("{lf:?}"), format!("{crlf:?}"));
    assert_eq!(lf.media[0].mid.as_deref(), Some(&b"x"[..]));
}

#[test]
fn values_share_the_memory_of_the_body() {
    let body = body(&["v=0", "m=audio 4000 RTP/AVP 96", "c=IN IP4 192.0.2.1", "a=mid:x"]);
    let sdp = Sdp::parse(&body).expect("a body");
    let media = &sdp.media[0];
    for value in [&media.kind, &media.formats[0], media.mid.as_ref().expect("a mid")] {
        assert!(body.as_ptr_range().contains(&value.as_ptr()));
    }
}

#[test]
fn rtcp_goes_to_the_next_port_unless_said_otherwise() {
    let plain = section(&["m=audio 4000 RTP/AVP 0"]);
    assert_eq!(plain.remote_rtp(), address("192.0.2.1:4000"));
    assert_eq!(plain.remote_rtcp(), address("192.0.2.1:4001"));
    let port = section(&["m=audio 4000 RTP/AVP 0", "a=rtcp:53020"]);
    assert_eq!(port.remote_rtcp(), address("192.0.2.1:53020"));
    let full = section(&["m=audio 4000 RTP/AVP 0", "a=rtcp:53020 IN IP6 2001:db8::2"]);
    assert_eq!(full.remote_rtcp(), address("[2001:db8::2]:53020"));
    let mux = section(&["m=audio 4000 RTP/AVP 0", "a=rtcp:53020", "a=rtcp-mux"]);
    assert_eq!(mux.remote_rtcp(), address("192.0.2.1:4000"));
    assert_eq!(mux.remote_rtcp_unmuxed(), address("192.0.2.1:53020"));
    let broken = section(&["m=audio 4000 RTP/AVP 0", "a=rtcp:x"]);
    assert_eq!(broken.remote_rtcp(), address("192.0.2.1:4001"));
    let last = section(&["m=audio 65535 RTP/AVP 0"]);
    assert_eq!(last.remote_rtcp(), None);
}

#[test]
fn there_is_no_remote_behind_port_zero_or_the_zero_address() {
    let rejected = section(&["m=audio 0 RTP/AVP 0"]);
    assert_eq!((rejected.remote_rtp(), rejected.remote_rtcp()), (None, None));
    for zero in ["c=IN IP4 0.0.0.0", "c=IN IP6 ::"] {
        let hold = section(&["m=audio 4000 RTP/AVP 0", zero, "a=rtcp:4001 IN IP4 192.0.2.1"]);
        assert!(hold.has_zero_address());
        assert_eq!((hold.remote_rtp(), hold.remote_rtcp()), (None, None));
    }
}

#[test]
fn the_section_says_more_than_the_session() {
    let sdp = parse(
        &[
            &HEAD[..],
            &["a=sendonly", "m=audio 1 RTP/AVP 0", "m=audio 2 RTP/AVP 0"],
            &["c=IN IP4 192.0.2.2/127", "a=recvonly"],
        ]
        .concat(),
    );
    let [first, second] = &sdp.media[..] else { panic!("two sections") };
    assert_eq!((first.direction, second.direction), (Direction::SendOnly, Direction::RecvOnly));
    assert_eq!(first.remote_rtp(), address("192.0.2.1:1"));
    assert_eq!(second.remote_rtp(), address("192.0.2.2:2"));
}

#[test]
fn transports_are_known_in_either_case_and_others_kept() {
    assert_eq!(section(&["m=audio 1 rtp/savpf 0"]).protocol, Protocol::RtpSavpf);
    let other = section(&["m=image 1 udptl t38"]).protocol;
    assert_eq!(other, Protocol::Other(Bytes::from_static(b"udptl")));
    assert!(!other.is_rtp());
}

#[test]
fn attributes_are_found_by_name() {
    let section = section(&["m=audio 1 RTP/AVP 0", "a=ptime:20", "a=foo", "a=candidate:1"]);
    assert_eq!(section.attribute("ptime").as_deref(), Some(&b"20"[..]));
    assert_eq!(section.attribute("foo").as_deref(), Some(&b""[..]));
    assert_eq!(section.attribute("fo"), None);
    assert!(section.has_ice());
}

#[test]
fn of_two_crypto_lines_with_one_tag_the_first_counts() {
    let key = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    let first = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {key}");
    let second = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_32 {key}");
    let section = section(&["m=audio 1 RTP/SAVP 0", &first, &second]);
    assert_eq!(section.crypto.len(), 1);
    assert_eq!(section.crypto[0].profile(), srtp::Profile::AesCm128HmacSha1_80);
}

#[test]
fn what_the_incumbent_takes_without_o_s_or_t_is_taken() {
    let sdp = parse(&["v=0", "c=IN IP4 192.0.2.1", "m=audio 4000 RTP/AVP"]);
    assert_eq!(sdp.media[0].formats.len(), 0);
}

#[test]
fn refusals_name_the_line_what_was_found_and_what_was_expected() {
    let parse_failure = "Failed to parse SDP";
    for (text, message) in [
        ("", "SDP has no v= line"),
        ("hello world", "SDP line 1: found \"he\", expected a letter and ="),
        (
            "o=- 1 1 IN IP4 192.0.2.1\n",
            "SDP line 1: found \"o=- 1 1 IN IP4 192.0.2.1\", expected v=0",
        ),
        ("m=audio 1 RTP/AVP 0\n", "SDP line 1: found \"m=audio 1 RTP/AVP 0\", expected v=0"),
        (
            "v=0\r\no=- 1 1 IN IP4\r\n",
            "SDP line 2: found \"o=- 1 1 IN IP4\", expected six fields after o=",
        ),
        ("v=0\n\nm=\n", "SDP line 3: found \"m=\", expected a media type after m="),
        ("v=0\nm=audio\n", "SDP line 2: found \"m=audio\", expected a port after the media type"),
        (
            "v=0\nm=audio 1\n",
            "SDP line 2: found \"m=audio 1\", expected a transport after the port",
        ),
        (
            "v=0\nm=audio 65536 RTP/AVP 0\n",
            "SDP line 2: found \"m=audio 65536 RTP/AVP 0\", expected a port from 0 to 65535, with or without /count",
        ),
        (
            "v=0\nm=audio +1 RTP/AVP 0\n",
            "SDP line 2: found \"m=audio +1 RTP/AVP 0\", expected a port from 0 to 65535, with or without /count",
        ),
        (
            "v=0\nc=IN IP4 sip.example.org\n",
            "SDP line 2: found \"c=IN IP4 sip.example.org\", expected IN IP4 or IN IP6 and an address",
        ),
        (
            "v=0\nc=IN IP4 2001:db8::1\n",
            "SDP line 2: found \"c=IN IP4 2001:db8::1\", expected IN IP4 or IN IP6 and an address",
        ),
        ("v=0\na=x\ry\n", "SDP line 2: found \"a=x\\ry\", expected no NUL and no CR within a line"),
    ] {
        assert_eq!(refused(text), (message.to_owned(), parse_failure));
    }
}

#[test]
fn a_body_without_media_or_address_is_incomplete() {
    let incomplete = "Incomplete SDP specification";
    assert_eq!(refused("v=0\n"), ("SDP has no m= line".to_owned(), incomplete));
    let (message, words) = refused("v=0\nm=audio 1 RTP/AVP 0\na=x\nm=audio 0 RTP/AVP 0\n");
    assert!(message.starts_with("SDP line 2: this media has no c= line"), "{message}");
    assert_eq!(words, incomplete);
    // What isn't relayed needs none.
    parse(&["v=0", "m=audio 0 RTP/AVP 0", "m=image 1 udptl t38", "c=IN IP4 fax.example.org"]);
}

#[test]
fn bodies_larger_than_any_real_one_are_refused() {
    let refused = |text: String| Sdp::parse(&Bytes::from(text)).expect_err("too large");
    assert_eq!(refused("v".repeat(65_537)), SdpError::TooLarge { found: 65_537, limit: 65_536 });
    let lines = format!("v=0\n{}", "a=x\n".repeat(1024));
    assert_eq!(refused(lines).to_string(), "SDP line 1025: more lines than 1024");
    let media = format!("v=0\n{}", "m=audio 0 RTP/AVP 0\n".repeat(65));
    assert_eq!(refused(media).to_string(), "SDP line 66: more m= sections than 64");
    let formats = format!("v=0\nm=audio 0 RTP/AVP{}\n", " 0".repeat(129));
    assert_eq!(refused(formats).to_string(), "SDP line 2: more formats than 128");
}

#[test]
fn a_refusal_shows_no_key() {
    let text = "v=0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0\0\n";
    assert!(!refused(text).0.contains("c2Vj"));
}
