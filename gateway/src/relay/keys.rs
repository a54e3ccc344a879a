//! A stream's SRTP contexts, boxed because most legs of a gateway are plain.
//!
//! [`Opener`] survives a change of keys: until the party's first packet under a key that stays,
//! and a little longer for what the network reordered, the old ones are still taken
//! ([`srtp::Succession`], or by MKI beside those that stay). [`Sealer`] changes at once, or after a DTLS
//! handshake once the party has the keys, and carries the sequence offsets of its sources
//! ([`super::sequence::Offset`]) over, so that receivers see numbers that only grow. From one key to
//! another that the party was given beside it, rounds and indexes go on too (RFC 3711 section 8.1).
//!
//! Keys are derived here, on the worker, between two batches: 2 µs a direction, less than adding
//! a socket to the driver. So indexes and replay windows exist in one place only, and signalling
//! never holds what could seal. A key that `srtp` refuses leaves the direction without any, which
//! drops its packets: nothing falls back to clear.

use std::time::{Duration, Instant};

use srtp::{KeyNotFound, KeyState, Mki, Policy, Receiver, Refusal, Sender, Succession, Unsuitable};

use super::demultiplex::Media;
use super::drop_reason::DropReason;
use super::key_plan::{KeyChange, SrtpKeys, Terms};
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

impl Inbound {
    /// Whether a packet of `media` that opened is the party's for certain.
    pub(super) fn authenticates(&self, media: Media) -> bool {
        match self {
            Self::Srtp(opener) => media == Media::Rtcp || opener.authenticates_rtp,
            Self::Clear | Self::Unset => false,
        }
    }

    /// Whether the party is known to have the newest keys.
    fn is_newest_heard(&self) -> bool {
        matches!(self, Self::Srtp(opener) if opener.receivers.is_newest_heard())
    }

    /// SRTP packets opened under the key last heard.
    pub(super) fn packets(&self) -> u64 {
        match self {
            Self::Srtp(opener) => {
                opener.receivers.newest().keys().next().map_or(0, |key| key.rtp_packets)
            }
            Self::Clear | Self::Unset => 0,
        }
    }
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

impl Outbound {
    /// SRTP packets sealed under the key in use.
    pub(super) fn packets(&self) -> u64 {
        match self {
            Self::Srtp(sealer) => sealer.sender.keys().next().map_or(0, |key| key.rtp_packets),
            Self::Clear | Self::Unset => 0,
        }
    }
}

/// Opens what a party sends.
pub(super) struct Opener {
    receivers: Succession,
    withdrawn: Option<Box<Withdrawn>>,
    /// UNAUTHENTICATED_SRTP was not agreed.
    authenticates_rtp: bool,
}

/// Keys of the newest receiver that the party has withdrawn.
struct Withdrawn {
    mkis: Vec<Mki>,
    /// When they go; not before a key that stays has been heard.
    until: Option<Instant>,
}

/// How long packets under an old key are still taken after the first under one that stays: far
/// longer than any network reorders, far shorter than a key change is worth attacking.
const OVERLAP: Duration = Duration::from_secs(5);

impl Opener {
    /// A context for `keys` that remembers the one it follows.
    pub(super) fn new(
        keys: &SrtpKeys,
        terms: Terms,
        replay_window: usize,
        follows: Inbound,
    ) -> Result<Box<Self>, Unsuitable> {
        let mut receiver = Receiver::new(keys.first.parameters(), &policy(terms, replay_window))?;
        for key in &keys.further {
            receiver.install(&key.parameters())?;
        }
        let authenticates_rtp = !terms.session.unauthenticated_rtp;
        Ok(match follows {
            Inbound::Srtp(mut opener) => {
                opener.receivers.follow(receiver);
                opener.withdrawn = None;
                // Receivers from before are asked for a while: what they let in proves nothing. A
                // leg once without authentication stays as wary of addresses as a plain one.
                opener.authenticates_rtp &= authenticates_rtp;
                opener
            }
            Inbound::Unset | Inbound::Clear => {
                let receivers = Succession::new(receiver, OVERLAP);
                Box::new(Self { receivers, withdrawn: None, authenticates_rtp })
            }
        })
    }

    /// Goes on with other keys beside those that stay. What an earlier change withdrew goes now,
    /// so that there is always room.
    pub(super) fn change(&mut self, change: KeyChange) -> Result<(), Unsuitable> {
        self.retire_withdrawn();
        for key in &change.install {
            self.receivers.newest_mut().install(&key.parameters())?;
        }
        if !change.retire.is_empty() {
            let withdrawn = Withdrawn { mkis: change.retire, until: None };
            self.withdrawn = Some(Box::new(withdrawn));
        }
        Ok(())
    }

    /// Signalling spoke: a party that keeps its key may begin its streams again, as some do after
    /// hold.
    pub(super) fn expect_restart(&mut self) {
        self.receivers.newest_mut().expect_restarts();
    }

