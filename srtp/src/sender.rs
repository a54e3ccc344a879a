//! Protecting packets: one direction of a session, as many SSRCs as its table holds.
//!
//! A sender never uses an index twice under one key and SSRC, because two packets under one
//! nonce give away their plaintexts' difference, and with GCM the authentication key. A window
//! over the indexes sent sees to it: reordered packets within the window pass, each once;
//! anything else is refused. The order is limit, window, mark, seal: an index counts as used
//! even before its bytes exist.

use std::fmt;

use crate::{
    KeyState, MasterKey, Mki, PacketIndex, PacketKind, Policy, Refusal, SessionKeys,
    index::Estimate,
    lifetime::Lifetime,
    replay::Stale,
    rtcp, rtp,
    streams::{Slot, Streams},
    transform::{
        Cipher, ENCRYPTED_FLAG, MAX_MESSAGE_LEN, PacketId, Trailer, Transform, with_transform,
    },
};

/// Protects the RTP and RTCP packets that we send in a session.
pub struct Sender {
    rtp_cipher: Cipher,
    /// As in [`crate::Receiver`]: expanded per packet rather than kept.
    rtcp_keys: SessionKeys,
    state: State,
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
    /// A sender with the keys derived from `master`.
    ///
    /// A key must have only one sender, once: a second one would begin with the same indexes.
    pub fn new(master: &MasterKey, policy: &Policy) -> Self {
        let derive = |kind| SessionKeys::derive(master, kind);
        Self::from_session_keys(&derive(PacketKind::Rtp), derive(PacketKind::Rtcp), policy)
    }

    /// A sender with session keys as given, both of one profile.
    pub fn from_session_keys(rtp: &SessionKeys, rtcp: SessionKeys, policy: &Policy) -> Self {
        let state = State {
            mki: policy.mki.clone(),
            lifetime: Lifetime::new(policy),
            streams: Streams::new(policy.max_streams, policy.window_bits()),
        };
        Self { rtp_cipher: Cipher::new(rtp, PacketKind::Rtp), rtcp_keys: rtcp, state }
    }

    /// Protects the RTP packet in `buffer[..len]` in place: afterwards the SRTP packet is
    /// `buffer[..sealed.len]`. The buffer needs tailroom of [`crate::Profile::rtp_overhead`]
    /// plus the MKI.
    ///
    /// A stream begins with ROC 0 and its first packet's sequence number; a packet from before
    /// that one which would lie before index 0 is [`Refusal::TooOld`].
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<Sealed, Refusal> {
        with_transform!(&self.rtp_cipher, transform => {
            self.state.protect_rtp(transform, buffer, len)
        })
    }

    /// Protects the compound RTCP packet in `buffer[..len]` in place: afterwards the SRTCP packet
    /// is `buffer[..sealed.len]`. The buffer needs tailroom of
    /// [`crate::Profile::rtcp_overhead`] plus the MKI.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<SealedRtcp, Refusal> {
        let cipher = Cipher::new(&self.rtcp_keys, PacketKind::Rtcp);
        with_transform!(&cipher, transform => self.state.protect_rtcp(transform, buffer, len))
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = self.rtcp_keys.profile();
        f.debug_struct("Sender").field("profile", &profile).finish_non_exhaustive()
    }
}

/// All of a sender but its keys.
struct State {
    mki: Mki,
    lifetime: Lifetime,
    streams: Streams,
}

impl State {
    fn protect_rtp<T: Transform>(
        &mut self,
        transform: &T,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<Sealed, Refusal> {
        self.lifetime.check()?;
        let plain = buffer.get(..len).ok_or(Refusal::Malformed)?;
        let header = rtp::Header::new_checked(plain).ok_or(Refusal::Malformed)?;
        let (ssrc, header_len) = (header.ssrc(), header.payload_offset());
        let (slot, index) = self.unused_index(ssrc, header.sequence())?;
        let trailer = self.trailer(transform, PacketKind::Rtp, buffer, len)?;
        self.streams.mark(slot, ssrc, index.value());
        let key = self.lifetime.count_rtp(index);
        let id = PacketId::rtp(ssrc, index);
        self.seal(transform, id, &mut buffer[..len + trailer.len], header_len, trailer)?;
        Ok(Sealed { len: len + trailer.len, index, key })
    }

    fn protect_rtcp<T: Transform>(
        &mut self,
        transform: &T,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<SealedRtcp, Refusal> {
        self.lifetime.check()?;
        let plain = buffer.get(..len).ok_or(Refusal::Malformed)?;
        let ssrc = rtcp::Header::new_checked(plain).ok_or(Refusal::Malformed)?.ssrc();
        let trailer = self.trailer(transform, PacketKind::Rtcp, buffer, len)?;
        let index = self.lifetime.next_rtcp_index();
        let key = self.lifetime.count_rtcp();
        let word = len + trailer.word;
        buffer[word..word + 4].copy_from_slice(&(index | ENCRYPTED_FLAG).to_be_bytes());
        let id = PacketId::rtcp(ssrc, index);
        self.seal(transform, id, &mut buffer[..len + trailer.len], rtcp::FIXED_LEN, trailer)?;
        Ok(SealedRtcp { len: len + trailer.len, index, key })
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

    /// Where the trailer's parts go, if `buffer` has room for it behind `len` bytes.
    fn trailer<T: Transform>(
        &self,
        transform: &T,
        kind: PacketKind,
        buffer: &[u8],
        len: usize,
    ) -> Result<Trailer, Refusal> {
        let trailer = Trailer::of(transform, kind, self.mki.as_bytes().len());
        if len > MAX_MESSAGE_LEN {
            return Err(Refusal::Malformed);
        }
        if buffer.len() - len < trailer.len {
            return Err(Refusal::NoRoom);
        }
        Ok(trailer)
    }

    /// Writes MKI and tag behind the message and encrypts it.
    fn seal<T: Transform>(
        &self,
        transform: &T,
        id: PacketId,
        packet: &mut [u8],
        header_len: usize,
        at: Trailer,
    ) -> Result<(), Refusal> {
        let (message, trailer) = packet.split_at_mut(packet.len() - at.len);
        let mki = self.mki.as_bytes();
        trailer[at.mki..at.mki + mki.len()].copy_from_slice(mki);
        let tag = &mut trailer[at.tag..at.tag + transform.tag_len()];
        transform.seal(id, message, header_len, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    #[test]
    fn the_last_index_is_used_and_none_after_it() {
        let key = MasterKey::from_concatenated(Profile::AeadAes128Gcm, &[1; 28]).expect("28");
        let mut sender = Sender::new(&key, &Policy::default());
        sender.state.streams.mark(Slot::New, 9, PacketIndex::new(u32::MAX, 65_533).value());
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
