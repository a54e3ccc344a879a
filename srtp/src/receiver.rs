//! Opening packets: one direction of a session, as many SSRCs as its table holds.
//!
//! The order is fixed, for SRTP and SRTCP and every profile alike:
//! 1. find the key by its MKI; limit: may it still be used?
//! 2. parse, estimate the index, and ask the replay window;
//! 3. check the tag, decrypt;
//! 4. only now mark the index, create the stream if it is new, count the packet.
//!
//! So no unauthenticated packet changes anything. A change of key goes on in the same indexes.

mod candidate;
mod guessing;

use std::fmt;

pub(crate) use candidate::Candidate;
use candidate::KeyAt;

use crate::{
    KeyNotFound, KeyParameters, KeyState, KeyStatus, Malformed, Mki, PacketIndex, PacketKind,
    Policy, Refusal, SessionKeys, Unsuitable,
    header_extension::Framing,
    index::Estimate,
    key_ring::{Key, KeyRing},
    replay::Stale,
    roc_guess::RocGuesses,
    rtcp, rtp,
    sealed_state::{Content, NotRestored},
    streams::{Slot, Streams},
    transform::{ENCRYPTED_FLAG, MAX_MESSAGE_LEN, OpenJob, PacketId, Trailer},
};

/// Opens the SRTP and SRTCP packets that one side of a session sends.
pub struct Receiver {
    keys: KeyRing,
    rtp: Streams,
    rtcp: Streams,
    rtp_trailer: Trailer,
    rtcp_trailer: Trailer,
    guesses: Option<Box<RocGuesses>>,
}

/// An SRTP packet, opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Length in bytes of the plain RTP packet at the start of the buffer.
    pub len: usize,
    /// Its source.
    pub ssrc: u32,
    /// Its place in its stream.
    pub index: PacketIndex,
    /// Whether the key should be replaced soon.
    pub key: KeyState,
}

/// An SRTCP packet, opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedRtcp {
    /// Length in bytes of the plain RTCP packet at the start of the buffer.
    pub len: usize,
    /// Its sender.
    pub ssrc: u32,
    /// Its 31-bit SRTCP index.
    pub index: u32,
    /// Whether the key should be replaced soon.
    pub key: KeyState,
}