    /// Whether the key last heard should be replaced soon.
    pub(super) fn key_state(&self) -> KeyState {
        self.receivers.newest().keys().next().map_or(KeyState::Fresh, |key| key.state)
    }

    /// Opens `packet` in place; its first bytes, as many as returned, are then in clear.
    pub(super) fn open(
        &mut self,
        media: Media,
        packet: &mut [u8],
        now: Instant,
    ) -> Result<(usize, KeyState), DropReason> {
        let opened = match media {
            Media::Rtp => self.receivers.open_rtp(packet, now).map(|o| (o.len, o.key)),
            Media::Rtcp => self.receivers.open_rtcp(packet, now).map(|o| (o.len, o.key)),
        }?;
        if self.withdrawn.is_some() {
            self.heard(now);
        }
        Ok(opened)
    }

    /// The party was heard while some of its keys are on their way out.
    #[cold]
    fn heard(&mut self, now: Instant) {
        let Some(withdrawn) = &mut self.withdrawn else { return };
        let heard = self.receivers.newest().keys().next();
        let stays = heard.is_some_and(|key| !withdrawn.mkis.contains(key.mki));
        // Else it may have been heard under a key from before all of these.
        if stays && self.receivers.older() == 0 {
            withdrawn.until.get_or_insert(now + OVERLAP);
        }
        if withdrawn.until.is_some_and(|until| now >= until) {
            self.retire_withdrawn();
        }
    }

    fn retire_withdrawn(&mut self) {
        for mki in self.withdrawn.take().iter().flat_map(|withdrawn| &withdrawn.mkis) {
            // A key that stays is always there beside it; one that is gone already is gone.
            let _ = self.receivers.newest_mut().retire(mki);
        }
    }
}

/// Protects what a party is sent.
pub(super) struct Sealer {
    sender: Sender,
    /// By SSRC, used last first.
    offsets: Vec<(u32, Offset)>,
    next: Option<Box<Next>>,
}

/// Keys that the party may not have yet: what says that a handshake is done is on its way.
struct Next {
    sender: Sender,
    /// From the first packet on that could have been under them.
    until: Option<Instant>,
}

/// How long we go on under the old keys towards a party that is not heard: longer than most networks
/// carry a Finished, short for a party that has let go of them.
const HANDOVER: Duration = Duration::from_millis(500);

impl Sealer {
    /// Most sources renumbered; for a further one the longest silent is forgotten. Should that
    /// one come back, the sender still refuses whatever would repeat.
    const OFFSETS: usize = 16;

    /// A context for `keys`, the first in use, that goes on in the numbers of the one it follows.
    pub(super) fn new(
        keys: &SrtpKeys,
        terms: Terms,
        replay_window: usize,
        follows: Outbound,
    ) -> Result<Box<Self>, Unsuitable> {
        let offsets = match follows {
            Outbound::Srtp(sealer) => sealer.offsets,
            Outbound::Unset | Outbound::Clear => Vec::new(),
        };
        let mut sender = Sender::new(keys.first.parameters(), &policy(terms, replay_window))?;
        for key in &keys.further {
            sender.install(&key.parameters())?;
        }
        Ok(Box::new(Self { sender, offsets, next: None }))
    }

    /// Goes on under `keys` once the party has them.
    pub(super) fn prepare(
        &mut self,
        keys: &SrtpKeys,
        terms: Terms,
        replay_window: usize,
    ) -> Result<(), Unsuitable> {
        let sender = Sender::new(keys.first.parameters(), &policy(terms, replay_window))?;
        self.next = Some(Box::new(Next { sender, until: None }));
        Ok(())
    }

    /// Keys wait.
    pub(super) fn has_next(&self) -> bool {
        self.next.is_some()
    }

    /// Goes on under the keys that wait, if the party is heard under its new ones or that took
    /// too long; true if so.
    #[cold]
    pub(super) fn hand_over(&mut self, party: &Inbound, now: Instant) -> bool {
        let Some(next) = &mut self.next else { return false };
        let until = *next.until.get_or_insert(now + HANDOVER);
        if !party.is_newest_heard() && now < until {
            return false;
        }
        if let Some(next) = self.next.take() {
            self.sender = next.sender;
        }
        true
    }

    /// Goes on under another of its keys.
    pub(super) fn switch_to(&mut self, mki: &Mki) -> Result<(), KeyNotFound> {
        self.sender.switch_to(mki)
    }

    /// Whether the key should be replaced soon.
    pub(super) fn key_state(&self) -> KeyState {
        self.sender.keys().next().map_or(KeyState::Fresh, |key| key.state)
    }

    /// The MKI of the key in use.
    pub(super) fn mki(&self) -> Mki {
        self.sender.keys().next().map(|key| key.mki.clone()).unwrap_or_default()
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

fn policy(terms: Terms, replay_window: usize) -> Policy {
    let Terms { session: parameters, accepted } = terms;
    Policy { replay_window, parameters, accepted, ..Policy::default() }
}
