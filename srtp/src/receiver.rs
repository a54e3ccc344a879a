//! Opening packets: one direction of a session, as many SSRCs as its table holds.
//!
//! The order is fixed, for SRTP and SRTCP and every profile alike:
//! 1. limit: may this key still be used?
//! 2. parse, estimate the index, and ask the replay window;
//! 3. check MKI and tag, decrypt;
//! 4. only now mark the index, create the stream if it is new, count the packet.
//!
//! So no unauthenticated packet changes anything.

use std::fmt;

use crate::{
    KeyState, MasterKey, Mki, PacketIndex, PacketKind, Policy, Refusal, SessionKeys,
    index::Estimate,
    lifetime::Lifetime,
    replay::Stale,
    rtcp, rtp,
    streams::Streams,
    transform::{
        Cipher, ENCRYPTED_FLAG, MAX_MESSAGE_LEN, PacketId, Trailer, Transform, with_transform,
    },
};

/// Opens the SRTP and SRTCP packets that one side of a session sends.
pub struct Receiver {
    rtp_cipher: Cipher,
    /// SRTCP comes every few seconds: its key schedule is expanded per packet (0.2 µs) rather
    /// than kept, which saves some 800 bytes per direction.
    rtcp_keys: SessionKeys,
    state: State,
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
    /// A receiver with the keys derived from `master`.
    pub fn new(master: &MasterKey, policy: &Policy) -> Self {
        let derive = |kind| SessionKeys::derive(master, kind);
        Self::from_session_keys(&derive(PacketKind::Rtp), derive(PacketKind::Rtcp), policy)
    }

    /// A receiver with session keys as given, both of one profile.
    pub fn from_session_keys(rtp: &SessionKeys, rtcp: SessionKeys, policy: &Policy) -> Self {
        let state = State {
            mki: policy.mki.clone(),
            lifetime: Lifetime::new(policy),
            rtp: Streams::new(policy.max_streams, policy.window_bits()),
            rtcp: Streams::new(policy.max_streams, RTCP_WINDOW_BITS),
        };
        Self { rtp_cipher: Cipher::new(rtp, PacketKind::Rtp), rtcp_keys: rtcp, state }
    }

    /// Opens `packet` in place: afterwards `packet[..len]` is the plain RTP packet.
    ///
    /// A stream begins with ROC 0, whatever its first sequence number.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<Opened, Refusal> {
        with_transform!(&self.rtp_cipher, transform => self.state.open_rtp(transform, packet))
    }

    /// Opens `packet` in place: afterwards `packet[..len]` is the plain RTCP packet.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<OpenedRtcp, Refusal> {
        let cipher = Cipher::new(&self.rtcp_keys, PacketKind::Rtcp);
        with_transform!(&cipher, transform => self.state.open_rtcp(transform, packet))
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = self.rtcp_keys.profile();
        f.debug_struct("Receiver").field("profile", &profile).finish_non_exhaustive()
    }
}

/// All of a receiver but its keys.
struct State {
    mki: Mki,
    lifetime: Lifetime,
    rtp: Streams,
    rtcp: Streams,
}

impl State {
    fn open_rtp<T: Transform>(
        &mut self,
        transform: &T,
        packet: &mut [u8],
    ) -> Result<Opened, Refusal> {
        self.lifetime.check()?;
        let (message, trailer) = self.split(transform, PacketKind::Rtp, packet)?;
        let header = rtp::Header::new_checked(message).ok_or(Refusal::Malformed)?;
        let (ssrc, sequence, header_len) =
            (header.ssrc(), header.sequence(), header.payload_offset());
        let slot = self.rtp.slot(ssrc)?;
        let index = match self.rtp.estimate(slot, sequence) {
            Estimate::Index(index) => index,
            // There is no ROC -1. What is left is a jump ahead within the first round; if it is
            // something else, the tag will say so.
            Estimate::BeforeFirstRound => PacketIndex::new(0, sequence),
            Estimate::AfterLastRound => return Err(Refusal::KeyExhausted),
        };
        self.rtp.check(slot, index.value()).map_err(replay)?;
        let id = PacketId::rtp(ssrc, index);
        self.open(transform, id, message, header_len, trailer)?;
        let len = message.len();
        self.rtp.mark(slot, ssrc, index.value());
        Ok(Opened { len, ssrc, index, key: self.lifetime.count_rtp(index) })
    }

    fn open_rtcp<T: Transform>(
        &mut self,
        transform: &T,
        packet: &mut [u8],
    ) -> Result<OpenedRtcp, Refusal> {
        self.lifetime.check()?;
        let (message, trailer) = self.split(transform, PacketKind::Rtcp, packet)?;
        let ssrc = rtcp::Header::new_checked(message).ok_or(Refusal::Malformed)?.ssrc();
        let at = self.trailer(transform, PacketKind::Rtcp).word;
        let word = trailer[at..].first_chunk().map(|word| u32::from_be_bytes(*word));
        // Encryption is part of every profile here, so a clear packet is not this session's.
        let word = word.filter(|word| word & ENCRYPTED_FLAG != 0).ok_or(Refusal::Malformed)?;
        let index = word & !ENCRYPTED_FLAG;
        let slot = self.rtcp.slot(ssrc)?;
        self.rtcp.check(slot, u64::from(index)).map_err(replay)?;
        let id = PacketId::rtcp(ssrc, index);
        self.open(transform, id, message, rtcp::FIXED_LEN, trailer)?;
        let len = message.len();
        self.rtcp.mark(slot, ssrc, u64::from(index));
        Ok(OpenedRtcp { len, ssrc, index, key: self.lifetime.count_rtcp() })
    }

    /// Checks the MKI and opens `message`; `self` is not changed.
    fn open<T: Transform>(
        &self,
        transform: &T,
        id: PacketId,
        message: &mut [u8],
        header_len: usize,
        trailer: &[u8],
    ) -> Result<(), Refusal> {
        let at = self.trailer(transform, id.kind);
        let mki = self.mki.as_bytes();
        // Asked first, because comparing nothing with the dangling slice that an empty MKI is
        // costs 70 ns: glibc's AVX-512 memcmp loads from it under an empty mask, and the CPU
        // suppresses the page fault in microcode.
        if !mki.is_empty() && trailer[at.mki..at.mki + mki.len()] != *mki {
            return Err(Refusal::AuthenticationFailed);
        }
        let tag = &trailer[at.tag..at.tag + transform.tag_len()];
        transform.open(id, message, header_len, tag)
    }

    /// Parts `packet` into header with ciphertext, and what follows them.
    fn split<'p, T: Transform>(
        &self,
        transform: &T,
        kind: PacketKind,
        packet: &'p mut [u8],
    ) -> Result<(&'p mut [u8], &'p mut [u8]), Refusal> {
        let trailer = self.trailer(transform, kind);
        let len = packet.len().checked_sub(trailer.len).ok_or(Refusal::Malformed)?;
        if len > MAX_MESSAGE_LEN {
            return Err(Refusal::Malformed);
        }
        Ok(packet.split_at_mut(len))
    }

    fn trailer<T: Transform>(&self, transform: &T, kind: PacketKind) -> Trailer {
        Trailer::of(transform, kind, self.mki.as_bytes().len())
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
