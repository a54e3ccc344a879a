//! Bytes from anyone instead of a ClientHello, in pieces of any size: gathered or refused without
//! a panic, the same whatever the pieces, and never more than 64 KiB and a record held.
#![no_main]

use kernel_tls::{HandshakeError, Hello, HelloReader};
use libfuzzer_sys::fuzz_target;
use rustls::ProtocolVersion;

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let at_once = HelloReader::new().received(bytes);
    let in_pieces = gather(bytes.chunks(usize::from(*size) + 1));
    match (at_once, in_pieces) {
        (Ok(Some(whole)), Ok(Some(pieced))) => {
            assert_eq!(whole.server_name(), pieced.server_name());
            for version in [ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3] {
                assert_eq!(whole.offers_version(version), pieced.offers_version(version));
            }
        }
        (Ok(None), Ok(None)) => assert!(bytes.len() <= (64 << 10) + 18_437 + 5),
        (Err(whole), Err(pieced)) => {
            assert_eq!(whole.label(), pieced.label());
            assert!(whole.peer_alert().is_some() || !whole.alert_bytes().is_empty());
        }
        (whole, pieced) => panic!("{whole:?} at once, {pieced:?} in pieces"),
    }
});

fn gather<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Option<Hello>, HandshakeError> {
    let mut reader = HelloReader::new();
    for piece in pieces {
        if let Some(hello) = reader.received(piece)? {
            return Ok(Some(hello));
        }
    }
    Ok(None)
}
