//! A stream's SRTP contexts, boxed because most legs of a gateway are plain.
//!
//! [`Opener`] survives a change of key: until the party's first packet under the new key, and a
//! little longer for what the network reordered, what the new key refuses is tried with the old
//! one. [`Sealer`] changes at once, and carries the sequence offsets of its sources
//! ([`super::sequence::Offset`]) over, so that receivers see numbers that only grow.

use std::time::{Duration, Instant};

use packet_io::Received;
use srtp::{KeyParameters, KeyState, Lifetimes, Mki, Policy, Receiver, Refusal, Sender};

use super::command::SrtpKey;
use super::demultiplex::Media;
use super::drop_reason::DropReason;
use super::sequence::Offset;

/// What the party sends.
pub(super) enum Inbound {
    /// Nothing said yet: dropped.
    Unset,
    /// Plain RTP.
    Clear,
    /// SRTP.
    Srtp(Box<Opener>),
}

/// What the party is sent.
pub(super) enum Outbound {
    /// Nothing said yet: nothing is sent, least of all in clear.
    Unset,
    /// Plain RTP.
    Clear,
    /// SRTP.
    Srtp(Box<Sealer>),
}

/// Room for one packet while it is tried with two keys: opening spoils what it refuses.
pub(super) type Scratch = [u8; Received::MAX_PACKET];

/// Opens what a party sends.
pub(super) struct Opener {
    receiver: Receiver,
    before: Option<Box<Before>>,
}

/// The key before the current one.
struct Before {
    receiver: Receiver,
    /// When it goes; not before the new key has been heard.
    until: Option<Instant>,
}

/// How long packets under the old key are still taken after the first under the new one: far
/// longer than any network reorders, far shorter than a key change is worth attacking.
const OVERLAP: Duration = Duration::from_secs(5);

impl Opener {
    /// A context for `key` that remembers the one it follows.
    #[expect(clippy::expect_used, reason = "the session refuses what a receiver would")]
    pub(super) fn new(key: &SrtpKey, replay_window: usize, follows: Inbound) -> Box<Self> {
        let before = match follows {
            Inbound::Srtp(opener) => {
                Some(Box::new(Before { receiver: opener.receiver, until: None }))
            }
            Inbound::Unset | Inbound::Clear => None,
        };
        let receiver = Receiver::new(parameters(key), &policy(replay_window))
            .expect("the session hands on only what it has checked");
        Box::new(Self { receiver, before })
    }

    /// Opens `packet` in place; its first bytes, as many as returned, are then in clear.
    pub(super) fn open(
        &mut self,
        media: Media,
        packet: &mut [u8],
        scratch: &mut Scratch,
        now: Instant,
    ) -> Result<(usize, KeyState), DropReason> {
        if self.before.is_some() {
            return self.open_with_either(media, packet, scratch, now);
        }
        Ok(open(&mut self.receiver, media, packet)?)
    }

    #[cold]
    fn open_with_either(
        &mut self,
        media: Media,
        packet: &mut [u8],
        scratch: &mut Scratch,
        now: Instant,
    ) -> Result<(usize, KeyState), DropReason> {
        let kept = scratch.get_mut(..packet.len()).ok_or(DropReason::Oversize)?;
        kept.copy_from_slice(packet);
        let mut opened = open(&mut self.receiver, media, packet);
        if let Some(before) = &mut self.before {
            match opened {
                Ok(_) if before.until.is_none() => before.until = Some(now + OVERLAP),
                Err(Refusal::AuthenticationFailed | Refusal::TooOld | Refusal::Replayed) => {
                    packet.copy_from_slice(kept);
                    opened = open(&mut before.receiver, media, packet);
                }
                _ => {}
            }
        }
        self.before.take_if(|before| before.until.is_some_and(|until| now >= until));
        Ok(opened?)
    }
}

/// Protects what a party is sent.
pub(super) struct Sealer {
    sender: Sender,
    /// By SSRC, used last first.
    offsets: Vec<(u32, Offset)>,
}

impl Sealer {
    /// Most sources renumbered; for a further one the longest silent is forgotten. Should that
    /// one come back, the sender still refuses whatever would repeat.
    const OFFSETS: usize = 16;

