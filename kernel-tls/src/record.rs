//! The five bytes in front of every record (RFC 8446 section 5.1): how long the record is, and
//! whether it can be one at all. Nothing is opened here and no state is kept; what is wrong with a
//! record is said by rustls, which is shown it.

/// Content type, version, length.
pub(crate) const HEADER: usize = 5;

/// The longest record that TLS 1.2 allows (RFC 5246 section 6.2.3); TLS 1.3 allows less, which
/// rustls enforces after opening it.
pub(crate) const MAX_BODY: usize = (1 << 14) + 2048;

/// The longest record with its header, in bytes.
pub(crate) const MAX_RECORD: usize = HEADER + MAX_BODY;

/// What one handshake message may occupy while its fragments are gathered: rustls's own limit for
/// the message, and one more record. TLS allows 16 MiB, which nobody needs.
pub(crate) const MAX_GATHERED: usize = 0xffff + MAX_RECORD;

/// What stands at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// This many more bytes are needed to know more, at least one.
    Missing(usize),
    /// A whole record of this many bytes, header included.
    Whole(usize),
    /// Nothing that could become a record: rustls refuses it by its header alone.
    Impossible,
}

/// Looks at the front of `bytes`.
pub(crate) fn front(bytes: &[u8]) -> Front {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Front::Missing(HEADER - bytes.len());
    };
    let [content_type, _, _, high, low] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_BODY || !(CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(&content_type) {
        return Front::Impossible;
    }
    match length.checked_sub(body.len()) {
        Some(missing) if missing > 0 => Front::Missing(missing),
        _ => Front::Whole(HEADER + length),
    }
}

/// How many records stand one behind the other in `bytes`, which we have just written ourselves.
pub(crate) fn count(mut bytes: &[u8]) -> u64 {
    let mut records = 0;
    while let Front::Whole(length) = front(bytes) {
        records += 1;
        bytes = bytes.get(length..).unwrap_or_default();
    }
    records
}

/// The lowest and the highest content type that are assigned (RFC 8446 appendix B.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HEARTBEAT: u8 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_whole_only_with_its_last_byte() {
        let record = [23, 3, 3, 0, 2, 0xaa, 0xbb];
        for taken in 0..HEADER {
            assert_eq!(front(&record[..taken]), Front::Missing(HEADER - taken));
        }
        assert_eq!(front(&record[..5]), Front::Missing(2));
        assert_eq!(front(&record[..6]), Front::Missing(1));
        assert_eq!(front(&record), Front::Whole(7));
    }

    #[test]
    fn a_record_without_a_body_is_whole() {
        assert_eq!(front(&[22, 3, 3, 0, 0]), Front::Whole(5));
    }

    #[test]
    fn what_cannot_become_a_record_is_seen_in_its_header() {
        assert_eq!(front(b"GET / HTTP/1.1"), Front::Impossible);
        assert_eq!(front(&[0x80, 0x2e, 1, 3, 1]), Front::Impossible, "an SSL 2 hello");
        assert_eq!(front(&[23, 3, 3, 0x48, 0x01]), Front::Impossible, "18,433 bytes");
        assert_eq!(front(&[23, 3, 3, 0x48, 0x00]), Front::Missing(MAX_BODY));
    }

    #[test]
    fn records_are_counted_by_their_headers() {
        assert_eq!(count(&[23, 3, 3, 0, 1, 9, 23, 3, 3, 0, 0]), 2);
        assert_eq!(count(&[]), 0);
    }
}
