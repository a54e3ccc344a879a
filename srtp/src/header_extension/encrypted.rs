//! Encryption of chosen header extension elements (RFC 6904).
//!
//! ```text
//! extension:  id len | data | id len | data | padding
//! keystream:     -   | XOR  |    -   |   -  |    -        the second element is not chosen
//! ```
//!
//! The keystream is that of the payload's cipher, with the same IV, under a key and a salt of its
//! own (section 3.2); for the AEAD profiles, which have none, AES in counter mode (RFC 7714 section
//! 8.3). It runs along the whole extension, over headers, padding and what stays clear as well,
//! but is not used there. (libsrtp 2.5 does not run it along padding, so elements behind padding
//! differ between it and the RFC; padding at the end, the usual place, does no harm.)

use super::{
    ExtensionIds,
    elements::{Elements, Form},
};
use crate::{
    Backend, MasterKey, SessionKeys,
    profile::CipherKind,
    rtp,
    transform::{AesCm, F8, Keystream, Null, PacketId},
};

/// The ids of the elements to encrypt, and the cipher for it. The same operation decrypts.
pub(crate) struct ElementCipher {
    ids: ExtensionIds,
    cipher: Cipher,
}

enum Cipher {
    AesCm(AesCm),
    F8(F8),
    Null(Null),
}

impl ElementCipher {
    pub(super) fn derive(master: &MasterKey, ids: ExtensionIds) -> Self {
        let keys = SessionKeys::derive_for_header_extensions(master);
        let cipher = match keys.profile().cipher_kind() {
            CipherKind::CounterMode | CipherKind::Gcm => {
                Cipher::AesCm(AesCm::new(&keys, Backend::Portable))
            }
            CipherKind::F8 => Cipher::F8(F8::new(&keys)),
            CipherKind::Null => Cipher::Null(Null),
        };
        Self { ids, cipher }
    }

    /// Encrypts or decrypts the chosen elements of a packet, if it has any.
    pub(super) fn apply(&self, id: PacketId, message: &mut [u8]) {
        let Ok(header) = rtp::Header::new_checked(message) else { return };
        let Some((profile, data)) = header.extension() else { return };
        let Some(form) = Form::of(profile) else { return };
        let (end, len) = (header.payload_offset(), data.len());
        let (header, extension) = message[..end].split_at_mut(end - len);
        let elements = Elements::new(form, extension);
        match &self.cipher {
            Cipher::AesCm(cipher) => self.apply_to(elements, cipher.blocks(id, header)),
            Cipher::F8(cipher) => self.apply_to(elements, cipher.blocks(id, header)),
            Cipher::Null(cipher) => self.apply_to(elements, cipher.blocks(id, header)),
        }
    }

    fn apply_to(&self, elements: Elements<'_>, mut next_block: impl FnMut() -> [u8; BLOCK_LEN]) {
        let (mut block, mut block_end) = ([0; BLOCK_LEN], 0);
        for element in elements.filter(|element| self.ids.contains(element.id)) {
            for (at, byte) in (element.offset..).zip(element.data) {
                while at >= block_end {
                    block = next_block();
                    block_end += BLOCK_LEN;
                }
                *byte ^= block[at % BLOCK_LEN];
            }
        }
    }
}

const BLOCK_LEN: usize = 16;
