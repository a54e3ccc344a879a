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
    index::Estimate,
    key_ring::{Key, KeyRing},
    replay::Stale,
    rtcp, rtp,
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
        Ok(Self::with_key(Key::derive(&key.into()), policy))
    }

    /// A receiver with session keys as given, both of one profile.
    pub fn from_session_keys(rtp: &SessionKeys, rtcp: SessionKeys, policy: &Policy) -> Self {
        Self::with_key(Key::from_session_keys(rtp, rtcp), policy)
    }

    fn with_key(key: Key, policy: &Policy) -> Self {
        let trailer = |kind| Trailer::new(key.profile(), kind, key.mki.len());
        Self {
            rtp_trailer: trailer(PacketKind::Rtp),
            rtcp_trailer: trailer(PacketKind::Rtcp),
            keys: KeyRing::new(key),
            rtp: Streams::new(policy.max_streams, policy.window_bits()),
            rtcp: Streams::new(policy.max_streams, RTCP_WINDOW_BITS),
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

    /// Opens `packet` in place: afterwards `packet[..len]` is the plain RTP packet.
    ///
    /// A stream begins with ROC 0, whatever its first sequence number.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<Opened, Refusal> {
        let candidate = self.examine_rtp(packet)?;
        candidate.job(self.rtp_cipher(&candidate), packet).open()?;
        Ok(self.accept(candidate))
    }

    /// Opens `packet` in place: afterwards `packet[..len]` is the plain RTCP packet.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<OpenedRtcp, Refusal> {
        let candidate = self.examine_rtcp(packet)?;
        let cipher = Cipher::new(&self.key(candidate.key).rtcp_keys, PacketKind::Rtcp);
        candidate.job(&cipher, packet).open()?;
        self.hear(candidate.key);
        self.rtcp.mark(candidate.slot, candidate.id.ssrc, candidate.id.index);
        Ok(OpenedRtcp {
            len: candidate.len,
            ssrc: candidate.id.ssrc,
            index: candidate.id.index as u32,
            key: self.keys.current.usage.count_rtcp(),
        })
    }

    /// What `packet` would be if it is genuine; changes nothing.
    pub(crate) fn examine_rtp(&self, packet: &[u8]) -> Result<Candidate, Refusal> {
        let trailer = self.rtp_trailer;
        let (message, key) = self.split(packet, trailer)?;
        let header = rtp::Header::new_checked(message)?;
        let slot = self.rtp.slot(header.ssrc())?;
        let index = match self.rtp.estimate(slot, header.sequence()) {
            Estimate::Index(index) => index,
            // There is no ROC -1. What is left is a jump ahead within the first round; if it is
            // something else, the tag will say so.
            Estimate::BeforeFirstRound => PacketIndex::new(0, header.sequence()),
            Estimate::AfterLastRound => return Err(Refusal::KeyExhausted),
        };
        self.rtp.check(slot, index.value()).map_err(replay)?;
        let id = PacketId::rtp(header.ssrc(), index);
        let header_len = header.payload_offset();
        Ok(Candidate { id, slot, header_len, len: message.len(), trailer, key })
    }

    /// The cipher of a candidate's key.
    pub(crate) fn rtp_cipher(&self, candidate: &Candidate) -> &Cipher {
        &self.key(candidate.key).rtp_cipher
    }

    /// Takes note of a packet that was genuine.
    fn accept(&mut self, candidate: Candidate) -> Opened {
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
        // Encryption is part of every profile here, so a clear packet is not this session's.
        if word & ENCRYPTED_FLAG == 0 {
            return Err(Malformed::EncryptionFlag.into());
        }
        let index = word & !ENCRYPTED_FLAG;
        let slot = self.rtcp.slot(ssrc)?;
        self.rtcp.check(slot, u64::from(index)).map_err(replay)?;
        let (id, header_len) = (PacketId::rtcp(ssrc, index), rtcp::FIXED_LEN);
        Ok(Candidate { id, slot, header_len, len: message.len(), trailer, key })
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
    /// Of the packet without its trailer.
    len: usize,
    trailer: Trailer,
    key: KeyAt,
}

/// Which key of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyAt {
    Current,
    Other(usize),
}

impl Candidate {
    /// What is to be done to the packet.
    pub(crate) fn job<'a>(&self, cipher: &'a Cipher, packet: &'a mut [u8]) -> OpenJob<'a> {
        let (message, trailer) = packet.split_at_mut(self.len);
        let tag = &trailer[self.trailer.tag..][..self.trailer.tag_len];
        let outcome = Ok(());
        OpenJob { cipher, id: self.id, message, header_len: self.header_len, tag, outcome }
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
