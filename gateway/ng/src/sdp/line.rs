//! One line of a body and what it is: classified once when parsed, so that writing only sorts.

use std::fmt;

use bytes::Bytes;

use super::Direction;

/// One line without its line end.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    kind: LineKind,
    text: Bytes,
}

impl Line {
    /// `text` is not empty and its second byte is `=`.
    pub(super) fn new(text: Bytes) -> Self {
        Self { kind: LineKind::of(&text), text }
    }

    /// What the line is.
    pub(super) fn kind(&self) -> LineKind {
        self.kind
    }

    /// The whole line.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// What follows `a=name:`, or `x=` for a line that isn't an attribute.
    pub(super) fn value(&self) -> &[u8] {
        let value = &self.text[2..];
        if self.text[0] != b'a' {
            return value;
        }
        split_once(value, b':').map_or(&[][..], |(_, value)| value)
    }

    /// [`Line::value`] sharing the body's memory.
    pub(super) fn value_bytes(&self) -> Bytes {
        self.text.slice_ref(self.value())
    }

    /// The name of an attribute; `None` for other lines.
    pub(super) fn attribute_name(&self) -> Option<&[u8]> {
        (self.text[0] == b'a').then(|| attribute_name(&self.text[2..]))
    }
}

/// Never shows what may be a key: `a=crypto`, `a=key-mgmt` and `k=` carry keys in clear, `a=ice-pwd`
/// the password of every check.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            LineKind::Crypto => f.write_str("a=crypto:[redacted]"),
            LineKind::KeyManagement => f.write_str("a=key-mgmt:[redacted]"),
            LineKind::Ice if self.attribute_name() == Some(b"ice-pwd") => {
                f.write_str("a=ice-pwd:[redacted]")
            }
            LineKind::Timing if self.text[0] == b'k' => f.write_str("k=[redacted]"),
            _ => write!(f, "{}", self.text.escape_ascii()),
        }
    }
}

/// What a line is, as far as its place in what we write depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineKind {
    /// `v=`
    Version,
    /// `o=`
    Origin,
    /// `s=`
    SessionName,
    /// `i=`
    Information,
    /// `u= e= p=`
    Contact,
    /// `c=`
    Connection,
    /// `b=`
    Bandwidth,
    /// `t= r= z= k=`
    Timing,
    /// `m=`
    Media,
    /// `a=group:BUNDLE` (RFC 9143)
    Bundle,
    /// Every other `a=group`
    Group,
    /// `a=mid`
    Mid,
    /// `a=label`
    Label,
    /// `a=bundle-only`
    BundleOnly,
    /// `a=rtpmap`
    Rtpmap,
    /// `a=fmtp`
    Fmtp,
    /// `a=rtcp-fb`
    RtcpFeedback,
    /// `a=extmap`, unless it is for [`LineKind::HeaderEncryption`]
    Extmap,
    /// `a=cryptex` (RFC 9335), and `a=extmap` of extensions that are encrypted (RFC 6904)
    HeaderEncryption,
    /// `a=sendrecv` and friends
    Direction(Direction),
    /// `a=rtcp`
    Rtcp,
    /// `a=rtcp-mux`, `a=rtcp-mux-only` (RFC 8858)
    RtcpMux,
    /// `a=rtcp-rsize` (RFC 5506)
    RtcpReducedSize,
    /// `a=crypto`
    Crypto,
    /// `a=key-mgmt` (RFC 4567)
    KeyManagement,
    /// `a=setup`
    Setup,
    /// `a=fingerprint`
    Fingerprint,
    /// `a=tls-id`
    TlsId,
    /// `a=ptime`
    Ptime,
    /// `a=maxptime`
    Maxptime,
    /// `a=ice-lite`
    IceLite,
    /// Everything else of ICE
    Ice,
    /// What we don't know: copied.
    Unknown,
}

impl LineKind {
    fn of(text: &[u8]) -> Self {
        match text[0] {
            b'v' => Self::Version,
            b'o' => Self::Origin,
            b's' => Self::SessionName,
            b'i' => Self::Information,
            b'u' | b'e' | b'p' => Self::Contact,
            b'c' => Self::Connection,
            b'b' => Self::Bandwidth,
            b't' | b'r' | b'z' | b'k' => Self::Timing,
            b'm' => Self::Media,
            b'a' => match split_once(&text[2..], b':') {
                Some((b"group", value)) if is_bundle(value) => Self::Bundle,
                Some((b"extmap", value)) if is_encrypted(value) => Self::HeaderEncryption,
                Some((name, _)) => Self::of_attribute(name),
                None => Self::of_attribute(&text[2..]),
            },
            _ => Self::Unknown,
        }
    }

    fn of_attribute(name: &[u8]) -> Self {
        match name {
            b"group" => Self::Group,
            b"mid" => Self::Mid,
            b"label" => Self::Label,
            b"bundle-only" => Self::BundleOnly,
            b"rtpmap" => Self::Rtpmap,
            b"fmtp" => Self::Fmtp,
            b"rtcp-fb" => Self::RtcpFeedback,
            b"extmap" => Self::Extmap,
            b"cryptex" => Self::HeaderEncryption,
            b"rtcp" => Self::Rtcp,
            b"rtcp-mux" | b"rtcp-mux-only" => Self::RtcpMux,
            b"rtcp-rsize" => Self::RtcpReducedSize,
            b"crypto" => Self::Crypto,
            b"key-mgmt" => Self::KeyManagement,
            b"setup" => Self::Setup,
            b"fingerprint" => Self::Fingerprint,
            b"tls-id" => Self::TlsId,
            b"ptime" => Self::Ptime,
            b"maxptime" => Self::Maxptime,
            b"ice-lite" => Self::IceLite,
            b"candidate" | b"end-of-candidates" | b"remote-candidates" => Self::Ice,
            _ if name.starts_with(b"ice-") => Self::Ice,
            _ => Direction::from_name(name).map_or(Self::Unknown, Self::Direction),
        }
    }

    /// Any attribute of ICE.
    pub(super) fn is_ice(self) -> bool {
        matches!(self, Self::Ice | Self::IceLite)
    }

    /// Any attribute of a DTLS association.
    pub(super) fn is_dtls(self) -> bool {
        matches!(self, Self::Setup | Self::Fingerprint | Self::TlsId)
    }
}

/// `bytes` up to the first `separator` and after it.
pub(super) fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// The fields of a line: separated by blanks, never empty (the field writes double blanks).
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b' ' || *byte == b'\t').filter(|field| !field.is_empty())
}

/// The semantics of a group (RFC 5888 section 5) that shares a transport.
fn is_bundle(group: &[u8]) -> bool {
    fields(group).next().is_some_and(|semantics| semantics.eq_ignore_ascii_case(b"BUNDLE"))
}

/// Whether the extension of an `a=extmap` stands for another one, encrypted (RFC 6904 section 4).
fn is_encrypted(extmap: &[u8]) -> bool {
    fields(extmap).nth(1) == Some(b"urn:ietf:params:rtp-hdrext:encrypt")
}

fn attribute_name(attribute: &[u8]) -> &[u8] {
    split_once(attribute, b':').map_or(attribute, |(name, _)| name)
}
