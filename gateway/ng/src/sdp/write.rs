//! Writing a body again, in rtpengine 26.3's line order.
//!
//! There is no session-level `c=` or direction: every section gets its own. What has a place in
//! the order goes there; everything else is copied, in its own order, where the incumbent copies.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::static_rtpmap;
use super::line::{LineKind, fields};
use super::{
    Line, LocalMedia, MediaRewrite, MediaSection, RtcpLine, Sdp, SessionRewrite, SessionSection,
};

impl Sdp {
    /// Writes the body again. Sections beyond the end of `media` are rejected, so that a peer's
    /// address never slips through.
    pub fn rewrite(&self, session: &SessionRewrite, media: &[MediaRewrite]) -> Bytes {
        let growth: usize = media.iter().map(growth).sum();
        let mut out = Output(BytesMut::with_capacity(self.size() + GROWTH + growth));
        let keeps_dtls = media.iter().any(|rewrite| match rewrite {
            MediaRewrite::Relay(local) => local.protocol.is_dtls(),
            MediaRewrite::PassThrough => true,
            MediaRewrite::Reject => false,
        });
        out.session(&self.session, session, keeps_dtls);
        for (index, section) in self.media.iter().enumerate() {
            match media.get(index) {
                Some(MediaRewrite::Relay(local)) => out.relay(section, local, session),
                Some(MediaRewrite::PassThrough) => {
                    out.pass_through(&self.session, section, session);
                }
                Some(MediaRewrite::Reject) | None => out.reject(section),
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
    fn session(&mut self, from: &SessionSection, to: &SessionRewrite, keeps_dtls: bool) {
        self.copy(&from.lines, |kind| kind == LineKind::Version);
        match to.keeps_origin() {
            true => self.copy(&from.lines, |kind| kind == LineKind::Origin),
            false => self.origin(&from.origin, to),
        }
        match &to.session_name {
            Some(name) => self.value("s=", value_or_dash(clean(name))),
            None => self.copy(&from.lines, |kind| kind == LineKind::SessionName),
        }
        self.copy(&from.lines, |kind| kind == LineKind::Information);
        self.copy(&from.lines, |kind| kind == LineKind::Contact);
        self.copy(&from.lines, |kind| kind == LineKind::Bandwidth);
        self.copy(&from.lines, |kind| kind == LineKind::Timing);
        if let Some(mark) = &to.loop_protect {
            self.value("a=rtpengine:", clean(mark));
        }
        if !to.remove_ice {
            self.copy(&from.lines, |kind| kind == LineKind::IceLite);
        }
        self.copy(&from.lines, |kind| kind == LineKind::Group);
        self.copy(&from.lines, |kind| match kind {
            LineKind::Ice => !to.remove_ice,
            LineKind::Setup | LineKind::Fingerprint | LineKind::TlsId => keeps_dtls,
            kind => is_copied_in_session(kind),
        });
    }

    /// `o=<username> <session id> <version> IN IP4 <address>`.
    fn origin(&mut self, origin: &Bytes, to: &SessionRewrite) {
        // Six fields or none at all, which the parser saw to.
        let mut fields = fields(origin);
        let [Some(username), Some(id), Some(version), Some(net), Some(family), Some(address)] =
            [(); 6].map(|()| fields.next())
        else {
            return;
        };
        self.0.put_slice(b"o=");
        self.0.put_slice(match &to.origin_username {
            Some(username) => value_or_dash(token(username)),
            None => username,
        });
        self.number_or(to.origin_session_id, id);
        self.number_or(to.origin_version, version);
        match to.origin_address {
            Some(address) => self.line(format_args!(" IN {}", TypedAddress(address))),
            None => {
                for field in [net, family, address] {
                    self.0.put_u8(b' ');
                    self.0.put_slice(field);
                }
                self.0.put_slice(CRLF);
            }
        }
    }

    fn relay(&mut self, from: &MediaSection, to: &LocalMedia, session: &SessionRewrite) {
        self.media(from, to.rtp.port(), to.protocol.name());
        self.copy(&from.lines, |kind| kind == LineKind::Information);
        let address = match to.keep_zero_address && from.has_zero_address() {
            true => zero_like(to.rtp.ip()),
            false => to.rtp.ip(),
        };
        self.connection(address);
        self.copy(&from.lines, |kind| kind == LineKind::Bandwidth);
        self.copy(&from.lines, |kind| kind == LineKind::Timing);
        match &to.generate_mid {
            Some(mid) if from.mid.is_none() => self.value("a=mid:", token(mid)),
            _ => self.copy(&from.lines, |kind| kind == LineKind::Mid),
        }
        self.copy(&from.lines, |kind| kind == LineKind::Label);
        self.copy(&from.lines, |kind| kind == LineKind::BundleOnly);
        self.codecs(from, to);
        self.copy(&from.lines, |kind| kind == LineKind::Extmap);
        self.copy(&from.lines, is_copied_in_media);
        self.line(format_args!("a={}", to.direction.name()));
        self.transport(from, to);
        self.copy(&from.lines, |kind| kind == LineKind::Ptime);
        self.copy(&from.lines, |kind| kind == LineKind::Maxptime);
        if !session.remove_ice {
            self.copy(&from.lines, LineKind::is_ice);
        }
    }

    /// From `a=rtcp` to `a=tls-id`: how the packets travel, which is ours to say.
    fn transport(&mut self, from: &MediaSection, to: &LocalMedia) {
        match to.rtcp {
            RtcpLine::Omit => {}
            RtcpLine::Port(port) => self.line(format_args!("a=rtcp:{port}")),
            RtcpLine::Full(rtcp) => {
                self.line(format_args!("a=rtcp:{} IN {}", rtcp.port(), TypedAddress(rtcp.ip())));
            }
        }
        if to.rtcp_mux {
            self.0.put_slice(b"a=rtcp-mux\r\n");
        }
        for crypto in &to.crypto {
            crypto.print(to.key_padding, &mut self.0);
            self.0.put_slice(CRLF);
        }
        if to.protocol.is_dtls() {
            for place in [LineKind::Setup, LineKind::Fingerprint, LineKind::TlsId] {
                self.copy(&from.lines, |kind| kind == place);
            }
        }
    }

    /// `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` of each format in the order of `m=`, then those that
    /// belong to none of them (`a=rtcp-fb:*`).
    fn codecs(&mut self, from: &MediaSection, to: &LocalMedia) {
        // A profile without feedback must not promise it; but where the party's own profile had
        // none and it wrote the lines all the same, they aren't ours to take out.
        let keeps_feedback = to.protocol.is_feedback() || !from.protocol.is_feedback();
        let places = [LineKind::Rtpmap, LineKind::Fmtp, LineKind::RtcpFeedback];
        let places = &places[..if keeps_feedback { 3 } else { 2 }];
        for (index, format) in from.formats.iter().enumerate() {
            if from.formats[..index].contains(format) {
                continue;
            }
            for &place in places {
                let written = self.codec_lines(&from.lines, place, |of| of == &format[..]);
                if place == LineKind::Rtpmap && written == 0 {
                    self.static_rtpmap(format);
                }
            }
        }
        for &place in places {
            self.codec_lines(&from.lines, place, |of| !from.formats.iter().any(|f| f == of));
        }
    }

    /// Copies the lines at `place` whose payload type is `of` interest, and says how many.
    fn codec_lines(
        &mut self,
        lines: &[Line],
        place: LineKind,
        of: impl Fn(&[u8]) -> bool,
    ) -> usize {
        let lines = lines.iter().filter(|line| line.kind() == place && of(payload_type(line)));
        lines.map(|line| self.put(line.text())).count()
    }

    fn static_rtpmap(&mut self, format: &Bytes) {
        if let Some(encoding) = static_rtpmap(format) {
            self.0.put_slice(b"a=rtpmap:");
            self.0.put_slice(format);
            self.value(" ", encoding.as_bytes());
        }
    }

    /// RFC 3264 section 6: what is rejected keeps its place, transport and formats.
    fn reject(&mut self, from: &MediaSection) {
        self.media(from, 0, from.protocol.name());
        self.connection(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.copy(&from.lines, |kind| kind == LineKind::Mid);
        self.copy(&from.lines, |kind| kind == LineKind::Label);
    }

    fn pass_through(&mut self, session: &SessionSection, from: &MediaSection, to: &SessionRewrite) {
        let has = |kind| from.lines.iter().any(|line| line.kind() == kind);
        self.copy(&from.lines, |kind| kind == LineKind::Media);
        self.copy(&from.lines, |kind| kind == LineKind::Information);
        let connection = if has(LineKind::Connection) { &from.lines } else { &session.lines };
        self.copy(connection, |kind| kind == LineKind::Connection);
        self.copy(&from.lines, |kind| match kind {
            LineKind::Media | LineKind::Information | LineKind::Connection => false,
            kind => !(to.remove_ice && kind.is_ice()),
        });
        if let Some(direction) = session.direction.filter(|_| !has_direction(&from.lines)) {
            self.line(format_args!("a={}", direction.name()));
        }
    }

    /// `m=<media> <port> <proto> <fmt>…`.
    fn media(&mut self, from: &MediaSection, port: u16, protocol: &[u8]) {
        self.0.put_slice(b"m=");
        self.0.put_slice(&from.kind);
        let _ = write!(self.0, " {port} ");
        self.0.put_slice(clean(protocol));
        for format in &from.formats {
            self.0.put_u8(b' ');
            self.0.put_slice(format);
        }
        self.0.put_slice(CRLF);
    }

    fn connection(&mut self, address: IpAddr) {
        self.line(format_args!("c=IN {}", TypedAddress(address)));
    }

    /// Copies the lines of the kinds that `takes` says, in their order.
    fn copy(&mut self, lines: &[Line], takes: impl Fn(LineKind) -> bool) {
        lines.iter().filter(|line| takes(line.kind())).for_each(|line| self.put(line.text()));
    }

    fn number_or(&mut self, number: Option<u64>, otherwise: &[u8]) {
        self.0.put_u8(b' ');
        match number {
            // Writing to a BytesMut can't fail: it grows.
            Some(number) => drop(write!(self.0, "{number}")),
            None => self.0.put_slice(otherwise),
        }
    }

    fn value(&mut self, name: &str, value: &[u8]) {
        self.0.put_slice(name.as_bytes());
        self.put(value);
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(line);
        self.0.put_slice(CRLF);
    }

    fn put(&mut self, line: &[u8]) {
        self.0.put_slice(line);
        self.0.put_slice(CRLF);
    }
}

impl SessionRewrite {
    fn keeps_origin(&self) -> bool {
        self.origin_address.is_none()
            && self.origin_username.is_none()
            && self.origin_session_id.is_none()
            && self.origin_version.is_none()
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

/// Copied where the incumbent copies session attributes: all but what has a place elsewhere, and
/// addresses, directions and keys, which each section says for itself.
fn is_copied_in_session(kind: LineKind) -> bool {
    !matches!(
        kind,
        LineKind::Version
            | LineKind::Origin
            | LineKind::SessionName
            | LineKind::Information
            | LineKind::Contact
            | LineKind::Connection
            | LineKind::Bandwidth
            | LineKind::Timing
            | LineKind::Group
            | LineKind::Direction(_)
            | LineKind::Crypto
            | LineKind::KeyManagement
            | LineKind::IceLite
    )
}

/// Copied where the incumbent copies media attributes. `a=key-mgmt` isn't: keys agreed past us
/// would be keys that we can't open with.
fn is_copied_in_media(kind: LineKind) -> bool {
    matches!(kind, LineKind::Unknown | LineKind::Group | LineKind::Contact)
}

fn has_direction(lines: &[Line]) -> bool {
    lines.iter().any(|line| matches!(line.kind(), LineKind::Direction(_)))
}

/// The payload type that `a=rtpmap`, `a=fmtp` or `a=rtcp-fb` is about.
fn payload_type(line: &Line) -> &[u8] {
    fields(line.value()).next().unwrap_or_default()
}

fn zero_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
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

/// RFC 8866 sections 5.2 and 5.3: a dash where there is nothing to say.
fn value_or_dash(value: &[u8]) -> &[u8] {
    if value.is_empty() { b"-" } else { value }
}

const CRLF: &[u8] = b"\r\n";

/// Bytes that a section may grow by. Writing allocates once, not only to be quick: a buffer that
/// grew would leave copies of keys behind.
fn growth(rewrite: &MediaRewrite) -> usize {
    match rewrite {
        MediaRewrite::Relay(local) => GROWTH + CRYPTO_LINE * local.crypto.len(),
        MediaRewrite::Reject | MediaRewrite::PassThrough => GROWTH,
    }
}

/// What a part grows by: an address, a port, directions, and `a=rtpmap` of static types.
const GROWTH: usize = 512;

/// An `a=crypto` line with what usually follows its key.
const CRYPTO_LINE: usize = 192;
