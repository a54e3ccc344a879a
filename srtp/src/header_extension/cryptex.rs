//! Cryptex: header extensions and CSRCs encrypted with the payload (RFC 9335).
//!
//! ```text
//! as sent:       | fixed header | CSRCs | C0DE len | extension | payload |
//! the cipher's:  | fixed header | C0DE len | CSRCs | extension | payload |
//!                |---------- clear --------|---------- encrypted --------|
//! ```
//!
//! The profile word says both that a packet is so encrypted and of which form its elements are.
//! HMAC covers the packet as sent, an AEAD the cipher's order (section 6.2, RFC 3711 section 3.1).
//! Without CSRCs the two orders are one.

use super::{Framing, elements};
use crate::{Malformed, rtp};

/// How Cryptex is used. Both directions of a session may differ: a peer that can receive it need
/// not send it (RFC 9335 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cryptex {
    /// Sent where it can be: an extension that is not RFC 8285's, or whose profile word has
    /// application bits, goes clear, with its packet's CSRCs. Packets that do not use it are
    /// opened too.
    Optional,
    /// A packet with CSRCs or an extension that does not use it, or cannot, is refused
    /// ([`Malformed::ExtensionProfile`]).
    Required,
}

impl Cryptex {
    pub(super) fn frame(self, header: &rtp::Header<'_>) -> Result<Framing, Malformed> {
        let csrc_len = 4 * header.csrc_count();
        match header.extension() {
            None if csrc_len == 0 => Ok(Framing::plain(header)),
            None => Ok(Framing { added: WORD_LEN, ..Framing::cryptex(csrc_len) }),
            Some((profile, _)) if concealed(profile).is_some() => Ok(Framing::cryptex(csrc_len)),
            // Sent as it is, the receiver would decrypt what is not encrypted.
            Some((profile, _)) if revealed(profile).is_some() => Err(Malformed::ExtensionProfile),
            Some(_) => self.without(header),
        }
    }

    pub(super) fn examine(self, header: &rtp::Header<'_>) -> Result<Framing, Malformed> {
        let csrc_len = 4 * header.csrc_count();
        match header.extension() {
            None if csrc_len == 0 => Ok(Framing::plain(header)),
            Some((profile, _)) if revealed(profile).is_some() => Ok(Framing::cryptex(csrc_len)),
            _ => self.without(header),
        }
    }

    fn without(self, header: &rtp::Header<'_>) -> Result<Framing, Malformed> {
        match self {
            Self::Optional => Ok(Framing::plain(header)),
            Self::Required => Err(Malformed::ExtensionProfile),
        }
    }
}

impl Framing {
    fn cryptex(csrc_len: usize) -> Self {
        Self { header_len: CLEAR_LEN + csrc_len, csrc_len, added: 0 }
    }
}

/// Gives a packet Cryptex's profile word, and an extension to have it if there is none.
pub(super) fn conceal(framing: Framing, message: &mut [u8]) {
    if framing.added != 0 {
        let csrc_end = rtp::FIXED_LEN + framing.csrc_len;
        let end = message.len() - framing.added;
        message.copy_within(csrc_end..end, csrc_end + framing.added);
        message[0] |= rtp::EXTENSION_BIT;
        let [high, low] = CRYPTEX_ONE_BYTE.to_be_bytes();
        message[csrc_end..csrc_end + WORD_LEN].copy_from_slice(&[high, low, 0, 0]);
    } else {
        replace_profile(message, concealed);
    }
}

/// Gives it back RFC 8285's.
pub(super) fn reveal(message: &mut [u8]) {
    replace_profile(message, revealed);
}

/// Does `act` on the packet in the cipher's order: [`CLEAR_LEN`] bytes, CSRCs, extension, payload.
pub(crate) fn gathered<T>(
    message: &mut [u8],
    csrc_len: usize,
    act: impl FnOnce(&mut [u8]) -> T,
) -> T {
    let moving = rtp::FIXED_LEN..CLEAR_LEN + csrc_len;
    message[moving.clone()].rotate_right(WORD_LEN);
    let result = act(message);
    message[moving].rotate_left(WORD_LEN);
    result
}

fn replace_profile(message: &mut [u8], other: fn(u16) -> Option<u16>) {
    let Ok(header) = rtp::Header::new_checked(message) else { return };
    let Some((profile, _)) = header.extension() else { return };
    let Some(profile) = other(profile) else { return };
    let at = rtp::FIXED_LEN + 4 * header.csrc_count();
    message[at..at + 2].copy_from_slice(&profile.to_be_bytes());
}

/// Cryptex's profile word for one of RFC 8285. It has no place for application bits.
fn concealed(profile: u16) -> Option<u16> {
    match profile {
        elements::ONE_BYTE => Some(CRYPTEX_ONE_BYTE),
        elements::TWO_BYTE => Some(CRYPTEX_TWO_BYTE),
        _ => None,
    }
}

/// RFC 8285's profile word for one of Cryptex.
fn revealed(profile: u16) -> Option<u16> {
    match profile {
        CRYPTEX_ONE_BYTE => Some(elements::ONE_BYTE),
        CRYPTEX_TWO_BYTE => Some(elements::TWO_BYTE),
        _ => None,
    }
}

/// The fixed header and the extension's first word.
pub(crate) const CLEAR_LEN: usize = rtp::FIXED_LEN + WORD_LEN;
const CRYPTEX_ONE_BYTE: u16 = 0xc0de;
const CRYPTEX_TWO_BYTE: u16 = 0xc2de;
/// Profile and length of an extension.
const WORD_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_gathered_and_put_back() {
        for csrc_len in [0, 4, 60] {
            let sent: Vec<u8> = (0..100).collect();
            let mut message = sent.clone();
            gathered(&mut message, csrc_len, |message| {
                assert_eq!(message[..12], sent[..12]);
                assert_eq!(message[12..16], sent[12 + csrc_len..16 + csrc_len], "the word");
                assert_eq!(message[16..16 + csrc_len], sent[12..12 + csrc_len], "the CSRCs");
                assert_eq!(message[16 + csrc_len..], sent[16 + csrc_len..]);
            });
            assert_eq!(message, sent);
        }
    }
}
