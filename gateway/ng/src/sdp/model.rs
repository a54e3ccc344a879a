//! The parsed body and the instructions for writing it again.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use srtp::{Lifetimes, MasterKey, Mki, SessionParameters};

use super::{
    Bundle, Candidate, DtlsDescription, Fingerprint, HeaderExtension, IceCredentials,
    IceDescription, IceOptions, KeyPadding, Line, RemoteCandidate, Setup,
};

/// The transport of an `m=` line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `RTP/AVP`.
    RtpAvp,
    /// `RTP/AVPF`.
    RtpAvpf,
    /// `RTP/SAVP`.
    RtpSavp,
    /// `RTP/SAVPF`.
    RtpSavpf,
    /// `UDP/TLS/RTP/SAVP`.
    UdpTlsRtpSavp,
    /// `UDP/TLS/RTP/SAVPF`.
    UdpTlsRtpSavpf,
    /// Anything else: passes through.
    Other(Bytes),
}

/// `sendrecv` and friends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the SDP attribute of the same name")]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// A parsed body. Lines are kept so that what we don't know can be written again; the lines and
/// every other `Bytes` here share the memory of the body that was parsed.
#[derive(Debug)]
pub struct Sdp {
    /// Session-level lines before the first `m=`.
    pub session: SessionSection,
    /// The media sections in order.
    pub media: Vec<MediaSection>,
}

/// Everything before the first `m=`.
#[derive(Debug, Default)]
pub struct SessionSection {
    /// The value of `o=`, whole: six fields, or nothing where the body has no `o=`.
    pub origin: Bytes,
    /// The session-level `c=` address, when there is one.
    pub connection: Option<IpAddr>,
    /// The session-level direction, when there is one.
    pub direction: Option<Direction>,
    /// What it says of DTLS for all sections.
    pub dtls: DtlsDescription,
    /// What it says of ICE for all sections.
    pub ice: IceDescription,
    /// Each `a=group:BUNDLE` in order, at most [`Sdp::MAX_MEDIA`].
    pub bundles: Vec<Bundle>,
    /// Every session-level line in order, without line ends.
    pub lines: Vec<Line>,
}

/// One `m=` section, with session-level defaults already applied.
#[derive(Debug)]
pub struct MediaSection {
    /// `audio`, `video`, `message`, …
    pub kind: Bytes,
    /// The port of `m=`; 0 is rejected or disabled media, or with [`MediaSection::bundle_only`]
    /// media that shares another section's port. A port count (`49170/2`) is checked
    /// and left out: we relay, and write, the first port only.
    pub port: u16,
    /// The transport of `m=`.
    pub protocol: Protocol,
    /// The format list of `m=`, as written.
    pub formats: Vec<Bytes>,
    /// Address of the nearest `c=`; the zero address is hold of the old kind. Always there for
    /// RTP whose port isn't 0.
    pub connection: Option<IpAddr>,
    /// `a=rtcp` (RFC 3605): port and, where given, address.
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// `a=rtcp-mux`, or `a=rtcp-mux-only`.
    pub rtcp_mux: bool,
    /// `a=rtcp-mux-only` (RFC 8858): it takes RTCP on its RTP port or not at all.
    pub rtcp_mux_only: bool,
    /// `a=rtcp-rsize` (RFC 5506).
    pub rtcp_rsize: bool,
    /// The direction in force.
    pub direction: Direction,
    /// `a=crypto` lines we could read, in order.
    pub crypto: Vec<CryptoAttribute>,
    /// `a=mid`.
    pub mid: Option<Bytes>,
    /// `a=bundle-only` (RFC 9143 section 6).
    pub bundle_only: bool,
    /// What it says of DTLS, with what it has from the session part.
    pub dtls: DtlsDescription,
    /// What it says of ICE, with what it has from the session part.
    pub ice: IceDescription,
    /// Each `a=extmap` that we could read (RFC 8285). All of them pass through.
    pub extensions: Vec<HeaderExtension>,
    /// Every line of the section in order, `m=` first, without line ends.
    pub lines: Vec<Line>,
}

/// One `a=crypto` (RFC 4568): a suite with its key, or several told apart by their MKIs.
#[derive(PartialEq, Eq)]
pub struct CryptoAttribute {
    /// The tag: 1 to 9 digits.
    pub tag: u32,
    /// The first `inline:` key, with its suite.
    pub key: InlineKey,
    /// Further keys of the same suite. Where there are any, every key has an MKI, all of one
    /// length and no two alike, and there are at most [`srtp::MAX_KEYS`] keys together.
    pub further: Vec<InlineKey>,
    /// What the line asks to leave out (`UNENCRYPTED_SRTP`, …).
    pub session: SessionParameters,
    /// Other session parameters as written (`KDR=0`, …).
    pub parameters: Vec<Bytes>,
}

