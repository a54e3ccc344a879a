//! One `m=` section: relayed, rejected or passed through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, Bytes};

use super::{CRLF, Output, TypedAddress, clean, token};
use crate::sdp::codec::static_rtpmap;
use crate::sdp::line::{LineKind, fields};
use crate::sdp::{
    IceOptions, Line, LocalIce, LocalMedia, MediaSection, Protocol, RtcpLine, SessionRewrite,
    SessionSection,
};

impl Output {
    /// With our address, ports and keys, in the incumbent's order.
    pub(super) fn relay(&mut self, from: &MediaSection, to: &LocalMedia) {
        self.media(from, to.rtp.port(), to.protocol.name());
        self.copy(&from.lines, &[LineKind::Information]);
        let address = match to.keep_zero_address && from.has_zero_address() {
            true => zero_like(to.rtp.ip()),
            false => to.rtp.ip(),
        };
        self.connection(address);
        self.copy(&from.lines, &[LineKind::Bandwidth, LineKind::Timing]);
        match &to.generate_mid {
            Some(mid) if from.mid.is_none() => self.value("a=mid:", token(mid)),
            _ => self.copy(&from.lines, &[LineKind::Mid]),
        }
        self.copy(&from.lines, &[LineKind::Label]);
        if to.bundle_only {
            self.0.put_slice(b"a=bundle-only\r\n");
        }
        self.codecs(from, to);
        self.copy(&from.lines, &[LineKind::Extmap]);
        self.copy_where(&from.lines, |kind| match kind {
            LineKind::RtcpReducedSize => keeps_feedback(from, to),
            kind => is_copied_in_media(kind),
        });
        self.line(format_args!("a={}", to.direction.name()));
        self.transport(to);
        self.copy(&from.lines, &[LineKind::Ptime, LineKind::Maxptime]);
        if let Some(ice) = &to.ice {
            self.ice(ice);
        }
    }

    /// From `a=rtcp` to `a=tls-id`: how the packets travel, which is ours to say.
    fn transport(&mut self, to: &LocalMedia) {
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
        if let Some(dtls) = &to.dtls {
            self.line(format_args!("a=setup:{}", dtls.setup.name()));
            self.line(format_args!("a=fingerprint:{}", dtls.fingerprint));
            if let Some(id) = &dtls.tls_id {
                self.value("a=tls-id:", token(id));
            }
        }
    }

    /// From `a=ice-ufrag` to the end of the section.
    fn ice(&mut self, ice: &LocalIce) {
        self.value("a=ice-ufrag:", token(ice.credentials.ufrag.as_bytes()));
        self.value("a=ice-pwd:", token(ice.credentials.pwd.as_bytes()));
        match ice.options {
            IceOptions { trickle: false, ice2: false } => {}
            IceOptions { trickle: true, ice2: false } => self.put(b"a=ice-options:trickle"),
            IceOptions { trickle: false, ice2: true } => self.put(b"a=ice-options:ice2"),
            IceOptions { trickle: true, ice2: true } => self.put(b"a=ice-options:trickle ice2"),
        }
        for candidate in &ice.candidates {
            self.line(format_args!("a=candidate:{candidate}"));
        }
        for (index, chosen) in ice.remote_candidates.iter().enumerate() {
            let before = if index == 0 { "a=remote-candidates:" } else { " " };
            let (ip, port) = (chosen.address.ip(), chosen.address.port());
            self.text(format_args!("{before}{} {ip} {port}", chosen.component));
        }
        if !ice.remote_candidates.is_empty() {
            self.0.put_slice(CRLF);
        }
        if ice.end_of_candidates {
            self.put(b"a=end-of-candidates");
        }
    }

    /// `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` of each format in the order of `m=`, then those that
    /// belong to none of them (`a=rtcp-fb:*`).
    fn codecs(&mut self, from: &MediaSection, to: &LocalMedia) {
        let places = [LineKind::Rtpmap, LineKind::Fmtp, LineKind::RtcpFeedback];
        let places = &places[..if keeps_feedback(from, to) { 3 } else { 2 }];
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
    pub(super) fn reject(&mut self, from: &MediaSection, protocol: &Protocol) {
        self.media(from, 0, protocol.name());
        self.connection(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.copy(&from.lines, &[LineKind::Mid, LineKind::Label]);
    }

    /// As it came, with what it had from the session's lines that we don't write there.
    pub(super) fn pass_through(
        &mut self,
        session: &SessionSection,
        from: &MediaSection,
        to: &SessionRewrite,
    ) {
        let has = |kind| from.lines.iter().any(|line| line.kind() == kind);
        self.copy(&from.lines, &[LineKind::Media, LineKind::Information]);
        let connection = if has(LineKind::Connection) { &from.lines } else { &session.lines };
        self.copy(connection, &[LineKind::Connection]);
        self.copy_where(&from.lines, |kind| match kind {
            LineKind::Media | LineKind::Information | LineKind::Connection => false,
            kind => !(to.remove_ice && kind.is_ice()),
        });
        let has_own = |is: fn(LineKind) -> bool| from.lines.iter().any(|line| is(line.kind()));
        if !has_own(LineKind::is_dtls) {
            self.copy_where(&session.lines, LineKind::is_dtls);
        }
        if !(to.remove_ice || has_own(LineKind::is_ice)) {
            self.copy_where(&session.lines, LineKind::is_ice);
        }
        if let Some(direction) = session.direction.filter(|_| !has_direction(&from.lines)) {
            self.line(format_args!("a={}", direction.name()));
        }
    }

    /// `m=<media> <port> <proto> <fmt>…`.
    fn media(&mut self, from: &MediaSection, port: u16, protocol: &[u8]) {
        self.0.put_slice(b"m=");
        self.0.put_slice(&from.kind);
        self.text(format_args!(" {port} "));
        self.0.put_slice(clean(protocol));
        for format in &from.formats {
            self.0.put_u8(b' ');
            self.0.put_slice(format);
        }
        self.0.put_slice(CRLF);
    }
}

/// Whether `a=rtcp-fb` and `a=rtcp-rsize` are written. A profile without feedback must not promise
/// it (RFC 4585 section 4.2), nor reduced reports, which are of profiles with it (RFC 5506 section
/// 3.4.1); but where the party's own profile had none and it wrote the lines all the same, they
/// aren't ours to take out.
fn keeps_feedback(from: &MediaSection, to: &LocalMedia) -> bool {
    to.protocol.is_feedback() || !from.protocol.is_feedback()
}

/// Copied where the incumbent copies media attributes. `a=key-mgmt` isn't: keys agreed past us
/// would be keys that we can't open with; nor encryption of headers, which like all of SRTP ends at
/// us.
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
