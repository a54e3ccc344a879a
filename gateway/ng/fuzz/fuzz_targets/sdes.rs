//! Any `a=crypto` value: reading never panics, and what is written reads back as the same keys.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use ng::sdp::{CryptoAttribute, KeyPadding};

fuzz_target!(|data: &[u8]| {
    check(&Bytes::copy_from_slice(data));
    // A first key that is usable takes the fuzzer to lifetimes, MKIs and further keys at once.
    check(&Bytes::from([FIRST_KEY, data].concat()));
});

fn check(value: &Bytes) {
    let Some(read) = CryptoAttribute::parse(value) else { return };
    assert!(read.keys().count() <= srtp::MAX_KEYS);
    for padding in [KeyPadding::Omit, KeyPadding::Write] {
        let mut line = BytesMut::new();
        read.print(padding, &mut line);
        let value = line.freeze().slice(b"a=crypto:".len()..);
        assert_eq!(CryptoAttribute::parse(&value).as_ref(), Some(&read));
    }
}

const FIRST_KEY: &[u8] =
    b"1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
