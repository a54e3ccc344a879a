//! The framing that every netlink family shares: messages in a datagram, attributes in a message,
//! and errors with the kernel's own words.
//!
//! ```text
//! 0        4      6      8        12       16
//! | length | type | flags| sequence | port | payload, padded to 4 | next message ...
//! ```
//! Numbers are in the host's byte order, but for those that the kernel marks `__be`.

use super::numbers::{
    NLA_TYPE_MASK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR,
    NLMSGERR_ATTR_MSG,
};

/// Bytes before a message's payload.
pub(crate) const HEADER_LEN: usize = 16;

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// Whose request it answers or reports; 0 is the kernel itself.
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
}

/// The kernel's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Positive.
    pub(crate) errno: i32,
    /// Its own words (extack), where it has any.
    pub(crate) message: Option<String>,
}

impl Refusal {
    /// A failure of the call itself.
    pub(crate) fn of_call(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self { errno, message: None },
            None => Self { errno: libc::EPROTO, message: Some(error.to_string()) },
        }
    }
}

impl Message<'_> {
    /// Whether it ends the answer to a request.
    pub(crate) const fn is_last(&self) -> bool {
        matches!(self.kind, NLMSG_ERROR | NLMSG_DONE)
    }

    /// The dump that it belongs to missed a change: ask again.
    pub(crate) const fn is_interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }

    /// What the last message of an answer says; `Ok` of every other.
    pub(crate) fn outcome(&self) -> Result<(), Refusal> {
        if !self.is_last() {
            return Ok(());
        }
        let mut fields = Fields(self.payload);
        // A dump's end without a number is a success.
        let errno = fields.u32().unwrap_or(0).cast_signed().saturating_neg();
        if errno <= 0 {
            return Ok(());
        }
        let told = (self.flags & NLM_F_ACK_TLVS != 0).then(|| self.extack(fields)).flatten();
        Err(Refusal { errno, message: told })
    }

    /// The words after the number, and, in an error, after as much of the request as it repeats.
    fn extack(&self, mut fields: Fields<'_>) -> Option<String> {
        if self.kind == NLMSG_ERROR {
            let repeated = Fields(fields.take(HEADER_LEN)?).u32()? as usize;
            if self.flags & NLM_F_CAPPED == 0 {
                fields.take(aligned(repeated.checked_sub(HEADER_LEN)?)?)?;
            }
        }
        let text = attribute(fields.0, NLMSGERR_ATTR_MSG)?;
        Some(text_of(text))
    }
}

/// The messages of a datagram, up to the first that is no message.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = Fields(datagram);
    std::iter::from_fn(move || {
        let mut header = Fields(rest.0.get(..HEADER_LEN)?);
        let length = header.u32()? as usize;
        let (kind, flags) = (header.u16()?, header.u16()?);
        let (sequence, port) = (header.u32()?, header.u32()?);
        let payload = rest.0.get(HEADER_LEN..length)?;
        rest.skip_aligned(length);
        Some(Message { kind, flags, sequence, port, payload })
    })
}

/// The attributes that fill `bytes`, up to the first that is none.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = Fields(bytes);
    std::iter::from_fn(move || {
        let mut header = Fields(rest.0.get(..4)?);
        let length = usize::from(header.u16()?);
        let kind = header.u16()? & NLA_TYPE_MASK;
        let payload = rest.0.get(4..length)?;
        rest.skip_aligned(length);
        Some((kind, payload))
    })
}

/// The first attribute of that kind.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, payload)| payload)
}

/// A C string in a field of its own; whatever is no UTF-8 is replaced.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Reads a struct from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    pub(crate) fn be16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn be32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// `xfrm_address_t`: its family is told elsewhere.
    pub(crate) fn address(&mut self) -> Option<[u8; 16]> {
        self.array()
    }

    /// Goes on after an item of `length` bytes; the last one's padding may be missing.
    fn skip_aligned(&mut self, length: usize) {
        let end = aligned(length).map_or(self.0.len(), |end| end.min(self.0.len()));
        self.0 = &self.0[end..];
    }
}

/// Netlink pads everything to 4 bytes.
const fn aligned(length: usize) -> Option<usize> {
    length.checked_next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 answers a NEWSA for an AEAD that it lacks, with NETLINK_CAP_ACK.
    fn refusal_with_words() -> Vec<u8> {
        let words = b"Requested AEAD algorithm not found\0";
        let mut bytes = Vec::new();
        let length = 16 + 4 + 16 + 4 + words.len();
        bytes.extend((length as u32).to_ne_bytes());
        bytes.extend(NLMSG_ERROR.to_ne_bytes());
        bytes.extend((NLM_F_CAPPED | NLM_F_ACK_TLVS).to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend(4321u32.to_ne_bytes());
        bytes.extend((-libc::ENOSYS).to_ne_bytes());
        bytes.extend(500u32.to_ne_bytes()); // the request's header: its length counts its payload
        bytes.extend([0; 12]);
        bytes.extend((4 + words.len() as u16).to_ne_bytes());
        bytes.extend(NLMSGERR_ATTR_MSG.to_ne_bytes());
        bytes.extend(words);
        bytes
    }

    #[test]
    fn an_error_keeps_the_kernels_words() {
        let bytes = refusal_with_words();
        let message = messages(&bytes).next().expect("a message");
        let refusal = message.outcome().expect_err("refused");
        assert_eq!(refusal.errno, libc::ENOSYS);
        assert_eq!(refusal.message.as_deref(), Some("Requested AEAD algorithm not found"));
        assert_eq!((message.sequence, message.port), (7, 4321));
    }

    #[test]
    fn an_error_cut_anywhere_is_an_error_without_words_or_nothing() {
        let whole = refusal_with_words();
        for end in 0..whole.len() {
            let mut cut = whole[..end].to_vec();
            if let Some(length) = cut.first_chunk_mut() {
                *length = (end as u32).to_ne_bytes();
            }
            let outcome = messages(&cut).next().map(|message| message.outcome());
            assert!(!matches!(outcome, Some(Err(Refusal { message: Some(_), .. }))), "{end}");
        }
    }

    #[test]
    fn a_message_that_claims_more_than_there_is_ends_the_datagram() {
        let mut bytes = refusal_with_words();
        bytes.truncate(bytes.len() - 1);
        assert_eq!(messages(&bytes).count(), 0);
    }

    #[test]
    fn a_length_below_its_own_header_ends_the_list_and_does_not_loop() {
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }
}
