//! Protecting packets: one direction of a session, as many SSRCs as its table holds.
//!
//! A sender never uses an index twice under one key and SSRC, because two packets under one
//! nonce give away their plaintexts' difference, and with GCM the authentication key. A window
//! over the indexes sent sees to it: reordered packets within the window pass, each once;
//! anything else is refused. The order is limit, window, mark, seal: an index counts as used
//! even before its bytes exist. A change of key goes on in the same indexes.

use std::fmt;

use crate::{
    KeyNotFound, KeyParameters, KeyState, KeyStatus, Malformed, Mki, PacketIndex, PacketKind,
    Policy, Refusal, SessionKeys, Unsuitable,
    header_extension::Framing,
    index::Estimate,
    key_ring::KeyRing,
    replay::Stale,
    rtcp, rtp,
    sealed_state::{Content, NotRestored},
    streams::{Slot, Streams},
    transform::{Cipher, ENCRYPTED_FLAG, MAX_MESSAGE_LEN, PacketId, SealJob, Trailer},
};

/// Protects the RTP and RTCP packets that we send in a session.
pub struct Sender {
    keys: KeyRing,
    streams: Streams,
    /// The next SRTCP index: one counter for all SSRCs and all keys. It ends at 2^31 rather than
    /// begin again, because a key that was in use before another one, or comes back, may have
    /// used the first indexes.
    rtcp_index: u32,
    rtp_trailer: Trailer,
    rtcp_trailer: Trailer,
}

/// An RTP packet, protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Length in bytes of the SRTP packet at the start of the buffer.
    pub len: usize,
    /// Its place in its stream.
    pub index: PacketIndex,
    /// Whether the key should be replaced soon.
    pub key: KeyState,
}

/// An RTCP packet, protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedRtcp {
    /// Length in bytes of the SRTCP packet at the start of the buffer.
    pub len: usize,
    /// Its 31-bit SRTCP index.
    pub index: u32,
    /// Whether the key should be replaced soon.
    pub key: KeyState,
}

