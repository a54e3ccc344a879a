//! Reading a body: one pass, bounded, every value a slice of the body.
//!
//! Lax where the field is (line ends, case of tokens, blank lines, missing `o=`, `s=` and `t=`,
//! which the incumbent also lets pass), strict where a guess would send media astray: an `m=` or
//! `c=` that we can't read is an error, and so is a host name in `c=`, because a relay that waits
//! for DNS stalls every call behind it.

use std::net::{IpAddr, SocketAddr};
use std::str;

use bytes::Bytes;

use super::error::NO_MEDIA;
use super::line::{LineKind, fields, split_once};
use super::{
    Bundle, CryptoAttribute, Direction, DtlsDescription, HeaderExtension, IceDescription, Line,
    MediaSection, Protocol, Sdp, SdpError, SessionSection,
};

impl Sdp {
    /// The most bytes of a body: what fits into one ng datagram.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// The most lines of a body.
    pub const MAX_LINES: usize = 1024;
    /// The most `m=` sections of a body.
    pub const MAX_MEDIA: usize = 64;
    /// The most formats of an `m=` line: RTP has 128 payload types.
    pub const MAX_FORMATS: usize = 128;
    /// The most fingerprints that we take of a section: there are five hash functions.
    pub const MAX_FINGERPRINTS: usize = 16;
    /// The most candidates that we take of a section; RFC 8445 section 6.1.2.5 bounds checks by
    /// 100 pairs, and we have one or two addresses to pair with.
    pub const MAX_CANDIDATES: usize = 64;

    /// Parses a body. The result holds slices of `body`, which stays in memory as long.
    pub fn parse(body: &Bytes) -> Result<Self, SdpError> {
        if body.len() > Self::MAX_BYTES {
            return Err(SdpError::TooLarge { found: body.len(), limit: Self::MAX_BYTES });
        }
        let mut sdp = Self { session: SessionSection::default(), media: Vec::new() };
        let mut media_line = 0;
        for (number, line) in Lines::of(body) {
            let line = check_line(number, line)?;
            if line.kind() == LineKind::Media {
                sdp.end_section(media_line)?;
                media_line = number;
                sdp.begin_section(number, line)?;
            } else if let Some(section) = sdp.media.last_mut() {
                section.read(number, line)?;
            } else {
                sdp.session.read(number, line)?;
            }
        }
        if sdp.session.lines.is_empty() {
            return Err(SdpError::Missing { what: "v= line" });
        }
        sdp.end_section(media_line)?;
        if sdp.media.is_empty() {
            return Err(SdpError::Missing { what: NO_MEDIA });
        }
        Ok(sdp)
    }

    fn begin_section(&mut self, number: usize, line: Line) -> Result<(), SdpError> {
        if self.session.lines.is_empty() {
            return Err(SdpError::malformed(number, line.text(), "v=0"));
        }
        if self.media.len() == Self::MAX_MEDIA {
            let limit = Self::MAX_MEDIA;
            return Err(SdpError::TooMany { line: number, what: "m= sections", limit });
        }
        let direction = self.session.direction.unwrap_or_default();
        self.media.push(MediaSection::new(number, line, direction)?);
        Ok(())
    }

    /// Inherits the session's address once the section had its chance to bring its own.
    fn end_section(&mut self, media_line: usize) -> Result<(), SdpError> {
        let Some(section) = self.media.last_mut() else { return Ok(()) };
        section.connection = section.connection.or(self.session.connection);
        section.dtls.inherit(&self.session.dtls);
        section.ice.inherit(&self.session.ice);
        match section.is_relayed() && section.connection.is_none() {
            true => Err(SdpError::NoConnection { line: media_line }),
            false => Ok(()),
        }
    }
}

impl SessionSection {
    fn read(&mut self, number: usize, line: Line) -> Result<(), SdpError> {
        if self.lines.is_empty() && line.text() != "v=0" {
            return Err(SdpError::malformed(number, line.text(), "v=0"));
        }
        match line.kind() {
            LineKind::Origin => {
                if fields(line.value()).count() != 6 {
                    return Err(SdpError::malformed(number, line.text(), "six fields after o="));
                }
                self.origin = line.value_bytes();
            }
            LineKind::Connection => self.connection = Some(parse_connection(number, &line)?),
            LineKind::Direction(direction) => self.direction = Some(direction),
            LineKind::Bundle if self.bundles.len() < Sdp::MAX_MEDIA => {
                self.bundles.push(Bundle::parse(&line));
            }
            _ => {}
        }
        self.dtls.read(&line);
        self.ice.read(&line);
        self.lines.push(line);
        Ok(())
    }
}