    /// A context for `key` that goes on in the numbers of the one it follows.
    #[expect(clippy::expect_used, reason = "the session refuses what a sender would")]
    pub(super) fn new(key: &SrtpKey, replay_window: usize, follows: Outbound) -> Box<Self> {
        let offsets = match follows {
            Outbound::Srtp(sealer) => sealer.offsets,
            Outbound::Unset | Outbound::Clear => Vec::new(),
        };
        let sender = Sender::new(parameters(key), &policy(replay_window))
            .expect("the session hands on only what it has checked");
        Box::new(Self { sender, offsets })
    }

    /// Protects the first `length` bytes of `buffer` in place; the rest is tailroom. Returns the
    /// new length.
    pub(super) fn seal(
        &mut self,
        media: Media,
        buffer: &mut [u8],
        length: usize,
    ) -> Result<(usize, KeyState), DropReason> {
        match media {
            Media::Rtp => {
                self.renumber(buffer)?;
                let sealed = self.sender.protect_rtp(buffer, length)?;
                Ok((sealed.len, sealed.key))
            }
            Media::Rtcp => {
                let sealed = self.sender.protect_rtcp(buffer, length)?;
                Ok((sealed.len, sealed.key))
            }
        }
    }

    /// Signalling spoke: sources may start over.
    pub(super) fn expect_restart(&mut self) {
        for (_, offset) in &mut self.offsets {
            offset.expect_restart();
        }
    }

    /// Feedback needs mapping.
    pub(super) fn renumbers(&self) -> bool {
        self.offsets.iter().any(|(_, offset)| !offset.is_zero())
    }

    /// What is added to the sequence numbers of `ssrc`.
    pub(super) fn offset_of(&self, ssrc: u32) -> Option<&Offset> {
        self.offsets.iter().find(|(known, _)| *known == ssrc).map(|(_, offset)| offset)
    }

    fn renumber(&mut self, packet: &mut [u8]) -> Result<(), DropReason> {
        let Some(&mut [_, _, ref mut high, ref mut low, _, _, _, _, c0, c1, c2, c3]) =
            packet.first_chunk_mut()
        else {
            return Err(DropReason::Malformed);
        };
        let ssrc = u32::from_be_bytes([c0, c1, c2, c3]);
        let sequence = u16::from_be_bytes([*high, *low]);
        match self.offsets.iter().position(|(known, _)| *known == ssrc) {
            Some(0) => {}
            Some(at) => self.offsets[..=at].rotate_right(1),
            None => self.begin(ssrc),
        }
        [*high, *low] = self.offsets[0].1.next(sequence).to_be_bytes();
        Ok(())
    }

    #[cold]
    fn begin(&mut self, ssrc: u32) {
        if self.offsets.len() < Self::OFFSETS {
            self.offsets.reserve_exact(1);
        } else {
            self.offsets.pop();
        }
        self.offsets.insert(0, (ssrc, Offset::default()));
    }
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(_) => Self::Malformed,
            Refusal::AuthenticationFailed | Refusal::UnknownMki => Self::AuthenticationFailed,
            Refusal::Replayed => Self::Replayed,
            Refusal::TooOld => Self::TooOld,
            Refusal::KeyExhausted => Self::KeyExhausted,
            Refusal::IndexReused => Self::IndexReused,
            Refusal::TooManyStreams => Self::TooManySources,
            Refusal::NoRoom => Self::Oversize,
        }
    }
}

fn open(
    receiver: &mut Receiver,
    media: Media,
    packet: &mut [u8],
) -> Result<(usize, KeyState), Refusal> {
    match media {
        Media::Rtp => receiver.open_rtp(packet).map(|opened| (opened.len, opened.key)),
        Media::Rtcp => receiver.open_rtcp(packet).map(|opened| (opened.len, opened.key)),
    }
}

fn parameters(key: &SrtpKey) -> KeyParameters<'_> {
    KeyParameters {
        master: &key.master,
        // A longer MKI or lifetime than SDES allows does not get through the session.
        mki: Mki::new(&key.mki).unwrap_or_default(),
        lifetimes: key
            .lifetime
            .and_then(|packets| Lifetimes::from_sdes(packets).ok())
            .unwrap_or_default(),
    }
}

fn policy(replay_window: usize) -> Policy {
    Policy { replay_window, ..Policy::default() }
}