impl Sender {
    /// A sender under `key`: a `&MasterKey`, or [`KeyParameters`] with MKI and lifetimes.
    ///
    /// A key must have only one sender, once: a second one would begin with the same indexes.
    pub fn new<'k>(key: impl Into<KeyParameters<'k>>, policy: &Policy) -> Result<Self, Unsuitable> {
        Ok(Self::with_keys(KeyRing::new(&key.into(), policy)?, policy))
    }

    /// A sender with session keys as given. Refused if they are not of one profile, if they have
    /// cipher key and salt in common (an SRTP and an SRTCP packet would have one nonce), and if
    /// header extensions need the master key.
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
            streams: Streams::new(policy.max_streams, policy.window_bits()),
            rtcp_index: 0,
        }
    }

    /// Adds a key for later; packets stay under the one in use until [`Self::switch_to`], or until
    /// that one is exhausted. So the receiver can be given the key first. A master key has one MKI
    /// at a time, because two would count its packets apart.
    pub fn install(&mut self, key: &KeyParameters<'_>) -> Result<(), Unsuitable> {
        if self.keys.contains(key.master) {
            return Err(Unsuitable::KeyInUse);
        }
        self.keys.install(key)
    }

    /// Protects under the key of `mki` from the next packet on.
    pub fn switch_to(&mut self, mki: &Mki) -> Result<(), KeyNotFound> {
        self.keys.switch_to(mki)
    }

    /// Forgets the key of `mki`, which must not be the only one; if it is in use, the one installed
    /// last takes over. How much it was used is remembered, should it be installed again.
    pub fn retire(&mut self, mki: &Mki) -> Result<(), KeyNotFound> {
        self.keys.retire(mki)
    }

    /// The keys, the one in use first.
    pub fn keys(&self) -> impl Iterator<Item = KeyStatus<'_>> {
        self.keys.status()
    }

    /// Every stream sent, with its highest index.
    pub fn streams(&self) -> impl Iterator<Item = (u32, PacketIndex)> {
        self.streams.all().map(|(ssrc, highest)| (ssrc, PacketIndex::from_value(highest)))
    }

    /// Goes on with stream `ssrc` above `last`, as if all its packets up to that one had been
    /// sent here: somebody else has, under this key (a takeover), or the receiver counts its
    /// rounds on over a change of key. Never goes back.
    pub fn resume(&mut self, ssrc: u32, last: PacketIndex) -> Result<(), Refusal> {
        self.streams.resume(ssrc, last.value())
    }

    pub(crate) fn content(&self) -> Content {
        let rtp = self.streams.export().collect();
        Content { rtcp_index: self.rtcp_index, keys: self.keys.uses(), rtp, rtcp: Vec::new() }
    }

    pub(crate) fn restore(&mut self, content: &Content, ahead: u32) -> Result<(), NotRestored> {
        if self.rtcp_index != 0 || self.streams.all().next().is_some() {
            return Err(NotRestored::InUse);
        }
        if !self.keys.has(&content.keys) {
            return Err(NotRestored::OtherKeys);
        }
        let mut streams = self.streams.imported(&content.rtp)?;
        for stream in content.rtp.iter().filter(|_| ahead > 0) {
            let highest = (stream.highest + u64::from(ahead)).min(PacketIndex::COUNT - 1);
            // The stream is known, so there is room.
            let _ = streams.resume(stream.ssrc, highest);
        }
        self.streams = streams;
        let packets = u64::from(ahead) * content.rtp.len().max(1) as u64;
        self.keys.resume(&content.keys, packets, u64::from(ahead));
        self.rtcp_index = content.rtcp_index.saturating_add(ahead).min(RTCP_INDEXES);
        Ok(())
    }

    /// Protects the RTP packet in `buffer[..len]` in place: afterwards the SRTP packet is
    /// `buffer[..sealed.len]`. The buffer needs tailroom of [`crate::Profile::rtp_overhead`]
    /// plus the MKI, and with [`HeaderExtensions::Cryptex`](crate::HeaderExtensions::Cryptex)
    /// 4 bytes more for a packet with CSRCs and no extension.
    ///
    /// A stream begins with ROC 0 and its first packet's sequence number; a packet from before
    /// that one which would lie before index 0 is [`Refusal::TooOld`].
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<Sealed, Refusal> {
        let prepared = self.prepare_rtp(buffer, len)?;
        self.job(&prepared, buffer).seal();
        Ok(prepared.sealed_rtp())
    }

    /// Protects the compound RTCP packet in `buffer[..len]` in place: afterwards the SRTCP packet
    /// is `buffer[..sealed.len]`. The buffer needs tailroom of
    /// [`crate::Profile::rtcp_overhead`] plus the MKI.
    ///
    /// A sender has 2^31 SRTCP indexes, whatever keys it is given; at seven eighths of them it
    /// says [`KeyState::SoftLimit`], after the last [`Refusal::KeyExhausted`]: then it takes a
    /// new sender, under a new key.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<SealedRtcp, Refusal> {
        let prepared = self.prepare_rtcp(buffer, len)?;
        let cipher = self.keys.current.rtcp_cipher();
        prepared.job(&cipher, &self.rtcp_trailer, buffer).seal();
        Ok(prepared.sealed_rtcp())
    }

    /// All of protecting an RTP packet but the cryptography: takes its index, writes the MKI.
    pub(crate) fn prepare_rtp(
        &mut self,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<Prepared, Refusal> {
        self.check_key()?;
        let plain = buffer.get(..len).ok_or(Malformed::TooShort)?;
        let header = rtp::Header::new_checked(plain)?;
        let ssrc = header.ssrc();
        // The same under every key of a sender.
        let framing = match &self.keys.current.header_protection {
            None => Framing::plain(&header),
            Some(protection) => protection.frame(&header)?,
        };
        let (slot, index) = self.unused_index(ssrc, header.sequence())?;
        let (len, trailer) = (len + framing.added, self.rtp_trailer);
        check_room(buffer, len, trailer)?;
        self.advance_key();
        self.streams.mark(slot, ssrc, index.value());
        let id = PacketId::rtp(ssrc, index);
        if let Some(protection) = &self.keys.current.header_protection {
            protection.conceal(id, framing, &mut buffer[..len]);
        }
        self.write_mki(&mut buffer[len..], trailer);
        Ok(Prepared {
            id,
            header_len: framing.header_len,
            csrc_len: framing.csrc_len,
            len: len + trailer.len,
            key: self.keys.current.usage.count_rtp(index),
        })
    }

    /// The same for RTCP: E flag and index are written too.
    fn prepare_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<Prepared, Refusal> {
        if self.rtcp_index == RTCP_INDEXES {
            return Err(Refusal::KeyExhausted);
        }
        self.check_key()?;
        let plain = buffer.get(..len).ok_or(Malformed::TooShort)?;
        let ssrc = rtcp::Header::new_checked(plain)?.ssrc();
        let trailer = self.rtcp_trailer;
        check_room(buffer, len, trailer)?;
        self.advance_key();
        let index = self.rtcp_index;
        self.rtcp_index = index + 1;
        let word = len + trailer.word;
        buffer[word..word + 4].copy_from_slice(&(index | trailer.flag).to_be_bytes());
        self.write_mki(&mut buffer[len..], trailer);
        Ok(Prepared {
            id: PacketId::rtcp(ssrc, index | trailer.flag),
            header_len: rtcp::FIXED_LEN,
            csrc_len: 0,
            len: len + trailer.len,
            key: self.keys.current.usage.count_rtcp(index),
        })
    }

    /// Whether the next packet needs another key than the one in use.
    pub(crate) fn changes_key(&self) -> bool {
        self.keys.current.usage.is_exhausted()
    }

    /// What is to be done to a prepared packet, under the key in use.
    pub(crate) fn job<'a>(&'a self, prepared: &Prepared, buffer: &'a mut [u8]) -> SealJob<'a> {
        prepared.job(&self.keys.current.rtp_cipher, &self.rtp_trailer, buffer)
    }

    /// Whether there is a key that may protect one more packet.
    fn check_key(&self) -> Result<(), Refusal> {
        if self.changes_key() && self.keys.next().is_none() {
            return Err(Refusal::KeyExhausted);
        }
        Ok(())
    }

    /// Goes on to that key, once nothing else can refuse the packet.
    fn advance_key(&mut self) {
        if self.changes_key() {
            self.keys.advance();
        }
    }

    /// The stream and index of a packet to send, if that index was never used.
    fn unused_index(&self, ssrc: u32, sequence: u16) -> Result<(Slot, PacketIndex), Refusal> {
        let slot = self.streams.slot(ssrc)?;
        let index = match self.streams.estimate(slot, sequence) {
            Estimate::Index(index) => index,
            // Taking it for a jump ahead would carry the ROC past what the receiver can follow.
            Estimate::BeforeFirstRound => return Err(Refusal::TooOld),
            Estimate::AfterLastRound => return Err(Refusal::KeyExhausted),
        };
        match self.streams.check(slot, index.value()) {
            Ok(()) => Ok((slot, index)),
            Err(Stale::Used) => Err(Refusal::IndexReused),
            Err(Stale::TooOld) => Err(Refusal::TooOld),
        }
    }

    fn write_mki(&self, trailer: &mut [u8], at: Trailer) {
        let mki = self.keys.current.mki.as_bytes();
        trailer[at.mki..at.mki + mki.len()].copy_from_slice(mki);
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("profile", &self.keys.profile()).finish_non_exhaustive()
    }
}

