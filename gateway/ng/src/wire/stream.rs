//! Messages on a stream (TCP): back to back, with nothing between them but what bencode itself
//! says about where a dictionary ends. JSON cannot be framed this way and ends the connection.
//!
//! The scan resumes where it stopped, so a message that trickles in byte by byte costs no more
//! than one that comes whole.

use bytes::{Buf, Bytes, BytesMut};

use super::bencode::{MAX_INT_DIGITS, MAX_LENGTH_DIGITS, string_length};
use super::{MAX_COOKIE, MAX_DEPTH, MAX_MESSAGE};

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
    scan: Scan,
}

/// Why a stream cannot go on: there is no way to find the next message in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not `<cookie> d…e`.
    #[error("stream is not \"<cookie> <bencode dictionary>\"")]
    Malformed,
    /// A message beyond [`MAX_MESSAGE`].
    #[error("message too long: at most {MAX_MESSAGE} bytes")]
    TooLong,
}

impl Frames {
    /// Takes what arrived. Call [`Self::next_frame`] until it is empty before adding more: that
    /// keeps the buffer below one message and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, for [`super::Message::decode`]; `None` until more arrives.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.scan.at == 0 {
            let blank = self.buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.buffer.advance(blank);
        }
        let end = self.scan.run(&self.buffer)?;
        if end.unwrap_or(self.buffer.len()) > MAX_MESSAGE {
            return Err(FrameError::TooLong);
        }
        Ok(end.map(|end| {
            self.scan = Scan::default();
            self.buffer.split_to(end).freeze()
        }))
    }

    /// Whether a message has begun and not ended: a close now cuts it.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// How far into the message under way we are.
#[derive(Debug, Default)]
struct Scan {
    /// The next token begins here; 0 is before the cookie.
    at: usize,
    /// Open lists and dictionaries.
    depth: usize,
}

impl Scan {
    /// Goes on as far as `data` reaches; the end of the message once it is all there.
    fn run(&mut self, data: &[u8]) -> Result<Option<usize>, FrameError> {
        if self.at == 0 && !self.cookie(data)? {
            return Ok(None);
        }
        while let Some(&first) = data.get(self.at) {
            let next = match first {
                b'd' => {
                    self.depth += 1;
                    Some(self.at + 1)
                }
                // A list could be framed, but no message is one.
                _ if self.depth == 0 => return Err(FrameError::Malformed),
                b'l' => {
                    self.depth += 1;
                    Some(self.at + 1)
                }
                b'e' => {
                    self.depth -= 1;
                    Some(self.at + 1)
                }
                b'i' => after(data, self.at, b'e', MAX_INT_DIGITS + 1)?,
                b'0'..=b'9' => string_end(data, self.at)?,
                _ => return Err(FrameError::Malformed),
            };
            if self.depth > MAX_DEPTH {
                return Err(FrameError::Malformed);
            }
            match next {
                Some(next) => self.at = next,
                None => return Ok(None),
            }
            if self.depth == 0 {
                return Ok(Some(self.at));
            }
        }
        Ok(None)
    }

    /// Steps over cookie and space; false until both are there.
    fn cookie(&mut self, data: &[u8]) -> Result<bool, FrameError> {
        match after(data, 0, b' ', MAX_COOKIE)? {
            Some(1) => Err(FrameError::Malformed),
            Some(next) => {
                self.at = next;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// The place after the next `stop`, which must come within `limit` bytes.
fn after(data: &[u8], at: usize, stop: u8, limit: usize) -> Result<Option<usize>, FrameError> {
    let window = &data[at..data.len().min(at + limit + 1)];
    match window.iter().position(|&byte| byte == stop) {
        Some(offset) => Ok(Some(at + offset + 1)),
        None if window.len() > limit => Err(FrameError::Malformed),
        None => Ok(None),
    }
}

/// The place after the string that begins at `at`, once its whole length is there.
fn string_end(data: &[u8], at: usize) -> Result<Option<usize>, FrameError> {
    let Some(start) = after(data, at, b':', MAX_LENGTH_DIGITS)? else { return Ok(None) };
    let length = string_length(&data[at..start - 1]).ok_or(FrameError::Malformed)?;
    if length > MAX_MESSAGE {
        return Err(FrameError::TooLong);
    }
    Ok(Some(start + length).filter(|&end| end <= data.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Dict, Encoding, encode};

    fn stream(count: usize) -> (Vec<Bytes>, Vec<u8>) {
        let messages: Vec<Bytes> = (0..count)
            .map(|n| {
                let dict = Dict::default()
                    .with("command", "offer")
                    .with("sdp", "v=0\r\n".repeat(n * 100))
                    .with("flags", vec!["fast".into(), 7_i64.into()]);
                encode(format!("c{n}").as_bytes(), Encoding::Bencode, &dict)
            })
            .collect();
        let bytes = messages.concat();
        (messages, bytes)
    }

    #[test]
    fn finds_messages_however_they_are_cut() {
        let (messages, bytes) = stream(5);
        for size in [1, 2, 7, 1000, bytes.len()] {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for chunk in bytes.chunks(size) {
                frames.push(chunk);
                while let Some(frame) = frames.next_frame().unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, messages, "chunks of {size}");
            assert!(!frames.is_partial());
        }
    }

    #[test]
    fn an_offer_longer_than_the_incumbents_1024_bytes_may_come_in_pieces() {
        let sdp = "a=x\r\n".repeat(3000);
        let message = encode(b"c", Encoding::Bencode, &Dict::default().with("sdp", sdp));
        let mut frames = Frames::default();
        frames.push(&message[..10_000]);
        assert_eq!(frames.next_frame(), Ok(None));
        frames.push(&message[10_000..]);
        assert_eq!(frames.next_frame(), Ok(Some(message)));
    }

    #[test]
    fn refuses_what_has_no_end() {
        for bad in [
            "c {\"command\":\"ping\"}".to_owned(),
            " d7:command4:pinge".to_owned(),
            "c li1ee".to_owned(),
            "c dxxe".to_owned(),
            format!("c d{}", "l".repeat(MAX_DEPTH + 1)),
            "x".repeat(MAX_COOKIE + 1),
        ] {
            let mut frames = Frames::default();
            frames.push(bad.as_bytes());
            assert_eq!(frames.next_frame(), Err(FrameError::Malformed), "{bad}");
        }
    }

    #[test]
    fn refuses_more_than_a_datagram_could_carry() {
        let mut frames = Frames::default();
        frames.push(b"c d3:sdp65536:");
        assert_eq!(frames.next_frame(), Err(FrameError::TooLong));

        let mut frames = Frames::default();
        frames.push(b"c d");
        frames.push(&b"1:x1:y".repeat(12_000));
        assert_eq!(frames.next_frame(), Err(FrameError::TooLong));
    }

    proptest! {
        #[test]
        fn never_panics_on_arbitrary_bytes(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
        ) {
            let mut frames = Frames::default();
            for chunk in chunks {
                frames.push(&chunk);
                while let Ok(Some(_)) = frames.next_frame() {}
            }
        }
    }
}