impl Receiver {
    /// A receiver under `key`: a `&MasterKey`, or [`KeyParameters`] with MKI and lifetimes.
    pub fn new<'k>(key: impl Into<KeyParameters<'k>>, policy: &Policy) -> Result<Self, Unsuitable> {
        Ok(Self::with_keys(KeyRing::new(&key.into(), policy)?, policy))
    }

    /// A receiver with session keys as given, as for [`crate::Sender::from_session_keys`].
    pub fn from_session_keys(
        rtp: &SessionKeys,
        rtcp: SessionKeys,
        policy: &Policy,
    ) -> Result<Self, Unsuitable> {
        Ok(Self::with_keys(KeyRing::of_session_keys(rtp, rtcp, policy)?, policy))
    }

    fn with_keys(keys: KeyRing, policy: &Policy) -> Self {
        Self {
            rtp_trailer: keys.trailer(PacketKind::Rtp),
            rtcp_trailer: keys.trailer(PacketKind::Rtcp),
            keys,
            rtp: Streams::new(policy.max_streams, policy.window_bits()),
            rtcp: Streams::new(policy.max_streams, RTCP_WINDOW_BITS),
            guesses: None,
        }
    }

    /// Takes packets under a further key too, which they name by its MKI.
    pub fn install(&mut self, key: &KeyParameters<'_>) -> Result<(), Unsuitable> {
        self.keys.install(key)
    }

    /// Takes no more packets under the key of `mki`, which must not be the only one. Wait with it
    /// for what the network still carries: a few seconds after the first packet under a newer key.
    pub fn retire(&mut self, mki: &Mki) -> Result<(), KeyNotFound> {
        self.keys.retire(mki)
    }

    /// The keys, the one last heard first.
    pub fn keys(&self) -> impl Iterator<Item = KeyStatus<'_>> {
        self.keys.status()
    }

    pub(crate) fn content(&self) -> Content {
        let (rtp, rtcp) = (self.rtp.export().collect(), self.rtcp.export().collect());
        Content { rtcp_index: 0, keys: self.keys.uses(), rtp, rtcp }
    }

    pub(crate) fn restore(&mut self, content: &Content) -> Result<(), NotRestored> {
        if self.rtp.all().next().is_some() || self.rtcp.all().next().is_some() {
            return Err(NotRestored::InUse);
        }
        if !self.keys.has(&content.keys) {
            return Err(NotRestored::OtherKeys);
        }
        let rtp = self.rtp.imported(&content.rtp)?;
        self.rtcp = self.rtcp.imported(&content.rtcp)?;
        self.rtp = rtp;
        self.keys.resume(&content.keys, 0, 0);
        Ok(())
    }

    /// Whether `content` belongs to a key that is here too.
    pub(crate) fn shares_key(&self, content: &Content) -> bool {
        self.keys.shares(&content.keys)
    }

    /// Takes for received what another receiver, which shares a key, has received.
    pub(crate) fn absorb(&mut self, content: &Content) {
        content.rtp.iter().for_each(|stream| self.rtp.absorb(stream));
        content.rtcp.iter().for_each(|stream| self.rtcp.absorb(stream));
        self.keys.absorb(&content.keys);
    }

    /// Tells `newer`, under another key, where the streams stood: those heard here, and those that
    /// were expected here and have not come.
    pub(crate) fn tell(&self, newer: &mut Self) {
        let expected = self.guesses.iter().flat_map(|guesses| guesses.places());
        let heard = self.streams().filter(|(_, last)| last.roc() > 0);
        for (ssrc, last) in expected.chain(heard) {
            match newer.highest(ssrc) {
                None => newer.expect(ssrc, last),
                Some(known) if known < last => newer.guesses_mut().may_return(ssrc, last),
                Some(_) => {}
            }
        }
    }

    /// The highest index heard of `ssrc`.
    pub fn highest(&self, ssrc: u32) -> Option<PacketIndex> {
        self.rtp.highest(ssrc).map(PacketIndex::from_value)
    }

    /// Every stream heard, with its highest index.
    pub fn streams(&self) -> impl Iterator<Item = (u32, PacketIndex)> {
        self.rtp.all().map(|(ssrc, highest)| (ssrc, PacketIndex::from_value(highest)))
    }

    /// Opens `packet` in place: afterwards `packet[..len]` is the plain RTP packet.
    ///
    /// A stream begins with ROC 0, whatever its first sequence number, or where
    /// [`Self::expect`] said.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<Opened, Refusal> {
        if self.guesses.is_some() && self.may_guess(packet) {
            return self.open_guessing(packet);
        }
        self.open_as_estimated(packet)
    }

    fn open_as_estimated(&mut self, packet: &mut [u8]) -> Result<Opened, Refusal> {
        let candidate = self.examine_rtp(packet)?;
        self.decrypt(&candidate, packet)?;
        Ok(self.accept(candidate))
    }

    /// Opens `packet` in place: afterwards `packet[..len]` is the plain RTCP packet.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<OpenedRtcp, Refusal> {
        let candidate = self.examine_rtcp(packet)?;
        let cipher = self.key(candidate.key).rtcp_cipher();
        candidate.job(&cipher, &self.rtcp_trailer, packet).open()?;
        self.hear(candidate.key);
        self.rtcp.mark(candidate.slot, candidate.id.ssrc, candidate.id.index);
        Ok(OpenedRtcp {
            len: candidate.len,
            ssrc: candidate.id.ssrc,
            index: candidate.id.index as u32,
            key: self.keys.current.usage.count_rtcp(candidate.id.index as u32),
        })
    }

    /// What `packet` would be if it is genuine; changes nothing.
    pub(crate) fn examine_rtp(&self, packet: &[u8]) -> Result<Candidate, Refusal> {
        self.candidate(packet, |slot, sequence| {
            let index = match self.rtp.estimate(slot, sequence) {
                Estimate::Index(index) => index,
                // There is no ROC -1. What is left is a jump ahead within the first round; if it
                // is something else, the tag will say so.
                Estimate::BeforeFirstRound => PacketIndex::new(0, sequence),
                Estimate::AfterLastRound => return Err(Refusal::KeyExhausted),
            };
            self.rtp.check(slot, index.value()).map_err(replay)?;
            Ok(index)
        })
    }

    /// What `packet` would be if it is genuine and has the index that `place` gives it.
    fn candidate(
        &self,
        packet: &[u8],
        place: impl FnOnce(Slot, u16) -> Result<PacketIndex, Refusal>,
    ) -> Result<Candidate, Refusal> {
        let trailer = self.rtp_trailer;
        let (message, key) = self.split(packet, trailer, rtp::FIXED_LEN)?;
        let header = rtp::Header::new_checked(message)?;
        let slot = self.rtp.slot(header.ssrc())?;
        let id = PacketId::rtp(header.ssrc(), place(slot, header.sequence())?);
        let Framing { header_len, csrc_len, .. } = match &self.key(key).header_protection {
            None => Framing::plain(&header),
            Some(protection) => protection.examine(&header)?,
        };
        Ok(Candidate { id, slot, header_len, csrc_len, len: message.len(), key })
    }

    /// Whether `packet` is to be opened by itself.
    pub(crate) fn goes_alone(&self, packet: &[u8]) -> bool {
        self.guesses.is_some() && self.may_guess(packet)
            || !self.keys.current.rtp_cipher.gains_from_company()
    }

    /// What is to be done to a candidate's packet.
    pub(crate) fn job<'a>(&'a self, candidate: &Candidate, packet: &'a mut [u8]) -> OpenJob<'a> {
        candidate.job(&self.key(candidate.key).rtp_cipher, &self.rtp_trailer, packet)
    }

    fn decrypt(&self, candidate: &Candidate, packet: &mut [u8]) -> Result<(), Refusal> {
        self.job(candidate, packet).open()?;
        self.reveal_header(candidate, packet);
        Ok(())
    }

    /// Decrypts what of a genuine packet's header is encrypted apart from the payload.
    pub(crate) fn reveal_header(&self, candidate: &Candidate, packet: &mut [u8]) {
        if let Some(protection) = &self.key(candidate.key).header_protection {
            protection.reveal(candidate.id, &mut packet[..candidate.len]);
        }
    }

    /// Takes note of a packet that was genuine.
    pub(crate) fn accept(&mut self, candidate: Candidate) -> Opened {
        self.hear(candidate.key);
        self.rtp.mark(candidate.slot, candidate.id.ssrc, candidate.id.index);
        let index = PacketIndex::from_value(candidate.id.index);
        let key = self.keys.current.usage.count_rtp(index);
        Opened { len: candidate.len, ssrc: candidate.id.ssrc, index, key }
    }

    /// The same if other packets have come since it was examined.
    pub(crate) fn accept_again(&mut self, candidate: Candidate) -> Result<Opened, Refusal> {
        self.key(candidate.key).usage.check()?;
        let slot = self.rtp.slot(candidate.id.ssrc)?;
        self.rtp.check(slot, candidate.id.index).map_err(replay)?;
        Ok(self.accept(Candidate { slot, ..candidate }))
    }

    fn examine_rtcp(&self, packet: &[u8]) -> Result<Candidate, Refusal> {
        let trailer = self.rtcp_trailer;
        let (message, key) = self.split(packet, trailer, rtcp::FIXED_LEN)?;
        let ssrc = rtcp::Header::new_checked(message)?.ssrc();
        let word = packet[message.len() + trailer.word..].first_chunk();
        let word = u32::from_be_bytes(*word.ok_or(Malformed::TooShort)?);
        if !trailer.takes(word) {
            return Err(Malformed::EncryptionFlag.into());
        }
        let index = word & !ENCRYPTED_FLAG;
        let slot = self.rtcp.slot(ssrc)?;
        self.rtcp.check(slot, u64::from(index)).map_err(replay)?;
        let (id, header_len) = (PacketId::rtcp(ssrc, word), rtcp::FIXED_LEN);
        Ok(Candidate { id, slot, header_len, csrc_len: 0, len: message.len(), key })
    }

    /// The part of `packet` before its trailer, which has `at_least` so many bytes, and the key that its MKI names, which must not
    /// be exhausted.
    fn split<'p>(
        &self,
        packet: &'p [u8],
        at: Trailer,
        at_least: usize,
    ) -> Result<(&'p [u8], KeyAt), Refusal> {
        let len = packet.len().checked_sub(at.len).ok_or(Malformed::TooShort)?;
        // Before the MKI, which in so short a packet would be made of other bytes.
        if len < at_least {
            return Err(Malformed::TooShort.into());
        }
        if len > MAX_MESSAGE_LEN {
            return Err(Malformed::TooLong.into());
        }
        let (message, trailer) = packet.split_at(len);
        let key = self.key_of(&trailer[at.mki..at.mki + self.keys.current.mki.len()])?;
        self.key(key).usage.check()?;
        Ok((message, key))
    }

    fn key_of(&self, mki: &[u8]) -> Result<KeyAt, Refusal> {
        // Asked first, because comparing nothing with the dangling slice that an empty MKI is
        // costs 70 ns: glibc's AVX-512 memcmp loads from it under an empty mask, and the CPU
        // suppresses the page fault in microcode.
        if mki.is_empty() || mki == self.keys.current.mki.as_bytes() {
            return Ok(KeyAt::Current);
        }
        self.keys.position(mki).map(KeyAt::Other).ok_or(Refusal::UnknownMki)
    }

    fn key(&self, at: KeyAt) -> &Key {
        match at {
            KeyAt::Current => &self.keys.current,
            KeyAt::Other(at) => self.keys.other(at),
        }
    }

    /// The next packet is probably under the same key.
    fn hear(&mut self, key: KeyAt) {
        if let KeyAt::Other(at) = key {
            self.keys.make_current(at);
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("profile", &self.keys.profile()).finish_non_exhaustive()
    }
}

fn replay(stale: Stale) -> Refusal {
    match stale {
        Stale::Used => Refusal::Replayed,
        Stale::TooOld => Refusal::TooOld,
    }
}

/// SRTCP packets come one by one, seconds apart: twice the least that RFC 3711 section 3.3.2
/// allows is plenty.
const RTCP_WINDOW_BITS: usize = 128;
