//! What a session may choose: window, table size, lifetimes and MKI.
//!
//! Everything here is fixed when a direction is built. Out-of-range values are brought into range
//! rather than refused, because each has exactly one sensible nearest value.

/// How one direction of a session behaves. `Policy::default()` is right for most calls.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Replay window in packets (RFC 3711 section 3.3.2). Rounded up to a multiple of 64 and kept
    /// within 64 to 32,768: beyond half the sequence space an index cannot be estimated anyway.
    pub replay_window: usize,
    /// How many SSRCs a direction keeps a window for, at least one. For a further one the longest
    /// silent retires: it may come back, above its highest index. 1,024 retire; after that new
    /// ones are refused, because forgetting a stream would forget which indexes it has used.
    pub max_streams: usize,
    /// Shortens the 2^48 SRTP packets a key may protect (the SDES `lifetime`).
    pub rtp_lifetime: Option<u64>,
    /// Shortens the 2^31 SRTCP packets a key may protect.
    pub rtcp_lifetime: Option<u64>,
    /// The master key identifier that every packet carries, if any.
    pub mki: Mki,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            replay_window: 1024,
            max_streams: 16,
            rtp_lifetime: None,
            rtcp_lifetime: None,
            mki: Mki::NONE,
        }
    }
}

impl Policy {
    pub(crate) fn window_bits(&self) -> usize {
        self.replay_window.clamp(64, 32_768).next_multiple_of(64)
    }
}

/// A master key identifier (RFC 3711 section 3.1), 0 to 128 bytes; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mki(Vec<u8>);

impl Mki {
    /// No MKI in the packets.
    pub const NONE: Self = Self(Vec::new());

    /// The longest MKI that SDES can signal (RFC 4568 section 6.1).
    pub const MAX_LEN: usize = 128;

    /// An MKI of these bytes, or `None` when there are more than [`Self::MAX_LEN`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= Self::MAX_LEN).then(|| Self(bytes.into()))
    }

    /// Its bytes, as they stand in the packet.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
