//! Writing a body again, in rtpengine 26.3's line order.
//!
//! There is no session-level `c=` or direction: every section gets its own. What has a place in
//! the order goes there; everything else is copied, in its own order, where the incumbent copies.

mod media;
mod session;

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};

use super::line::{LineKind, fields};
use super::{Line, MediaRewrite, Sdp, SessionRewrite};

impl Sdp {
    /// Writes the body again. Sections beyond the end of `media` are rejected, so that a peer's
    /// address never slips through.
    pub fn rewrite(&self, session: &SessionRewrite, media: &[MediaRewrite]) -> Bytes {
        let growth: usize = media.iter().map(growth).sum();
        let mut out = Output(BytesMut::with_capacity(self.size() + GROWTH + growth));
        out.session(&self.session, session);
        for (index, section) in self.media.iter().enumerate() {
            match media.get(index) {
                Some(MediaRewrite::Relay(local)) => out.relay(section, local),
                Some(MediaRewrite::PassThrough) => {
                    out.pass_through(&self.session, section, session);
                }
                Some(MediaRewrite::Reject { protocol: Some(protocol) }) => {
                    out.reject(section, protocol);
                }
                Some(MediaRewrite::Reject { protocol: None }) | None => {
                    out.reject(section, &section.protocol);
                }
            }
        }
        out.0.freeze()
    }

    fn size(&self) -> usize {
        let media = self.media.iter().flat_map(|section| &section.lines);
        self.session.lines.iter().chain(media).map(|line| line.text().len() + 2).sum()
    }
}

/// The body so far.
struct Output(BytesMut);

impl Output {
    fn connection(&mut self, address: IpAddr) {
        self.line(format_args!("c=IN {}", TypedAddress(address)));
    }

    /// Copies the lines of each of `kinds`, kind by kind.
    fn copy(&mut self, lines: &[Line], kinds: &[LineKind]) {
        kinds.iter().for_each(|&place| self.copy_where(lines, |kind| kind == place));
    }

    /// Copies the lines of the kinds that `takes` says, in their own order.
    fn copy_where(&mut self, lines: &[Line], takes: impl Fn(LineKind) -> bool) {
        lines.iter().filter(|line| takes(line.kind())).for_each(|line| self.put(line.text()));
    }

    /// A line of `name` and what follows it.
    fn value(&mut self, name: &str, value: &[u8]) {
        self.0.put_slice(name.as_bytes());
        self.put(value);
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        self.text(line);
        self.0.put_slice(CRLF);
    }

    /// Part of a line. Writing to a `BytesMut` can't fail: it grows.
    fn text(&mut self, text: fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(text);
    }

    fn put(&mut self, line: &[u8]) {
        self.0.put_slice(line);
        self.0.put_slice(CRLF);
    }
}

/// `IP4 192.0.2.1` or `IP6 2001:db8::1`.
struct TypedAddress(IpAddr);

impl fmt::Display for TypedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "IP4 {address}"),
            IpAddr::V6(address) => write!(f, "IP6 {address}"),
        }
    }
}

/// A value from outside the body, up to what would end its line.
fn clean(value: &[u8]) -> &[u8] {
    value.split(|byte| matches!(byte, b'\r' | b'\n' | b'\0')).next().unwrap_or_default()
}

/// A value from outside the body, up to what would end its field.
fn token(value: &[u8]) -> &[u8] {
    fields(clean(value)).next().unwrap_or_default()
}

/// Bytes that a section may grow by. Writing allocates once, not only to be quick: a buffer that
/// grew would leave copies of keys behind.
fn growth(rewrite: &MediaRewrite) -> usize {
    match rewrite {
        MediaRewrite::Relay(local) => {
            let dtls = if local.dtls.is_some() { DTLS_LINES } else { 0 };
            let candidates = local.ice.as_ref().map(|ice| ice.candidates.len());
            let ice = candidates.map_or(0, |count| ICE_LINES + CANDIDATE_LINE * count);
            GROWTH + CRYPTO_LINE * local.crypto.len() + dtls + ice
        }
        MediaRewrite::Reject { .. } | MediaRewrite::PassThrough => GROWTH,
    }
}

/// What a part grows by: an address, a port, directions, and `a=rtpmap` of static types.
const GROWTH: usize = 512;

/// An `a=crypto` line with what usually follows its key.
const CRYPTO_LINE: usize = 192;

/// `a=setup`, `a=fingerprint` under SHA-512 and `a=tls-id`.
const DTLS_LINES: usize = 320;

/// Credentials of ours, options, `a=remote-candidates` and `a=end-of-candidates`.
const ICE_LINES: usize = 320;

/// An `a=candidate` line.
const CANDIDATE_LINE: usize = 160;

const CRLF: &[u8] = b"\r\n";

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::sdp::{
        Candidate, Direction, Fingerprint, HashFunction, IceCredentials, IceOptions, KeyPadding,
        LocalDtls, LocalIce, LocalMedia, Protocol, RtcpLine, Setup,
    };

    /// A section of ours that is all that it may be, on the longest address.
    fn whole() -> LocalMedia {
        let rtp: SocketAddr = "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:40000".parse().unwrap();
        let candidate = format!("0123456789abcdef 1 udp 4294967295 {} 40000 typ relay", rtp.ip());
        let candidate = format!("{candidate} raddr {} rport 40000", rtp.ip());
        let candidate = Candidate::parse(candidate.as_bytes()).unwrap().unwrap();
        let credentials = IceCredentials::new("ours0123", &"p".repeat(26)).unwrap();
        LocalMedia {
            rtp,
            rtcp: RtcpLine::Full(rtp),
            rtcp_mux: true,
            protocol: Protocol::UdpTlsRtpSavpf,
            crypto: Vec::new(),
            key_padding: KeyPadding::Omit,
            direction: Direction::SendRecv,
            keep_zero_address: false,
            generate_mid: Some(Bytes::from_static(b"10")),
            bundle_only: true,
            dtls: Some(LocalDtls {
                setup: Setup::ActPass,
                fingerprint: Fingerprint::new(HashFunction::Sha512, &[0xff; 64]).unwrap(),
                tls_id: Some(Bytes::from_static(&[b'f'; 32])),
            }),
            ice: Some(LocalIce {
                credentials,
                options: IceOptions { trickle: true, ice2: true },
                candidates: vec![candidate.clone(), candidate],
                remote_candidates: Vec::new(),
                end_of_candidates: true,
            }),
        }
    }

    #[test]
    fn a_body_is_written_without_growing_its_buffer() {
        let sections = 16;
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
        let body = head.to_owned() + &"m=audio 4000 RTP/AVP 0 8 9 18\r\n".repeat(sections);
        let sdp = Sdp::parse(&body.into()).unwrap();
        let media: Vec<_> = (0..sections).map(|_| MediaRewrite::Relay(Box::new(whole()))).collect();
        let room = sdp.size() + GROWTH + media.iter().map(growth).sum::<usize>();
        let written = sdp.rewrite(&SessionRewrite::default(), &media).len();
        assert!(written <= room && 2 * written > room, "{written} of {room}");
    }
}