/// One `inline:` key with what the line says of it.
#[derive(Debug, PartialEq, Eq)]
pub struct InlineKey {
    /// Suite, key and salt.
    pub master: MasterKey,
    /// How many packets it may protect, from `|2^n` or decimal; where there is none, the suite's
    /// own limits hold. Written when there.
    pub lifetimes: Option<Lifetimes>,
    /// The MKI that names the key in each packet, if any.
    pub mki: Mki,
}

/// How to write the session part.
#[derive(Clone, Debug, Default)]
pub struct SessionRewrite {
    /// Replace the address of `o=` with this.
    pub origin_address: Option<IpAddr>,
    /// Replace the user name of `o=`.
    pub origin_username: Option<Bytes>,
    /// Replace the session id of `o=` (`origin-full` sets all three).
    pub origin_session_id: Option<u64>,
    /// Replace the version of `o=`.
    pub origin_version: Option<u64>,
    /// Replace `s=`.
    pub session_name: Option<Bytes>,
    /// Loop protection mark, written as `a=rtpengine:<mark>`.
    pub loop_protect: Option<Bytes>,
    /// Take every ICE attribute out of what passes through. Sections that we relay have no ICE but
    /// ours, whatever this says.
    pub remove_ice: bool,
    /// Write `a=ice-lite`.
    pub ice_lite: bool,
    /// Each `a=group:BUNDLE` to write; the party's own are taken out.
    pub bundles: Vec<Bundle>,
}

/// How to write one media section.
#[derive(Debug)]
pub enum MediaRewrite {
    /// With our address, ports and keys.
    Relay(Box<LocalMedia>),
    /// Port 0, zero address.
    Reject {
        /// The transport to write; `None` for the one it came in.
        protocol: Option<Protocol>,
    },
    /// As it came: not RTP. It gets the session's `c=` and direction, which we don't write there.
    PassThrough,
}

/// What we put into one relayed media section.
#[derive(Debug)]
pub struct LocalMedia {
    /// RTP address (advertised) and port.
    pub rtp: SocketAddr,
    /// What to say of RTCP.
    pub rtcp: RtcpLine,
    /// Write `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// The transport to write into `m=`.
    pub protocol: Protocol,
    /// The `a=crypto` lines to write.
    pub crypto: Vec<CryptoAttribute>,
    /// Whether keys are printed with base64 padding.
    pub key_padding: KeyPadding,
    /// The direction to write.
    pub direction: Direction,
    /// Keep a zero connection address zero (old-style hold) instead of writing ours.
    pub keep_zero_address: bool,
    /// A `mid` to generate when the section has none.
    pub generate_mid: Option<Bytes>,
    /// Write `a=bundle-only`; RFC 9143 section 7.2 wants port 0 with it in an offer.
    pub bundle_only: bool,
    /// Our DTLS association, where the section has or offers one. The party's own attributes are
    /// taken out.
    pub dtls: Option<LocalDtls>,
    /// Our ICE agent, where the section has one. The party's own attributes are taken out.
    pub ice: Option<LocalIce>,
}

/// Our side of a DTLS association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDtls {
    /// `a=setup`.
    pub setup: Setup,
    /// `a=fingerprint`, of our certificate.
    pub fingerprint: Fingerprint,
    /// `a=tls-id`, unless the peer must not see one.
    pub tls_id: Option<Bytes>,
}

/// Our side of ICE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalIce {
    /// `a=ice-ufrag` and `a=ice-pwd`.
    pub credentials: IceCredentials,
    /// `a=ice-options`, where any.
    pub options: IceOptions,
    /// `a=candidate` lines, in order.
    pub candidates: Vec<Candidate>,
    /// `a=remote-candidates`, where any: the party's that were chosen (RFC 8839 section 5.2).
    pub remote_candidates: Vec<RemoteCandidate>,
    /// Write `a=end-of-candidates`.
    pub end_of_candidates: bool,
}

/// `a=rtcp` as we write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpLine {
    /// No `a=rtcp`.
    Omit,
    /// `a=rtcp:<port>`.
    Port(u16),
    /// `a=rtcp:<port> IN IP4 <address>`.
    Full(SocketAddr),
}
