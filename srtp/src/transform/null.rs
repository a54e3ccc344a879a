//! No encryption at all (RFC 3711 section 4.1.3): packets are authentic and in the clear.

use super::{Keystream, PacketId};

/// The NULL cipher.
pub(crate) struct Null;

impl Keystream for Null {
    fn apply(&self, _id: PacketId, _header: &[u8], _body: &mut [u8]) {}

    fn blocks(&self, _id: PacketId, _header: &[u8]) -> impl FnMut() -> [u8; 16] {
        || [0; 16]
    }
}