/// A packet that has its index and wants only its ciphertext and tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared {
    id: PacketId,
    header_len: usize,
    /// Of the CSRCs, if they are encrypted.
    csrc_len: usize,
    /// Of the packet with its trailer.
    len: usize,
    key: KeyState,
}

impl Prepared {
    fn job<'a>(&self, cipher: &'a Cipher, at: &Trailer, buffer: &'a mut [u8]) -> SealJob<'a> {
        let (message, trailer) = buffer[..self.len].split_at_mut(self.len - at.len);
        let tag = &mut trailer[at.tag..][..at.tag_len];
        let (header_len, csrc_len) = (self.header_len, self.csrc_len);
        SealJob { cipher, id: self.id, message, header_len, csrc_len, tag }
    }

    pub(crate) fn sealed_rtp(&self) -> Sealed {
        let index = PacketIndex::from_value(self.id.index);
        Sealed { len: self.len, index, key: self.key }
    }

    fn sealed_rtcp(&self) -> SealedRtcp {
        SealedRtcp { len: self.len, index: self.id.index as u32, key: self.key }
    }
}

/// How many SRTCP indexes there are.
const RTCP_INDEXES: u32 = ENCRYPTED_FLAG;

/// Whether `buffer` has room for the trailer behind `len` bytes of message.
fn check_room(buffer: &[u8], len: usize, trailer: Trailer) -> Result<(), Refusal> {
    if len > MAX_MESSAGE_LEN {
        return Err(Malformed::TooLong.into());
    }
    if buffer.len() < len + trailer.len {
        return Err(Refusal::NoRoom);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MasterKey, Profile};

    #[test]
    fn the_last_index_is_used_and_none_after_it() {
        let key = MasterKey::from_concatenated(Profile::AeadAes128Gcm, &[1; 28]).expect("28");
        let mut sender = Sender::new(&key, &Policy::default()).expect("suitable");
        sender.streams.mark(Slot::New, 9, PacketIndex::new(u32::MAX, 65_533).value());
        let mut protect = |sequence: u16| {
            let mut buffer = [0; 12 + 16];
            buffer[0] = 0x80;
            buffer[2..4].copy_from_slice(&sequence.to_be_bytes());
            buffer[11] = 9;
            sender.protect_rtp(&mut buffer, 12).map(|sealed| (sealed.index, sealed.key))
        };
        let last = PacketIndex::new(u32::MAX, 65_535);
        assert_eq!(protect(65_535), Ok((last, KeyState::SoftLimit)));
        assert_eq!(protect(0), Err(Refusal::KeyExhausted));
        let late = PacketIndex::new(u32::MAX, 65_534);
        assert_eq!(protect(65_534), Ok((late, KeyState::SoftLimit)));
    }
}
