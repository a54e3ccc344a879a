//! Any body: parsing never panics, and what is written reads back and writes the same.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ng::sdp::{
    Direction, KeyPadding, LocalMedia, MediaRewrite, Protocol, RtcpLine, Sdp, SessionRewrite,
};

fuzz_target!(|data: &[u8]| {
    check(Bytes::copy_from_slice(data));
    // A head that parses takes the fuzzer past the first lines at once.
    check(Bytes::from([HEAD, data].concat()));
});

fn check(body: Bytes) {
    let Ok(sdp) = Sdp::parse(&body) else { return };
    let media: Vec<_> = sdp.media.iter().enumerate().map(|(index, _)| rewrite(index)).collect();
    let session = SessionRewrite { remove_ice: body.len() % 2 == 0, ..SessionRewrite::default() };
    let written = sdp.rewrite(&session, &media);
    // What we add takes a body that is just within the limits beyond them.
    if body.len() <= SMALL {
        let again = Sdp::parse(&written).expect("what we wrote");
        assert_eq!(again.rewrite(&session, &media), written);
    }
}

/// Each way to write a section in turn.
fn rewrite(index: usize) -> MediaRewrite {
    let protocol = match index % 4 {
        0 => Protocol::RtpAvp,
        1 => Protocol::UdpTlsRtpSavpf,
        2 => return MediaRewrite::PassThrough,
        _ => return MediaRewrite::Reject { protocol: None },
    };
    MediaRewrite::Relay(Box::new(LocalMedia {
        rtp: SocketAddr::from((Ipv4Addr::LOCALHOST, 30000)),
        rtcp: RtcpLine::Port(30001),
        rtcp_mux: false,
        protocol,
        crypto: Vec::new(),
        key_padding: KeyPadding::Omit,
        direction: Direction::SendRecv,
        keep_zero_address: false,
        generate_mid: None,
        bundle_only: false,
        dtls: None,
        ice: None,
    }))
}

/// Bytes of a body that stays within every limit when written again.
const SMALL: usize = 2048;

const HEAD: &[u8] =
    b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/SAVP 0 96\n";
