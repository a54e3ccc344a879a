//! One outbound SA: payloads become ESP packets.
//!
//! The order is number, allowance, room; then nothing can fail, and the number is spent.

use std::ops::Range;

use super::{
    ALIGNMENT, Allowance, DropReason, HEADER_LEN, HEADROOM, NextHeader, TRAILER_LEN, cipher::Cipher,
};
use crate::{Aead, SaSpec, SequenceNumbers};

/// See the module `esp`.
pub struct Seal {
    cipher: Cipher,
    spi: [u8; 4],
    /// Of the packet sealed last.
    sequence: u64,
    /// The highest number that may be used now: the lower of the next two.
    last: u64,
    /// The highest that there is.
    end: u64,
    /// The highest that is reserved.
    ceiling: u64,
    allowance: Allowance,
}

impl Seal {
    /// The SA that `sa` describes; the first packet has the number after `sa.resume_after`. What
    /// is said there of its direction is not asked. No number is reserved but by
    /// [`set_ceiling`](Self::set_ceiling), for which there need not be a bound.
    pub fn new(sa: &SaSpec) -> Self {
        let end = match sa.sequence_numbers {
            SequenceNumbers::Extended => u64::MAX,
            SequenceNumbers::Short => u64::from(u32::MAX),
        };
        Self {
            cipher: Cipher::new(sa.id.spi, &sa.keying, sa.sequence_numbers),
            spi: sa.id.spi.value().to_be_bytes(),
            sequence: sa.resume_after,
            last: end,
            end,
            ceiling: u64::MAX,
            allowance: Allowance::new(&sa.lifetimes, sa.resume_after),
        }
    }

    /// The number of the packet sealed last.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What has been used, and what is left.
    pub fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// The highest number that may be used so far.
    pub fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Lets numbers up to `ceiling` be used, and none above.
    pub fn set_ceiling(&mut self, ceiling: u64) {
        self.ceiling = ceiling;
        self.last = self.end.min(ceiling);
    }

    /// Makes the bytes `payload` of `slot` an ESP packet: where in `slot` it lies. It takes
    /// [`HEADROOM`] bytes before and up to [`TAILROOM`](super::TAILROOM) after the payload.
    ///
    /// # Errors
    /// [`DropReason::HardLimit`], [`DropReason::SequenceExhausted`], [`DropReason::Unreserved`] or
    /// [`DropReason::NoRoom`]: nothing has changed.
    pub fn seal(
        &mut self,
        slot: &mut [u8],
        payload: Range<usize>,
        next_header: NextHeader,
    ) -> Result<Range<usize>, DropReason> {
        if self.sequence >= self.last {
            return Err(self.refusal());
        }
        if self.allowance.is_spent() {
            return Err(DropReason::HardLimit);
        }
        let padded = (payload.len() + TRAILER_LEN).next_multiple_of(ALIGNMENT);
        let start = payload.start.checked_sub(HEADROOM).ok_or(DropReason::NoRoom)?;
        let end = payload.start + padded + Aead::ICV_LEN;
        let packet = slot.get_mut(start..end).ok_or(DropReason::NoRoom)?;
        self.sequence += 1;
        self.allowance.spend(payload.len());
        self.write(packet, payload.len(), padded, next_header);
        Ok(start..end)
    }

    /// Writes what stands around the payload of `length` bytes, and seals.
    fn write(&self, packet: &mut [u8], length: usize, padded: usize, next_header: NextHeader) {
        // The counter that numbers packets is the IV as well: 64 bits even where 32 are sent, and
        // never twice under one key (RFC 4106 section 3.1, RFC 7634 section 2).
        let iv = self.sequence.to_be_bytes();
        packet[..4].copy_from_slice(&self.spi);
        packet[4..HEADER_LEN].copy_from_slice(&(self.sequence as u32).to_be_bytes());
        packet[HEADER_LEN..HEADROOM].copy_from_slice(&iv);
        let (body, icv) = packet[HEADROOM..].split_at_mut(padded);
        let pad = padded - TRAILER_LEN - length;
        for (byte, value) in body[length..length + pad].iter_mut().zip(1..) {
            *byte = value;
        }
        body[length + pad] = pad as u8;
        body[length + pad + 1] = next_header.0;
        icv.copy_from_slice(&self.cipher.seal(self.sequence, iv, body));
    }

    #[cold]
    fn refusal(&self) -> DropReason {
        if self.sequence >= self.end {
            DropReason::SequenceExhausted
        } else {
            DropReason::Unreserved
        }
    }
}
