//! The packets that contestants work on, and their making, which is not timed.
//!
//! A batch of 32 lies ready in the first-level cache, as a relay's does after a receive: 6 KiB of
//! it at 160 bytes of payload, 41 KiB at 1,200. Indexes go on for as long as the figure runs, so
//! every packet of a session is a new one to its windows.

use srtp::{Policy, Sender};

use super::{Case, Work, keys};
use anyhow::Result;

/// Packets of a batch.
pub const BATCH: usize = 32;
/// A fixed RTP header.
pub const HEADER_LEN: usize = 12;
/// Header, the largest payload, and the tailroom that libsrtp asks for, 144 bytes.
pub const ROOM: usize = 12 + 1200 + 144 + 52;

/// One packet in its buffer.
#[derive(Clone)]
#[repr(align(64))]
pub struct Packet {
    /// The packet, with room behind it.
    pub bytes: [u8; ROOM],
    /// Bytes of packet.
    pub len: usize,
    /// Whose it is.
    pub session: usize,
    /// Its place in its stream, for those who keep no stream.
    pub index: u64,
}

/// Whose packets a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// Consecutive ones of one session.
    One,
    /// One each of as many sessions as packets.
    Each,
}

impl Packet {
    /// All zero.
    pub fn empty() -> Self {
        Self { bytes: [0; ROOM], len: 0, session: 0, index: 0 }
    }

    /// The packet.
    pub fn content(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Its source.
    pub fn ssrc(&self) -> u32 {
        ssrc(self.session)
    }

    /// The rollover counter, as it is authenticated.
    pub fn roc(&self) -> [u8; 4] {
        ((self.index >> 16) as u32).to_be_bytes()
    }

    /// Makes it packet `index` of `session`: its header; the payload is what it was.
    pub fn begin(&mut self, session: usize, index: u64, len: usize) {
        (self.session, self.index, self.len) = (session, index, len);
        let mut header = [0x80, 0, 0, 0, 0, 0, 0, 160, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&(index as u16).to_be_bytes());
        header[8..].copy_from_slice(&ssrc(session).to_be_bytes());
        self.bytes[..HEADER_LEN].copy_from_slice(&header);
    }
}

/// Where a contestant's packets come from: as many batches as it asks for.
pub struct Source {
    case: Case,
    sessions: Sessions,
    senders: Vec<Sender>,
    batches: u64,
    /// Protected packets of the coming batches, back to back, when the work is to open them.
    protected: Vec<u8>,
}

impl Source {
    /// Batches made ahead: 400 KiB of them at 160 bytes of payload.
    pub const AHEAD: usize = 16;

    /// From index 0 on.
    pub fn new(case: Case, sessions: Sessions) -> Result<Self> {
        let count = match sessions {
            Sessions::One => 1,
            Sessions::Each => BATCH,
        };
        let sender =
            |session| Sender::new(&keys::master(case.profile, session), &Policy::default());
        let senders = (0..count).map(sender).collect::<Result<_, _>>()?;
        Ok(Self { case, sessions, senders, batches: 0, protected: Vec::new() })
    }

    /// Makes the next [`Self::AHEAD`] batches.
    pub fn refill(&mut self) -> Result<()> {
        self.protected.clear();
        if self.case.work == Work::Protect {
            return Ok(());
        }
        let mut packet = Packet::empty();
        for batch in 0..Self::AHEAD as u64 {
            for place in 0..BATCH {
                let (session, index) = self.place(self.batches + batch, place);
                self.plain(&mut packet, session, index);
                let sealed = self.senders[session].protect_rtp(&mut packet.bytes, packet.len)?;
                self.protected.extend_from_slice(&packet.bytes[..sealed.len]);
            }
        }
        Ok(())
    }

    /// Writes the next batch, the `turn`th since the refill.
    pub fn load(&mut self, turn: usize, packets: &mut [Packet; BATCH]) {
        let wire_len = self.wire_len();
        for (place, packet) in packets.iter_mut().enumerate() {
            let (session, index) = self.place(self.batches, place);
            packet.begin(session, index, self.case.plain_len());
            if self.case.work == Work::Open {
                let from = (turn * BATCH + place) * wire_len;
                packet.len = wire_len;
                packet.bytes[..wire_len].copy_from_slice(&self.protected[from..from + wire_len]);
            }
        }
        self.batches += 1;
    }

    /// A packet of this source as it is before it is protected.
    pub fn plain(&self, packet: &mut Packet, session: usize, index: u64) {
        packet.begin(session, index, self.case.plain_len());
        packet.bytes[HEADER_LEN..].fill(0x5a);
    }

    fn wire_len(&self) -> usize {
        self.case.plain_len() + self.case.profile.rtp_overhead()
    }

    fn place(&self, batch: u64, place: usize) -> (usize, u64) {
        match self.sessions {
            Sessions::One => (0, batch * BATCH as u64 + place as u64),
            Sessions::Each => (place, batch),
        }
    }
}

fn ssrc(session: usize) -> u32 {
    0xcafe_0000 + session as u32
}