impl MediaSection {
    /// A section of its `m=` line: `<media> <port>[/<count>] <proto> <fmt>…`.
    fn new(number: usize, line: Line, direction: Direction) -> Result<Self, SdpError> {
        let malformed = |expected| SdpError::malformed(number, line.text(), expected);
        let mut fields = fields(line.value()).map(|field| line.text().slice_ref(field));
        let kind = fields.next().ok_or_else(|| malformed("a media type after m="))?;
        let port = fields.next().ok_or_else(|| malformed("a port after the media type"))?;
        let port = parse_port(&port)
            .ok_or_else(|| malformed("a port from 0 to 65535, with or without /count"))?;
        let protocol = fields.next().ok_or_else(|| malformed("a transport after the port"))?;
        let formats: Vec<Bytes> = fields.by_ref().take(Sdp::MAX_FORMATS).collect();
        if fields.next().is_some() {
            let limit = Sdp::MAX_FORMATS;
            return Err(SdpError::TooMany { line: number, what: "formats", limit });
        }
        drop(fields);
        Ok(Self {
            kind,
            port,
            protocol: Protocol::from_name(&protocol),
            formats,
            connection: None,
            rtcp: None,
            rtcp_mux: false,
            rtcp_mux_only: false,
            rtcp_rsize: false,
            direction,
            crypto: Vec::new(),
            mid: None,
            bundle_only: false,
            dtls: DtlsDescription::default(),
            ice: IceDescription::default(),
            extensions: Vec::new(),
            lines: vec![line],
        })
    }

    /// Takes one line after `m=`.
    fn read(&mut self, number: usize, line: Line) -> Result<(), SdpError> {
        match line.kind() {
            // The first of several counts: more than one is a layered multicast session.
            LineKind::Connection if self.connection.is_none() => {
                match parse_connection(number, &line) {
                    Ok(address) => self.connection = Some(address),
                    // What we don't relay may name its host as it likes.
                    Err(error) if self.is_relayed() => return Err(error),
                    Err(_) => {}
                }
            }
            LineKind::Direction(direction) => self.direction = direction,
            LineKind::Rtcp => self.rtcp = parse_rtcp(line.value()),
            LineKind::RtcpMux => {
                self.rtcp_mux = true;
                self.rtcp_mux_only |= line.attribute_name() == Some(b"rtcp-mux-only");
            }
            LineKind::BundleOnly => self.bundle_only = true,
            LineKind::Extmap => self.extensions.extend(HeaderExtension::parse(&line)),
            LineKind::Mid if !line.value().is_empty() => self.mid = Some(line.value_bytes()),
            LineKind::Crypto => self.read_crypto(&line),
            LineKind::RtcpReducedSize => self.rtcp_rsize = true,
            _ => {}
        }
        self.dtls.read(&line);
        self.ice.read(&line);
        self.lines.push(line);
        Ok(())
    }

    /// RFC 4568 section 4.1: tags are unique. Of two lines with one tag the first counts.
    fn read_crypto(&mut self, line: &Line) {
        let parsed = CryptoAttribute::parse(&line.value_bytes());
        self.crypto.extend(parsed.filter(|new| self.crypto.iter().all(|old| old.tag != new.tag)));
    }

    /// RTP that isn't rejected: what a relay needs an address for.
    pub fn is_relayed(&self) -> bool {
        self.port != 0 && self.protocol.is_rtp()
    }

    /// Hold of the old kind (RFC 3264 section 8.4): `c=` with the zero address.
    pub fn has_zero_address(&self) -> bool {
        self.connection.is_some_and(|address| address.is_unspecified())
    }

    /// Where the party receives RTP; `None` when it said nowhere (port 0, zero address).
    pub fn remote_rtp(&self) -> Option<SocketAddr> {
        endpoint(self.connection?, self.port)
    }

    /// Where the party receives RTCP: its RTP port with `a=rtcp-mux`, else
    /// [`MediaSection::remote_rtcp_unmuxed`].
    pub fn remote_rtcp(&self) -> Option<SocketAddr> {
        if self.rtcp_mux { self.remote_rtp() } else { self.remote_rtcp_unmuxed() }
    }

