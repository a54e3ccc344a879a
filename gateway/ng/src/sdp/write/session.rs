//! The part before the first `m=`: `v= o= s= i= u= e= p= b= t=`, then attributes.

use bytes::{BufMut, Bytes};

use super::{CRLF, Output, TypedAddress, clean, token};
use crate::sdp::line::{LineKind, fields};
use crate::sdp::{Bundle, SessionRewrite, SessionSection};

impl Output {
    pub(super) fn session(&mut self, from: &SessionSection, to: &SessionRewrite) {
        self.copy(&from.lines, &[LineKind::Version]);
        match to.keeps_origin() {
            true => self.copy(&from.lines, &[LineKind::Origin]),
            false => self.origin(&from.origin, to),
        }
        match &to.session_name {
            Some(name) => self.value("s=", value_or_dash(clean(name))),
            None => self.copy(&from.lines, &[LineKind::SessionName]),
        }
        self.copy(
            &from.lines,
            &[LineKind::Information, LineKind::Contact, LineKind::Bandwidth, LineKind::Timing],
        );
        if let Some(mark) = &to.loop_protect {
            self.value("a=rtpengine:", clean(mark));
        }
        if to.ice_lite {
            self.put(b"a=ice-lite");
        }
        for bundle in &to.bundles {
            self.bundle(bundle);
        }
        self.copy(&from.lines, &[LineKind::Group]);
        self.copy_where(&from.lines, is_copied_in_session);
    }

    /// `a=group:BUNDLE <mid>…`: which sections share one transport (RFC 9143).
    fn bundle(&mut self, bundle: &Bundle) {
        self.0.put_slice(b"a=group:BUNDLE");
        for mid in &bundle.mids {
            self.0.put_u8(b' ');
            self.0.put_slice(token(mid));
        }
        self.0.put_slice(CRLF);
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

    fn number_or(&mut self, number: Option<u64>, otherwise: &[u8]) {
        self.0.put_u8(b' ');
        match number {
            Some(number) => self.text(format_args!("{number}")),
            None => self.0.put_slice(otherwise),
        }
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

/// Copied where the incumbent copies session attributes: all but what has a place elsewhere,
/// addresses, directions, keys, DTLS and ICE, which each section says for itself, and encryption of
/// headers, which like all of SRTP ends at us.
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
            | LineKind::Bundle
            | LineKind::Direction(_)
            | LineKind::HeaderEncryption
            | LineKind::Crypto
            | LineKind::KeyManagement
            | LineKind::Setup
            | LineKind::Fingerprint
            | LineKind::TlsId
            | LineKind::IceLite
            | LineKind::Ice
    )
}

/// RFC 8866 sections 5.2 and 5.3: a dash where there is nothing to say.
fn value_or_dash(value: &[u8]) -> &[u8] {
    if value.is_empty() { b"-" } else { value }
}
