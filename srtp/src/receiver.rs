//! Opening packets: one direction of a session, as many SSRCs as its table holds.
//!
//! The order is fixed, for SRTP and SRTCP and every profile alike:
//! 1. find the key by its MKI; limit: may it still be used?
//! 2. parse, estimate the index, and ask the replay window;
//! 3. check the tag, decrypt;
//! 4. only now mark the index, create the stream if it is new, count the packet.
//!
//! So no unauthenticated packet changes anything. A change of key goes on in the same indexes.

use std::fmt;

use crate::{
    KeyNotFound, KeyParameters, KeyState, KeyStatus, Malformed, Mki, PacketIndex, PacketKind,
    Policy, Refusal, SessionKeys, Unsuitable,
    header_extension::{Framing, HeaderProtection},
    index::Estimate,
    key_ring::{Key, KeyRing},
    replay::Stale,
    roc_guess::{Guess, RocGuesses},
    rtcp, rtp,
    sealed_state::{Content, NotRestored},
    streams::{Slot, Streams},
    transform::{Cipher, ENCRYPTED_FLAG, MAX_MESSAGE_LEN, OpenJob, PacketId, Trailer},
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
        let key = key.into();
        policy.check(key.master.profile())?;
        Ok(Self::with_key(Key::derive(&key, policy.terms()), policy))
    }

    /// A receiver with session keys as given, as for [`crate::Sender::from_session_keys`].
    pub fn from_session_keys(
        rtp: &SessionKeys,
        rtcp: SessionKeys,
        policy: &Policy,
    ) -> Result<Self, Unsuitable> {
        policy.check(rtcp.profile())?;
        let protection = HeaderProtection::without_master(policy.header_extensions)?;
        rtp.check_beside(&rtcp)?;
        let key = Key::from_session_keys(rtp, rtcp, policy.terms(), protection);
        Ok(Self::with_key(key, policy))
    }

    fn with_key(key: Key, policy: &Policy) -> Self {
        let trailer = |kind| Trailer::new(key.profile(), kind, key.mki.len(), policy.parameters);
        Self {
            rtp_trailer: trailer(PacketKind::Rtp),
            rtcp_trailer: trailer(PacketKind::Rtcp),
            keys: KeyRing::new(key),
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
        self.keys.resume(&content.keys, 0);
        Ok(())
    }

    /// The highest index heard of `ssrc`.
    pub fn highest(&self, ssrc: u32) -> Option<PacketIndex> {
        self.rtp.highest(ssrc).map(PacketIndex::from_value)
    }

    /// Every stream heard, with its highest index.
    pub fn streams(&self) -> impl Iterator<Item = (u32, PacketIndex)> {
        self.rtp.all().map(|(ssrc, highest)| (ssrc, PacketIndex::from_value(highest)))
    }

    /// The last packet of `ssrc` that somebody else saw was `last`: if this receiver has not heard
    /// the stream, its first packet may go on from there instead of beginning with ROC 0. Up to
    /// 64 streams are kept in mind.
    pub fn expect(&mut self, ssrc: u32, last: PacketIndex) {
        self.guesses.get_or_insert_with(|| Box::new(RocGuesses::new())).stood(ssrc, last);
    }

    /// The same where only the ROC is known: the first packet of `ssrc` may be in round `roc`.
    pub fn expect_roc(&mut self, ssrc: u32, roc: u32) {
        // From the middle of a round every sequence number is nearest in the same round.
        self.expect(ssrc, PacketIndex::new(roc, 1 << 15));
    }

    /// Signalling has spoken: for its next 250 packets, each stream beyond its first round may
    /// begin again at ROC 0 under the same key, as some peers do after a re-INVITE (RFC 3711 does
    /// not allow it: they encrypt with keystream that they have used). Once per call of this.
    ///
    /// The price: somebody who recorded the stream's first round can have a packet of it opened
    /// again. That does not silence the stream: if it goes on where it was, the next 250 packets
    /// take it back, and there is no second chance. But a stream that did begin again could be
    /// followed by packets of its earlier rounds when it comes to those.
    pub fn expect_restarts(&mut self) {
        let mut guesses = self.guesses.take();
        for (ssrc, _) in self.streams().filter(|(_, highest)| highest.roc() > 0) {
            guesses.get_or_insert_with(|| Box::new(RocGuesses::new())).may_restart(ssrc);
        }
        self.guesses = guesses;
    }

    /// Opens `packet` in place: afterwards `packet[..len]` is the plain RTP packet.
    ///
    /// A stream begins with ROC 0, whatever its first sequence number, or where
    /// [`Self::expect`] said.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<Opened, Refusal> {
        if self.guesses.is_some() {
            return self.open_guessing(packet);
        }
        self.open_as_estimated(packet)
    }

    fn open_as_estimated(&mut self, packet: &mut [u8]) -> Result<Opened, Refusal> {
        let candidate = self.examine_rtp(packet)?;
        self.decrypt(&candidate, packet)?;
        Ok(self.accept(candidate))
    }

    #[cold]
    fn open_guessing(&mut self, packet: &mut [u8]) -> Result<Opened, Refusal> {
        let Some(mut guesses) = self.guesses.take() else { return self.open_as_estimated(packet) };
        guesses.kept.clear();
        guesses.kept.extend_from_slice(packet);
        let (mut opened, mut guessed) = (self.open_as_estimated(packet), None);
        let mut before = None;
        if opened.is_err() {
            (guessed, before) = self.guess(&guesses).unzip();
            if let Some(guess) = guessed {
                packet.copy_from_slice(&guesses.kept);
                opened = self.open_as_guessed(guess, packet).or(opened);
            }
        }
        if let Ok(opened) = opened {
            guesses.settle(opened.ssrc, guessed, before.flatten());
        }
        self.guesses = Some(guesses).filter(|guesses| !guesses.is_empty());
        opened
    }

    /// A guess, and the highest index heard so far.
    fn guess(&self, guesses: &RocGuesses) -> Option<(Guess, Option<PacketIndex>)> {
        let (message, _) = self.split(&guesses.kept, self.rtp_trailer).ok()?;
        let header = rtp::Header::new_checked(message).ok()?;
        let heard = self.highest(header.ssrc());
        Some((guesses.guess(header.ssrc(), heard, header.sequence())?, heard))
    }

    fn open_as_guessed(&mut self, guess: Guess, packet: &mut [u8]) -> Result<Opened, Refusal> {
        let (Guess::GoesOn(index) | Guess::Restarts(index) | Guess::Returns(index)) = guess;
        let mut candidate = self.candidate(packet, |_, _| Ok(index))?;
        self.decrypt(&candidate, packet)?;
        match guess {
            Guess::GoesOn(_) => {}
            Guess::Restarts(index) => self.rtp.restart(candidate.slot, index.value()),
            // What was heard before it is not known any more: it all counts as used.
            Guess::Returns(index) => {
                self.rtp.resume(candidate.id.ssrc, index.value())?;
                candidate.slot = self.rtp.slot(candidate.id.ssrc)?;
            }
        }
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
        let (message, key) = self.split(packet, trailer)?;
        let header = rtp::Header::new_checked(message)?;
        let slot = self.rtp.slot(header.ssrc())?;
        let id = PacketId::rtp(header.ssrc(), place(slot, header.sequence())?);
        let Framing { header_len, csrc_len, .. } = match &self.key(key).header_protection {
            None => Framing::plain(&header),
            Some(protection) => protection.examine(&header)?,
        };
        Ok(Candidate { id, slot, header_len, csrc_len, len: message.len(), key })
    }

    /// Whether each packet is to be opened by itself.
    pub(crate) fn goes_alone(&self) -> bool {
        self.guesses.is_some()
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
        let (message, key) = self.split(packet, trailer)?;
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

    /// The part of `packet` before its trailer, and the key that its MKI names, which must not
    /// be exhausted.
    fn split<'p>(&self, packet: &'p [u8], at: Trailer) -> Result<(&'p [u8], KeyAt), Refusal> {
        let len = packet.len().checked_sub(at.len).ok_or(Malformed::TooShort)?;
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

/// A packet that may be genuine: its tag will tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    id: PacketId,
    slot: Slot,
    header_len: usize,
    /// Of the CSRCs, if they are encrypted.
    csrc_len: usize,
    /// Of the packet without its trailer.
    len: usize,
    key: KeyAt,
}

/// Which key of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyAt {
    Current,
    Other(usize),
}

impl Candidate {
    fn job<'a>(&self, cipher: &'a Cipher, at: &Trailer, packet: &'a mut [u8]) -> OpenJob<'a> {
        let (message, trailer) = packet.split_at_mut(self.len);
        let tag = &trailer[at.tag..][..at.tag_len];
        let (header_len, csrc_len) = (self.header_len, self.csrc_len);
        OpenJob { cipher, id: self.id, message, header_len, csrc_len, tag, outcome: Ok(()) }
    }

    /// Whether this packet could be another candidate once `earlier`, of the same receiver, has
    /// been opened: keys change places, and a stream's first packets decide its ROC. Two packets
    /// of a stream that lie close are estimated alike before and after each other.
    pub(crate) fn depends_on(&self, earlier: &Self) -> bool {
        let key_moves = self.key != KeyAt::Current || earlier.key != KeyAt::Current;
        let same_stream = self.id.ssrc == earlier.id.ssrc;
        let apart = self.id.index.abs_diff(earlier.id.index) >= CLOSE;
        key_moves || same_stream && (apart || matches!(self.slot, Slot::New))
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
/// Well within half the sequence space.
const CLOSE: u64 = 1 << 14;
