//! What can be told of a DTLS datagram by its records' headers, before libssl reads it.

use crate::webrtc::plan::DtlsRole;

/// Of a ClientHello; another one is another attempt (RFC 6347 section 4.2.1: a repeated one keeps
/// it).
pub(super) type Random = [u8; 32];

/// A handshake record of epoch 0 that begins with the message ClientHello; RFC 6347 sections 4.1
/// and 4.2.2.
pub(super) fn is_client_hello(datagram: &[u8]) -> bool {
    is_in_clear(datagram)
        && datagram.first() == Some(&HANDSHAKE)
        && datagram.get(RECORD_HEADER) == Some(&CLIENT_HELLO)
}

/// The random of a ClientHello, where its first fragment begins the datagram.
///
/// ```text
/// 0       13                         25        27       59
/// | record | type length seq offset.. | version | random |
/// ```
pub(super) fn hello_random(datagram: &[u8]) -> Option<Random> {
    let is_first = datagram.get(19..22) == Some(&[0, 0, 0]);
    let random = datagram.get(27..59).filter(|_| is_first && is_client_hello(datagram))?;
    random.try_into().ok()
}

/// What answers our first flight: handshake records of which a ClientHello, repeated to a server,
/// is none.
pub(super) fn is_answer(datagram: &[u8], role: DtlsRole) -> bool {
    let is_handshake = is_in_clear(datagram) && datagram.first() == Some(&HANDSHAKE);
    is_handshake && (role == DtlsRole::Client || !is_client_hello(datagram))
}

/// A record of epoch 0.
pub(super) fn is_in_clear(datagram: &[u8]) -> bool {
    datagram.get(3..5) == Some(&[0, 0])
}

/// The records before the first alert of epoch 0, and what that says if it would end the handshake
/// (RFC 5246 section 7.2). Whoever sends one says nothing after it.
pub(super) fn split_at_alert(datagram: &[u8]) -> (&[u8], Option<u8>) {
    let mut at = 0;
    while let Some(header @ [kind, ..]) = datagram.get(at..at + RECORD_HEADER) {
        if *kind == ALERT && is_in_clear(header) {
            let (before, alert) = datagram.split_at(at);
            let ends = match alert.get(RECORD_HEADER..RECORD_HEADER + 2) {
                Some(&[FATAL, what]) => Some(what),
                Some(&[_, CLOSE_NOTIFY]) => Some(CLOSE_NOTIFY),
                _ => None,
            };
            return (before, ends);
        }
        at += RECORD_HEADER + usize::from(u16::from_be_bytes([header[11], header[12]]));
    }
    (datagram, None)
}

/// Type, version, epoch, sequence number, length (RFC 6347 section 4.1).
const RECORD_HEADER: usize = 13;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let length = body.len() as u8;
        [&[kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 1, 0, length], body].concat()
    }

    #[test]
    fn only_alerts_in_the_clear_are_split_off_wherever_they_are() {
        let (hello, fatal) = (record(22, 0, &[1; 20]), record(21, 0, &[2, 40]));
        let sealed = record(21, 1, &[2, 40]);
        assert_eq!(split_at_alert(&fatal), (&[][..], Some(40)));
        let both = [hello.as_slice(), &fatal].concat();
        assert_eq!(split_at_alert(&both), (hello.as_slice(), Some(40)));
        for untouched in [&hello, &sealed, &[hello.as_slice(), &sealed].concat()] {
            assert_eq!(split_at_alert(untouched), (untouched.as_slice(), None));
        }
        assert_eq!(split_at_alert(&record(21, 0, &[1, 0])), (&[][..], Some(0)));
        assert_eq!(split_at_alert(&record(21, 0, &[1, 90])), (&[][..], None), "a warning");
        for end in 0..both.len() {
            let (rest, alert) = split_at_alert(&both[..end]);
            assert!(rest.len() <= hello.len().max(end) && alert.is_none(), "{end}");
        }
    }

    #[test]
    fn the_random_is_the_first_fragments() {
        let mut body = vec![0; 60];
        body[0] = 1;
        body[14..46].fill(7);
        assert_eq!(hello_random(&record(22, 0, &body)), Some([7; 32]));
        assert_eq!(hello_random(&record(22, 1, &body)), None, "sealed");
        assert_eq!(hello_random(&record(22, 0, &body[..45])), None, "cut off");
        body[8] = 1;
        assert_eq!(hello_random(&record(22, 0, &body)), None, "another fragment");
        (body[0], body[8]) = (2, 0);
        assert_eq!(hello_random(&record(22, 0, &body)), None, "another message");
    }
}
