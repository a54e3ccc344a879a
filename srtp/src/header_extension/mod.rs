//! Hiding RTP header extensions: chosen elements (RFC 6904), or all of them and the CSRCs with
//! them (Cryptex, RFC 9335).
//!
//! The packet path asks three things of a direction's [`HeaderProtection`]: which bytes of a
//! packet are encrypted with the payload, what to change in its header before that, and what to
//! change back afterwards. Most directions have none, and it lies boxed beside a key, because RFC
//! 6904 has a cipher of its own for each. What the SDP says (`a=cryptex`, `a=extmap`) is the
//! caller's to read.

mod cryptex;
mod elements;
mod encrypted;

use std::fmt;

pub use cryptex::Cryptex;
pub(crate) use cryptex::{CLEAR_LEN, gathered};
use encrypted::ElementCipher;

use crate::{Malformed, MasterKey, Unsuitable, rtp, transform::PacketId};

/// What a direction does with RTP header extensions. One of the two ways at most: a packet may not
/// use both (RFC 9335 section 5). Under a NULL profile either hides nothing, and Cryptex hides
/// nothing wherever SRTP is not encrypted ([`SessionParameters`](crate::SessionParameters)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderExtensions {
    /// They are authenticated, but anyone can read them (RFC 3711 section 3.1).
    #[default]
    Clear,
    /// The data of the elements with these ids are encrypted; ids and lengths are not (RFC 6904).
    ///
    /// A packet keeps its length. Elements are those of RFC 8285; another kind of extension has
    /// none and stays clear, as does an element that reaches past the extension's end.
    Encrypted(ExtensionIds),
    /// All extensions are encrypted, with their ids and lengths, and so are the CSRCs (RFC 9335).
    ///
    /// A packet with CSRCs but no extension gets an empty one, which the receiver leaves in place
    /// (sections 5.1 and 5.2): it grows by 4 bytes, for which its buffer needs room.
    Cryptex(Cryptex),
}

/// A set of extension element ids, the local identifiers of RFC 8285: 1 to 255, of which the
/// one-byte form of elements has 1 to 14.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExtensionIds([u64; 4]);

impl ExtensionIds {
    /// The set of `ids`; 0 is padding and no id.
    pub fn new(ids: impl IntoIterator<Item = u8>) -> Result<Self, Unsuitable> {
        let mut set = Self([0; 4]);
        for id in ids {
            if id == 0 {
                return Err(Unsuitable::ExtensionIdZero);
            }
            set.0[usize::from(id / 64)] |= 1 << (id % 64);
        }
        Ok(set)
    }

    /// Whether `id` is in the set.
    pub fn contains(&self, id: u8) -> bool {
        self.0[usize::from(id / 64)] & 1 << (id % 64) != 0
    }
}

impl fmt::Debug for ExtensionIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((1..=u8::MAX).filter(|&id| self.contains(id))).finish()
    }
}

/// How a key's packets have their header extensions hidden, and what that takes.
#[expect(clippy::large_enum_variant, reason = "it is always boxed itself")]
pub(crate) enum HeaderProtection {
    Encrypted(ElementCipher),
    Cryptex(Cryptex),
}

impl HeaderProtection {
    /// What `extensions` asks for under the keys of `master`; `None` if nothing.
    pub(crate) fn derive(extensions: HeaderExtensions, master: &MasterKey) -> Option<Box<Self>> {
        let protection = match extensions {
            HeaderExtensions::Clear => return None,
            HeaderExtensions::Encrypted(ids) => Self::Encrypted(ElementCipher::derive(master, ids)),
            HeaderExtensions::Cryptex(cryptex) => Self::Cryptex(cryptex),
        };
        Some(Box::new(protection))
    }

    /// The same without a master key, from which only RFC 6904 has keys to derive.
    pub(crate) fn without_master(
        extensions: HeaderExtensions,
    ) -> Result<Option<Box<Self>>, Unsuitable> {
        match extensions {
            HeaderExtensions::Clear => Ok(None),
            HeaderExtensions::Encrypted(_) => Err(Unsuitable::NoMasterKey),
            HeaderExtensions::Cryptex(cryptex) => Ok(Some(Box::new(Self::Cryptex(cryptex)))),
        }
    }

    /// How a packet is to be sent; changes nothing.
    pub(crate) fn frame(&self, header: &rtp::Header<'_>) -> Result<Framing, Malformed> {
        match self {
            Self::Encrypted(_) => Ok(Framing::plain(header)),
            Self::Cryptex(cryptex) => cryptex.frame(header),
        }
    }

    /// How a packet was sent; changes nothing.
    pub(crate) fn examine(&self, header: &rtp::Header<'_>) -> Result<Framing, Malformed> {
        match self {
            Self::Encrypted(_) => Ok(Framing::plain(header)),
            Self::Cryptex(cryptex) => cryptex.examine(header),
        }
    }

    /// Makes the header of `message` what will be sent, but for what is encrypted with the
    /// payload. Behind the packet are the [`Framing::added`] bytes.
    pub(crate) fn conceal(&self, id: PacketId, framing: Framing, message: &mut [u8]) {
        match self {
            Self::Encrypted(cipher) => cipher.apply(id, message),
            Self::Cryptex(_) => cryptex::conceal(framing, message),
        }
    }

    /// Makes the header of `message` what it was before, once the tag is known to be right and
    /// the payload is decrypted (RFC 6904 section 3: not before).
    pub(crate) fn reveal(&self, id: PacketId, message: &mut [u8]) {
        match self {
            Self::Encrypted(cipher) => cipher.apply(id, message),
            Self::Cryptex(_) => cryptex::reveal(message),
        }
    }
}

/// Which bytes of a packet, as it is sent, are encrypted with its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    /// Where the payload's run of encrypted bytes begins.
    pub(crate) header_len: usize,
    /// Bytes of CSRCs, encrypted at the beginning of that run although the extension's first word
    /// lies between; zero if they stay clear.
    pub(crate) csrc_len: usize,
    /// Bytes by which the packet grows.
    pub(crate) added: usize,
}

impl Framing {
    /// RFC 3711's: the header is clear.
    pub(crate) fn plain(header: &rtp::Header<'_>) -> Self {
        Self { header_len: header.payload_offset(), csrc_len: 0, added: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_ids_it_was_given_and_no_others() {
        let ids = ExtensionIds::new([1, 14, 63, 64, 255, 64]).expect("no zero");
        let held: Vec<_> = (0..=u8::MAX).filter(|&id| ids.contains(id)).collect();
        assert_eq!(held, [1, 14, 63, 64, 255]);
        assert_eq!(format!("{ids:?}"), "{1, 14, 63, 64, 255}");
        assert_eq!(ExtensionIds::new([3, 0]), Err(Unsuitable::ExtensionIdZero));
    }
}
