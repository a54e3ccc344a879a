//! One inbound SA: ESP packets become payloads.
//!
//! The order is length, allowance, window, integrity, ceiling; then the window is marked. What
//! fails before that changes nothing but the packet itself. What an authentic packet holds is
//! looked at last: a malformed one is used up like any other.

use std::ops::Range;

use super::{
    Allowance, DropReason, HEADER_LEN, HEADROOM, NextHeader, SHORTEST, TRAILER_LEN,
    cipher::Cipher,
    replay::{Stale, Window},
    sequence,
};
use crate::{Aead, SaSpec, SequenceNumbers};

/// See the module `esp`.
pub struct Open {
    cipher: Cipher,
    sequence_numbers: SequenceNumbers,
    window: Window,
    ceiling: u64,
    /// The highest authentic number that the ceiling refused.
    refused: Option<u64>,
    allowance: Allowance,
}

/// What was in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Where in the packet the payload lies.
    pub payload: Range<usize>,
    /// What it is.
    pub next_header: NextHeader,
    /// The packet's whole number.
    pub sequence: u64,
}

impl Open {
    /// The SA that `sa` describes; numbers up to `sa.resume_after` are refused. What is said there
    /// of its direction is not asked.
    pub fn new(sa: &SaSpec) -> Self {
        Self {
            cipher: Cipher::new(sa.id.spi, &sa.keying, sa.sequence_numbers),
            sequence_numbers: sa.sequence_numbers,
            window: Window::new(sa.replay_window, sa.resume_after),
            ceiling: u64::MAX,
            refused: None,
            allowance: Allowance::new(&sa.lifetimes, sa.resume_after),
        }
    }

    /// The highest number accepted.
    pub fn highest(&self) -> u64 {
        self.window.highest()
    }

    /// What has been used, and what is left.
    pub fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// The highest number that may be accepted so far.
    pub fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Lets numbers up to `ceiling` be accepted, and none above.
    pub fn set_ceiling(&mut self, ceiling: u64) {
        self.ceiling = ceiling;
        self.refused = self.refused.filter(|&refused| refused > ceiling);
    }

    /// The highest number of an authentic packet that was refused for the ceiling, as long as it
    /// is above it: a sender that resumed has jumped, and waits for a higher one.
    pub fn refused(&self) -> Option<u64> {
        self.refused
    }

    /// Opens `packet`, which begins with the SPI of this SA, in place.
    ///
    /// # Errors
    /// [`DropReason::TooShort`], [`DropReason::HardLimit`], [`DropReason::Late`],
    /// [`DropReason::Replayed`], [`DropReason::Forged`], [`DropReason::Unreserved`]: the SA is as
    /// it was. [`DropReason::Padding`], [`DropReason::Dummy`]: the packet was authentic.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<Opened, DropReason> {
        if packet.len() < SHORTEST {
            return Err(DropReason::TooShort);
        }
        if self.allowance.is_spent() {
            return Err(DropReason::HardLimit);
        }
        let (header, body) = packet.split_at_mut(HEADROOM);
        let sequence = self.number(header)?;
        self.window.check(sequence).map_err(|stale| match stale {
            Stale::Replayed => DropReason::Replayed,
            Stale::Late => DropReason::Late,
        })?;
        let iv = std::array::from_fn(|at| header[HEADER_LEN + at]);
        self.cipher.open(sequence, iv, body).map_err(|_| self.refusal(sequence))?;
        if sequence > self.ceiling {
            self.refused = self.refused.max(Some(sequence));
            return Err(DropReason::Unreserved);
        }
        self.window.mark(sequence);
        let plain = &body[..body.len() - Aead::ICV_LEN];
        let unpadded = unpadded(plain);
        let (length, next_header) = *unpadded.as_ref().unwrap_or(&(plain.len(), NextHeader::NONE));
        self.allowance.spend(length);
        unpadded?;
        if next_header == NextHeader::NONE {
            return Err(DropReason::Dummy);
        }
        Ok(Opened { payload: HEADROOM..HEADROOM + length, next_header, sequence })
    }

    /// Of a packet that is not authentic as this number. A low half behind the window was taken for
    /// a number of the next 2^32. If it is nearer to the number behind, it is late, as it would be
    /// with its whole number sent: nobody has to know the key for that either.
    fn refusal(&self, sequence: u64) -> DropReason {
        let ahead = sequence.saturating_sub(self.window.highest());
        if ahead > 1 << 31 { DropReason::Late } else { DropReason::Forged }
    }

    /// The whole number of the packet with this header.
    fn number(&self, header: &[u8]) -> Result<u64, DropReason> {
        let low = u32::from_be_bytes(std::array::from_fn(|at| header[4 + at]));
        match self.sequence_numbers {
            SequenceNumbers::Short => Ok(u64::from(low)),
            SequenceNumbers::Extended => {
                sequence::extended(self.window.highest(), self.window.size(), low)
                    .ok_or(DropReason::Late)
            }
        }
    }
}

/// How long the payload is without its padding, and what it is.
fn unpadded(plain: &[u8]) -> Result<(usize, NextHeader), DropReason> {
    let [rest @ .., pad, next_header] = plain else { return Err(DropReason::Padding) };
    let pad = usize::from(*pad);
    let length = rest.len().checked_sub(pad).ok_or(DropReason::Padding)?;
    // RFC 4303 section 2.4: the receiver SHOULD inspect the padding.
    if rest[length..].iter().zip(1..).any(|(&byte, value): (&u8, u8)| byte != value) {
        return Err(DropReason::Padding);
    }
    Ok((length, NextHeader(*next_header)))
}

const _: () = assert!(SHORTEST - HEADROOM - Aead::ICV_LEN >= TRAILER_LEN);
