//! Cookies, bencode and JSON: one datagram to one dictionary and back.
//!
//! A message is `<cookie> SP <dictionary>`; the dictionary's first byte says which encoding it is
//! in, and the reply goes back in the same one. Strings stay bytes and are slices of the
//! datagram wherever the encoding allows it, so whoever keeps one for longer than the request
//! should copy it rather than hold the whole datagram.
//!
//! Everything here is bounded: size, depth and number of elements. A peer can make us refuse a
//! message, not spend memory on it.

mod bencode;
mod json;
mod stream;
mod value;

use bytes::Bytes;

pub use stream::{FrameError, Frames};
pub use value::{Dict, Value};

/// The longest message we read, in bytes: a UDP datagram cannot be longer.
pub const MAX_MESSAGE: usize = 65_535;

/// The longest cookie we answer, in bytes. Peers use 20 to 50.
pub const MAX_COOKIE: usize = 256;

/// The deepest nesting of lists and dictionaries. Requests use four levels.
const MAX_DEPTH: usize = 16;

/// The most values in one message. A request has some thirty.
const MAX_VALUES: usize = 4096;

/// How a dictionary is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `d…e`, what SBCs send.
    Bencode,
    /// `{…}`, what scripts send.
    Json,
}

/// One request or reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What ties a reply to its request.
    pub cookie: Bytes,
    /// How the dictionary was written, and how its reply is to be.
    pub encoding: Encoding,
    /// The dictionary.
    pub dict: Dict,
}

/// Why a datagram is no message, and whether that can be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No cookie to answer with: no space, a leading space, or a cookie beyond [`MAX_COOKIE`].
    #[error("no cookie: expected \"<cookie> <dictionary>\"")]
    NoCookie,
    /// The cookie is there, the dictionary is not readable: answer with this reason.
    #[error("{reason}")]
    Unreadable {
        /// The cookie of the error reply.
        cookie: Bytes,
        /// The encoding of the error reply.
        encoding: Encoding,
        /// The incumbent's words, for `error-reason`.
        reason: &'static str,
    },
}

impl Message {
    /// Reads one datagram. Bytes after a bencode dictionary are ignored, as the incumbent does.
    pub fn decode(datagram: &Bytes) -> Result<Self, DecodeError> {
        let (cookie, payload) = split_cookie(datagram).ok_or(DecodeError::NoCookie)?;
        let encoding = match payload.first() {
            Some(b'd') => Encoding::Bencode,
            Some(b'{') => Encoding::Json,
            Some(_) => return Err(unreadable(cookie, Encoding::Bencode, INVALID_FORMAT)),
            None => return Err(unreadable(cookie, Encoding::Bencode, NO_PAYLOAD)),
        };
        if payload.len() > MAX_MESSAGE {
            return Err(unreadable(cookie, encoding, TOO_LONG));
        }
        let (dict, reason) = match encoding {
            Encoding::Bencode => (bencode::decode(&payload), BAD_BENCODE),
            Encoding::Json => (json::decode(&payload), BAD_JSON),
        };
        match dict {
            Some(dict) => Ok(Self { cookie, encoding, dict }),
            None => Err(unreadable(cookie, encoding, reason)),
        }
    }

    /// Writes the datagram.
    pub fn encode(&self) -> Bytes {
        encode(&self.cookie, self.encoding, &self.dict)
    }
}

/// Writes one datagram: cookie, space, dictionary.
pub fn encode(cookie: &[u8], encoding: Encoding, dict: &Dict) -> Bytes {
    let mut out = Vec::with_capacity(cookie.len() + likely_size(dict));
    out.extend_from_slice(cookie);
    out.push(b' ');
    match encoding {
        Encoding::Bencode => bencode::encode(dict, &mut out),
        Encoding::Json => json::encode(dict, &mut out),
    }
    // Exactly as long as needed: the cookie cache keeps thousands of these.
    Bytes::from(out.into_boxed_slice())
}

/// Room for the strings, which are most of a message, and a little for each value.
fn likely_size(dict: &Dict) -> usize {
    let size = |value: &Value| value.bytes().map_or(64, Bytes::len);
    dict.0.iter().map(|(key, value)| key.len() + size(value) + 16).sum()
}

/// Splits at the first space.
fn split_cookie(datagram: &Bytes) -> Option<(Bytes, Bytes)> {
    let space = datagram.iter().take(MAX_COOKIE + 1).position(|&byte| byte == b' ')?;
    (space > 0).then(|| (datagram.slice(..space), datagram.slice(space + 1..)))
}

fn unreadable(cookie: Bytes, encoding: Encoding, reason: &'static str) -> DecodeError {
    DecodeError::Unreadable { cookie, encoding, reason }
}

