//! `a=group:BUNDLE` (RFC 9143): sections that share one transport; and the header extensions by
//! which a receiver tells their packets apart. Which section a packet is of is the relay's to say.

use std::str;

use bytes::Bytes;

use super::line::fields;
use super::{Line, Sdp};

/// One `a=group:BUNDLE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// The `mid`s of its sections, at most [`Sdp::MAX_MEDIA`]. The first that stands names the
    /// tagged section, whose transport all share.
    pub mids: Vec<Bytes>,
}

impl Bundle {
    /// Reads a line that is one.
    pub(super) fn parse(line: &Line) -> Self {
        let value = line.value_bytes();
        let mids = fields(&value).skip(1).take(Sdp::MAX_MEDIA).map(|mid| value.slice_ref(mid));
        Self { mids: mids.collect() }
    }
}

/// One `a=extmap` (RFC 8285 section 8): what an id in packets stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderExtension {
    /// 1 to 14 in one-byte headers, to 255 in two-byte ones; higher ones are only proposed.
    pub id: u16,
    /// Which extension.
    pub uri: Bytes,
}

impl HeaderExtension {
    /// The extension that carries a section's `mid` (RFC 9143 section 15).
    pub const MID: &[u8] = b"urn:ietf:params:rtp-hdrext:sdes:mid";

    /// `<id>[/<direction>] <uri> [<attributes>]`; `None` where it isn't.
    pub(super) fn parse(line: &Line) -> Option<Self> {
        let value = line.value_bytes();
        let mut fields = fields(&value);
        let id = fields.next()?.split(|byte| *byte == b'/').next()?;
        let uri = value.slice_ref(fields.next()?);
        id.iter().all(u8::is_ascii_digit).then_some(())?;
        Some(Self { id: str::from_utf8(id).ok()?.parse().ok()?, uri })
    }
}
