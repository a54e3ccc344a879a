//! Any body: parsing never panics, and what is written reads back and writes the same.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ng::sdp::{
    Direction, Fingerprint, Fragment, HashFunction, IceCredentials, IceOptions, KeyPadding,
    LocalDtls, LocalIce, LocalMedia, MediaRewrite, Protocol, RtcpLine, Sdp, SessionRewrite, Setup,
};

fuzz_target!(|data: &[u8]| {
    check(Bytes::copy_from_slice(data));
    // A head that parses takes the fuzzer past the first lines at once.
    check(Bytes::from([HEAD, data].concat()));
});

fn check(body: Bytes) {
    let _ = Fragment::parse(&body);
    let Ok(sdp) = Sdp::parse(&body) else { return };
    let media: Vec<_> = sdp.media.iter().enumerate().map(|(index, _)| rewrite(index)).collect();
    let session = SessionRewrite { remove_ice: body.len() % 2 == 0, ..SessionRewrite::default() };
    for section in &sdp.media {
        assert!(section.ice.candidates.len() <= Sdp::MAX_CANDIDATES);
        assert!(section.dtls.fingerprints.len() <= Sdp::MAX_FINGERPRINTS);
    }
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
        dtls: (index % 4 == 1).then(our_dtls),
        ice: (index % 4 == 1).then(our_ice).flatten(),
    }))
}

fn our_dtls() -> LocalDtls {
    let fingerprint = Fingerprint::new(HashFunction::Sha1, &[7; 20]).expect("its length");
    LocalDtls { setup: Setup::ActPass, fingerprint, tls_id: Some(Bytes::from_static(b"id")) }
}

fn our_ice() -> Option<LocalIce> {
    Some(LocalIce {
        credentials: IceCredentials::new("ours", "0123456789012345678901")?,
        options: IceOptions { trickle: true, ice2: true },
        candidates: Vec::new(),
        remote_candidates: Vec::new(),
        end_of_candidates: true,
    })
}

/// Bytes of a body that stays within every limit when written again.
const SMALL: usize = 2048;

const HEAD: &[u8] =
    b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/SAVP 0 96\n";
