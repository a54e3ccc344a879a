//! What can be told of a DTLS datagram by its first record's header, before libssl reads it.

use crate::webrtc::plan::DtlsRole;

/// A handshake record (22) of epoch 0 that begins with the message ClientHello (1); RFC 6347
/// sections 4.1 and 4.2.2.
pub(super) fn is_client_hello(datagram: &[u8]) -> bool {
    is_in_clear(datagram) && datagram.first() == Some(&22) && datagram.get(13) == Some(&1)
}

/// What answers our first flight: handshake records of which a ClientHello, repeated to a server,
/// is none.
pub(super) fn is_answer(datagram: &[u8], role: DtlsRole) -> bool {
    let is_handshake = is_in_clear(datagram) && datagram.first() == Some(&22);
    is_handshake && (role == DtlsRole::Client || !is_client_hello(datagram))
}

/// A record of epoch 0.
pub(super) fn is_in_clear(datagram: &[u8]) -> bool {
    datagram.get(3..5) == Some(&[0, 0])
}
