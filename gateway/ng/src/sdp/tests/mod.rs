//! Bodies as they come from the field, and what must become of them.

mod golden;
mod property;
mod reading;
mod sdes;
mod session;
mod webrtc;

use std::net::SocketAddr;

use bytes::Bytes;

use super::{
    CryptoAttribute, Direction, KeyPadding, LocalMedia, MediaRewrite, Protocol, RtcpLine, Sdp,
};

/// Lines joined with CRLF, as bodies come.
fn body(lines: &[&str]) -> Bytes {
    lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"]).flatten().copied().collect()
}

fn parse(lines: &[&str]) -> Sdp {
    Sdp::parse(&body(lines)).expect("a body of a test")
}

/// A session part without `c=`.
const SESSION: [&str; 4] =
    ["v=0", "o=alice 2890844526 2890844527 IN IP4 192.0.2.10", "s=call", "t=0 0"];

/// A body of [`SESSION`], a session-level `c=` and `media`.
fn with_session(media: &[&str]) -> Sdp {
    parse(&[&SESSION[..3], &["c=IN IP4 192.0.2.10", SESSION[3]], media].concat())
}

/// Asserts that `written` is [`SESSION`] and `media`.
#[track_caller]
fn assert_media(written: &Bytes, media: &[&str]) {
    assert_lines(written, &[&SESSION[..], media].concat());
}

/// Our side of a plain section on `rtp` with the port after it for RTCP.
fn plain(rtp: &str) -> LocalMedia {
    let rtp: SocketAddr = rtp.parse().expect("an address of a test");
    LocalMedia {
        rtp,
        rtcp: RtcpLine::Port(rtp.port() + 1),
        rtcp_mux: false,
        protocol: Protocol::RtpAvp,
        crypto: Vec::new(),
        key_padding: KeyPadding::Omit,
        direction: Direction::SendRecv,
        keep_zero_address: false,
        generate_mid: None,
        bundle_only: false,
        dtls: None,
        ice: None,
    }
}

fn relay(local: LocalMedia) -> MediaRewrite {
    MediaRewrite::Relay(Box::new(local))
}

fn crypto(value: &str) -> Option<CryptoAttribute> {
    CryptoAttribute::parse(&Bytes::copy_from_slice(value.as_bytes()))
}

#[track_caller]
fn assert_lines(written: &Bytes, expected: &[&str]) {
    let written = String::from_utf8_lossy(written);
    assert_eq!(written, String::from_utf8_lossy(&body(expected)));
}
