//! Any datagram: decoding and reading the request never panic, and what is written reads back.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ng::request::Request;
use ng::wire::{Dict, Encoding, Message};

fuzz_target!(|data: &[u8]| {
    check(&Bytes::copy_from_slice(data));
    // Past the cookie at once.
    check(&Bytes::from([b"c d", data].concat()));
    flags(data);
});

fn check(datagram: &Bytes) {
    let Ok(message) = Message::decode(datagram) else { return };
    let (_, unknown) = Request::parse(&message.dict);
    unknown.iter().for_each(|ignored| drop(ignored.to_string()));
    // JSON cannot carry every byte, bencode can.
    let message = Message { encoding: Encoding::Bencode, ..message };
    assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
}

/// The data as the string that scripts write.
fn flags(data: &[u8]) {
    let dict = Dict::default()
        .with("command", "offer")
        .with("sdp", "v=0")
        .with("call-id", "c")
        .with("from-tag", "f")
        .with("rtpp-flags", Bytes::copy_from_slice(data));
    assert!(Request::parse(&dict).0.is_ok(), "flags never refuse an offer");
}
