//! Any stream: framing never panics, cuts the same messages however the bytes arrive, and each
//! message it cuts can be decoded or answered.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ng::wire::{DecodeError, FrameError, Frames, Message};

fuzz_target!(|data: &[u8]| {
    let whole = cut(data, data.len().max(1));
    assert_eq!(whole, cut(data, 1));
    assert_eq!(whole, cut(data, 7));
    for frame in &whole.0 {
        assert!(!matches!(Message::decode(frame), Err(DecodeError::NoCookie)));
    }
});

/// The messages in `data` when it arrives in pieces of `size`, and how it ends.
fn cut(data: &[u8], size: usize) -> (Vec<Bytes>, Option<FrameError>) {
    let mut frames = Frames::default();
    let mut found = Vec::new();
    for chunk in data.chunks(size) {
        frames.push(chunk);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}