/// The incumbent's words, as observed: scripts match on them.
const INVALID_FORMAT: &str = "Invalid NG data format";
const NO_PAYLOAD: &str = "Invalid data (no payload)";
const BAD_BENCODE: &str = "Could not decode bencode dictionary";
const BAD_JSON: &str = "Failed to parse JSON document";
/// Only reachable over stream transports with larger frames; ours.
const TOO_LONG: &str = "Message too long: at most 65535 bytes";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(datagram: &'static [u8]) -> Result<Message, DecodeError> {
        Message::decode(&Bytes::from_static(datagram))
    }

    fn reason(datagram: &'static [u8]) -> &'static str {
        match decode(datagram) {
            Err(DecodeError::Unreadable { reason, .. }) => reason,
            other => panic!("expected an answerable error, got {other:?}"),
        }
    }

    #[test]
    fn reads_the_ping_that_kamailio_sends() {
        let message = decode(b"18_4711_1 d7:command4:pinge").unwrap();
        assert_eq!(message.cookie, "18_4711_1");
        assert_eq!(message.encoding, Encoding::Bencode);
        assert_eq!(message.dict.bytes("command").unwrap(), "ping");
    }

    #[test]
    fn without_a_cookie_there_is_no_reply() {
        for datagram in [&b"d7:command4:pinge"[..], b" d7:command4:pinge", b"", b" "] {
            let error = Message::decode(&Bytes::copy_from_slice(datagram)).unwrap_err();
            assert_eq!(error, DecodeError::NoCookie, "{datagram:?}");
        }
        let endless = Bytes::from(vec![b'x'; MAX_COOKIE + 1]);
        assert_eq!(Message::decode(&endless).unwrap_err(), DecodeError::NoCookie);
    }

    #[test]
    fn errors_use_the_incumbents_words() {
        assert_eq!(reason(b"y q"), "Invalid NG data format");
        assert_eq!(reason(b"y i5e"), "Invalid NG data format");
        assert_eq!(reason(b"y  d7:command4:pinge"), "Invalid NG data format");
        assert_eq!(reason(b"y "), "Invalid data (no payload)");
        assert_eq!(reason(b"y d7:command4:pin"), "Could not decode bencode dictionary");
        assert_eq!(reason(b"y d7:command4:ping\n"), "Could not decode bencode dictionary");
        assert_eq!(reason(b"y di5e4:pinge"), "Could not decode bencode dictionary");
        assert_eq!(reason(b"y {\"command\":"), "Failed to parse JSON document");
        assert_eq!(reason(b"y {} more"), "Failed to parse JSON document");
    }

    #[test]
    fn an_error_reply_keeps_cookie_and_encoding() {
        let error = decode(b"y {\"command\":").unwrap_err();
        let DecodeError::Unreadable { cookie, encoding, .. } = error else { panic!("{error:?}") };
        assert_eq!((&cookie[..], encoding), (&b"y"[..], Encoding::Json));
    }

    #[test]
    fn ignores_what_follows_a_bencode_dictionary() {
        assert!(decode(b"y d7:command4:pinge trailing").is_ok());
    }

    #[test]
    fn strings_are_slices_of_the_datagram() {
        let datagram = Bytes::from_static(b"y d7:command4:pinge");
        let message = Message::decode(&datagram).unwrap();
        let command = message.dict.bytes("command").unwrap();
        assert!(datagram.as_ptr_range().contains(&command.as_ptr()));
    }

    /// Values that both encodings can carry unchanged.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::Int),
            "[ -~\\r\\né]{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                proptest::collection::vec(("[a-z -]{0,8}", inner), 0..4).prop_map(|pairs| {
                    let mut dict = Dict::default();
                    pairs.into_iter().for_each(|(key, value)| dict.push(key, value));
                    Value::Dict(dict)
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(
            cookie in "[!-~]{1,40}",
            json: bool,
            entries in proptest::collection::vec(("[a-zA-Z -]{1,12}", value()), 0..6),
        ) {
            let mut dict = Dict::default();
            entries.into_iter().for_each(|(key, value)| dict.push(key, value));
            let encoding = if json { Encoding::Json } else { Encoding::Bencode };
            let message = Message { cookie: cookie.into(), encoding, dict };
            prop_assert_eq!(Message::decode(&message.encode()).unwrap(), message);
        }

        #[test]
        fn never_panics_on_arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::decode(&Bytes::from(bytes));
        }

        #[test]
        fn never_panics_on_almost_bencode(text in "x d[0-9a-eil:\\-]{0,80}") {
            let _ = Message::decode(&Bytes::from(text));
        }
    }
}