    /// Where the party receives RTCP when its offer of `a=rtcp-mux` is declined: as `a=rtcp`
    /// (RFC 3605) says, else the port after RTP's.
    pub fn remote_rtcp_unmuxed(&self) -> Option<SocketAddr> {
        let rtp = self.remote_rtp()?;
        match self.rtcp {
            Some((port, address)) => endpoint(address.unwrap_or(rtp.ip()), port),
            None => endpoint(rtp.ip(), rtp.port().checked_add(1)?),
        }
    }

    /// The value of the first attribute of this name: empty for a flag, `None` when not there.
    pub fn attribute(&self, name: &str) -> Option<Bytes> {
        attribute(&self.lines, name)
    }

    /// Any attribute of ICE.
    pub fn has_ice(&self) -> bool {
        self.lines.iter().any(|line| line.kind().is_ice())
    }
}

impl SessionSection {
    /// The value of the first attribute of this name: empty for a flag, `None` when not there.
    pub fn attribute(&self, name: &str) -> Option<Bytes> {
        attribute(&self.lines, name)
    }
}

/// The non-empty lines of a body with their numbers from 1; ends with LF or CRLF.
pub(super) struct Lines<'a> {
    body: &'a Bytes,
    at: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn of(body: &'a Bytes) -> Self {
        Self { body, at: 0, number: 0 }
    }
}

impl Iterator for Lines<'_> {
    type Item = (usize, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
            let (line, _) = split_once(rest, b'\n').unwrap_or((rest, &[]));
            self.at += line.len() + 1;
            self.number += 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                return Some((self.number, self.body.slice_ref(line)));
            }
        }
    }
}

/// RFC 8866 section 9: `<letter>=` and no NUL or CR within. A bare CR is refused rather than
/// passed on, since a peer may take it for a line end and see lines that we did not.
pub(super) fn check_line(number: usize, line: Bytes) -> Result<Line, SdpError> {
    if number > Sdp::MAX_LINES {
        return Err(SdpError::TooMany { line: number, what: "lines", limit: Sdp::MAX_LINES });
    }
    if line.len() < 2 || line[1] != b'=' || !line[0].is_ascii_lowercase() {
        let start = &line[..line.len().min(2)];
        return Err(SdpError::malformed(number, start, "a letter and ="));
    }
    if line.iter().any(|byte| matches!(byte, b'\0' | b'\r')) {
        return Err(SdpError::malformed(number, &line, "no NUL and no CR within a line"));
    }
    Ok(Line::new(line))
}

/// `IN IP4 <address>[/<ttl>]`.
fn parse_connection(number: usize, line: &Line) -> Result<IpAddr, SdpError> {
    parse_address(fields(line.value()))
        .ok_or_else(|| SdpError::malformed(number, line.text(), "IN IP4 or IN IP6 and an address"))
}

fn parse_address<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Option<IpAddr> {
    fields.next()?.eq_ignore_ascii_case(b"IN").then_some(())?;
    let family = fields.next()?;
    let address = fields.next()?;
    let (address, _ttl) = split_once(address, b'/').unwrap_or((address, &[]));
    let address: IpAddr = str::from_utf8(address).ok()?.parse().ok()?;
    let expected: &[u8] = if address.is_ipv4() { b"IP4" } else { b"IP6" };
    family.eq_ignore_ascii_case(expected).then_some(address)
}

/// `<port>[/<count>]`.
fn parse_port(text: &[u8]) -> Option<u16> {
    let (port, count) = split_once(text, b'/').unwrap_or((text, b"1"));
    parse_number(count)?;
    parse_number(port)
}

/// `<port> [IN IP4 <address>]`; a line we can't read is as if it weren't there.
fn parse_rtcp(value: &[u8]) -> Option<(u16, Option<IpAddr>)> {
    let mut fields = fields(value);
    let port = parse_number(fields.next()?)?;
    Some((port, parse_address(fields)))
}

/// Digits only: `str::parse` would also take a sign.
fn parse_number(text: &[u8]) -> Option<u16> {
    text.iter().all(u8::is_ascii_digit).then_some(())?;
    str::from_utf8(text).ok()?.parse().ok()
}

fn endpoint(address: IpAddr, port: u16) -> Option<SocketAddr> {
    (port != 0 && !address.is_unspecified()).then_some(SocketAddr::new(address, port))
}

fn attribute(lines: &[Line], name: &str) -> Option<Bytes> {
    let line = lines.iter().find(|line| line.attribute_name() == Some(name.as_bytes()))?;
    Some(line.value_bytes())
}
